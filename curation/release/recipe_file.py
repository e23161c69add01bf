"""A recipe: the clips of a release without their media, to be published where the media must not be.

A Parquet file has a row for each clip: the URL of its video, its begin and end on the source's clock, and its texts. A
JSON file beside it has the digest of that file, and the settings by which videos were cut. Neither has paths, secrets
or addresses of private networks.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from curation import __version__
from curation.config import Operational, Policy, Section, section_of
from curation.dataset.object_store import write_errors
from curation.errors import InputError, UsageError, one_line
from curation.ids import file_digest, listed_id
from curation.licences import spdx_of
from curation.redaction import is_redacted, redact
from curation.release.released_dataset import ReleasedDataset
from curation.settings import Settings
from curation.source_clock import source_time_sql
from curation.sources.address_policy import name_refusal_reason
from curation.splits import is_held_out

SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string()),
        pa.field("video_id", pa.string()),
        pa.field("url", pa.string()),  # of the video
        pa.field("id", pa.string()),  # of the list that named it
        pa.field("subtitles", pa.string()),  # URL of its subtitles, if the list gave one
        pa.field("range_start", pa.float64()),  # of the video, if only a range of it was requested
        pa.field("range_end", pa.float64()),
        pa.field("scale", pa.string()),
        pa.field("start", pa.float64()),  # seconds on the source's clock
        pa.field("end", pa.float64()),
        pa.field("duration", pa.float64()),  # seconds
        pa.field("subtitle_text", pa.string()),
        pa.field("subtitle_status", pa.string()),
        pa.field("subtitle_source", pa.string()),
        pa.field("caption_text", pa.string()),
        pa.field("caption_status", pa.string()),
        pa.field("caption_source", pa.string()),
        pa.field("language", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("licence_spdx", pa.string()),
        pa.field("split", pa.string()),  # train or held_out
        pa.field("fingerprints", pa.list_(pa.string())),  # PDQ hashes of three pictures
    ]
)
ROWS = 10_000  # in a row group
CUT_BY = ("subtitles", "media", "shots", "tilings", "frames")
"""The sections of the settings that decide where clips begin and end, and how they look."""
FETCHED_BY = ("format", "subtitle_languages")
"""The keys of `download` that do."""


def located_sql(clips: str, columns: str) -> str:
    """Rows of `clips`, a table with ranges of videos, where they are in the source, as SQL; `columns` are further ones.

    Their `fingerprints` are PDQ hashes of the pictures at three moments; null where there is too little to see.
    """
    prints = ", ".join(
        _fingerprint_sql(f'{clips}.start + {share} * ({clips}."end" - {clips}.start)') for share in _SHARES
    )
    return f"""
        select
            {clips}.clip_id, {clips}.video_id, {clips}.scale, {clips}."end" - {clips}.start as duration,
            {source_time_sql(f"{clips}.start")} as start, {source_time_sql(f'{clips}."end"', is_end=True)} as "end",
            [{prints}] as fingerprints, downloads.uri as url, downloads.start as range_start,
            downloads."end" as range_end, requests.subtitles, {columns}
        from {clips}
            join videos using (video_id)
            left join timelines using (video_id)
            join (select * from downloads qualify row_number() over (partition by video_id order by request_key) = 1)
                as downloads using (video_id)
            left join requests using (request_key)"""


_SHARES = (0.25, 0.5, 0.75)
_PLAIN = 50  # a lower quality of a fingerprint means that there is too little to see


def _fingerprint_sql(time: str) -> str:
    shown = f"[run for run in coalesce(fingerprints, []) if run.start <= {time}][-1]"
    return f"case when {shown}.quality >= {_PLAIN} then {shown}.pdq end"


_TEXTS = """
    subtitle_text, subtitle_status, subtitle_source, caption_text, caption_status, caption_source,
    clips.language as language, videos.licence as licence"""


@dataclass(frozen=True)
class Recipe:
    """What a recipe's JSON file holds; `left_out` counts the clips that nobody else could fetch, by the reason."""

    release: str
    release_digest: str
    clips: int
    videos: int
    file: str
    file_digest: str
    settings: Mapping[str, Any]
    code_version: str
    created_at: str
    left_out: Mapping[str, int] = field(default_factory=dict)


_RECIPE = TypeAdapter(Recipe)


def reason_to_leave_out(url: str, *, allow_private: bool = False) -> str | None:
    """Why a URL must not, or cannot usefully, be given to others; None if it can.

    >>> reason_to_leave_out("https://videos.example/a.mp4?token=REDACTED")
    'its URL has a secret'
    >>> reason_to_leave_out("http://nas.local/a.mp4"), reason_to_leave_out("https://videos.example/a.mp4")
    ('its URL is of a private network', None)
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return "it is a local file"
    if is_redacted(url) or redact(url) != url:
        return "its URL has a secret"
    if name_refusal_reason(parts.hostname or "", allow_private):
        return "its URL is of a private network"
    return None


def write_recipe(
    dataset: ReleasedDataset,
    out: Path,
    *,
    allow_private: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Recipe:
    """Write the recipe of a release as `out`, a new Parquet file, with its JSON beside it.

    `allow_private`: with addresses of private networks, for use inside of one. Raises UsageError, DatasetError.
    """
    beside = check_new(out)
    release, left_out, videos, clips = dataset.release, Counter[str](), set[str](), 0
    with write_errors(str(out)), tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".vidla-") as folder:
        part = Path(folder) / out.name
        with pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer:
            rows = _rows(dataset, allow_private, left_out, progress)
            while batch := list(itertools.islice(rows, ROWS)):
                clips += len(batch)
                videos.update(row["video_id"] for row in batch)
                writer.write_table(pa.Table.from_pylist(batch, SCHEMA))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        settings = cut_by(release.datasets[0].settings)
        about = (clips, len(videos), out.name, file_digest(part), settings, __version__, now, dict(left_out))
        recipe = Recipe(release.name, release.digest, *about)
        written = Path(folder) / beside.name
        written.write_text(json.dumps(asdict(recipe), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(out)
        written.replace(beside)
    return recipe


def check_new(recipe: Path) -> Path:
    """The JSON file of a recipe to be written. Raises UsageError if either file exists."""
    beside = beside_of(recipe)
    for path in (recipe, beside):
        if path.exists():
            raise UsageError(f"{path} already exists; name a new file")
    if not recipe.absolute().parent.is_dir():
        raise UsageError(f"cannot write {recipe}: there is no folder {recipe.parent}")
    return beside


def beside_of(recipe: Path) -> Path:
    """The JSON file of a recipe. Raises UsageError unless the name ends in .parquet."""
    if recipe.suffix != ".parquet":
        raise UsageError(f"a recipe is a .parquet file, with a .json beside it; {recipe} is not")
    return recipe.with_suffix(".json")


def _rows(
    dataset: ReleasedDataset, allow_private: bool, left_out: Counter[str], progress: Callable[[int], None]
) -> Iterator[dict[str, Any]]:
    for batch in dataset.stream(f"{located_sql('clips', _TEXTS)} order by video_id, clips.start, duration"):
        for row in batch.to_pylist():
            progress(1)
            if reason := reason_to_leave_out(row["url"], allow_private=allow_private):
                left_out[reason] += 1
                continue
            subtitles = row["subtitles"]
            if subtitles is not None and reason_to_leave_out(subtitles, allow_private=allow_private):
                row["subtitles"] = None
            row["id"] = listed_id(row["video_id"])
            row["licence_spdx"] = spdx_of(row["licence"])
            row["split"] = "held_out" if is_held_out(row["video_id"], dataset.release.held_out) else "train"
            yield row


def cut_by(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of settings, what decides how videos are cut: nothing that says how the work is done, or where.

    >>> cut_by({"media": {"crf": 30, "memory_bytes": 1}, "download": {"format": "best", "proxy": "p"}, "run": {}})
    {'media': {'crf': 30}, 'download': {'format': 'best'}}
    """
    kept = {
        name: _of_section(section, settings[name])
        for name in CUT_BY
        if (section := section_of(Settings.model_fields[name].annotation)) and isinstance(settings.get(name), dict)
    }
    download = settings.get("download")
    fetched = {key: download[key] for key in FETCHED_BY if key in download} if isinstance(download, dict) else {}
    return {name: values for name, values in {**kept, "download": fetched}.items() if values}


def _of_section(section: type[Section], values: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, key in section.model_fields.items():
        inner = section_of(key.annotation)
        if name in values and not {Operational, Policy} & set(key.metadata):
            kept[name] = _of_section(inner, values[name]) if inner and isinstance(values[name], dict) else values[name]
    return kept


def read_recipe(path: Path) -> Recipe:
    """The recipe whose Parquet file is at `path`, which may be a stranger's.

    Raises InputError unless both files are as they were written.
    """
    beside = beside_of(path)
    try:
        found = _RECIPE.validate_json(beside.read_bytes())
        digest, schema = file_digest(path), pq.read_schema(path)
    except (OSError, ValidationError, pa.ArrowException) as error:
        raise InputError(f"{path} is not a recipe with {beside.name} beside it: {one_line(error, 200)}") from None
    if digest != found.file_digest:
        raise InputError(f"{path} is not the file that {beside.name} describes: its digest differs")
    if not schema.equals(SCHEMA):
        raise InputError(f"{path} is not a recipe of this version of vidla: its columns differ")
    return replace(found, settings=cut_by(found.settings))
