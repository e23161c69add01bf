"""The clips as a WebDataset: shards of tar files."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from curation.export.cutting import Cutter
from curation.export.outcome import ExportReport, Progress, recorded
from curation.export.selection import Row, as_json
from curation.export.sums import clips_in

INDEX = "index.json"


def write_shards(cutter: Cutter, out: Path, clips: Iterable[Row], shard_clips: int, progress: Progress) -> ExportReport:
    """Write clips-<number>.tar, each with `shard_clips` clips as <key>.mp4, .json and .txt; always the same bytes."""
    exported = ExportReport()
    rows = iter(clips)
    number = 0
    while batch := list(itertools.islice(rows, shard_clips)):
        shard = out / f"clips-{number:06d}.tar"
        if _holds(shard, batch):
            exported.present += len(batch)
            exported.kept += len(batch)
            progress(len(batch))
        else:
            _write_shard(cutter, batch, exported, progress).replace(shard)
        number += 1
    for stale in out.glob("clips-*.tar"):
        if int(stale.stem.removeprefix("clips-")) >= number:
            stale.unlink()
    _write_index(out)
    return exported


def _write_index(out: Path) -> None:
    """Write index.json, by which `webdataset` and `wids` know the shards, and how many clips and bytes each has."""
    shards = []
    for shard in sorted(out.glob("clips-*.tar")):
        shards.append({"url": shard.name, "nsamples": clips_in(shard), "filesize": shard.stat().st_size})
    index = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": shards}
    (out / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _holds(shard: Path, clips: Iterable[Row]) -> bool:
    """Whether a shard holds exactly these clips, in this order."""
    if not shard.exists():
        return False
    with tarfile.open(shard) as tar:
        existing = [tar.extractfile(member).read() for member in tar if member.name.endswith(".json")]  # type: ignore[union-attr]
    return existing == [as_json(clip) for clip in clips]


def _write_shard(cutter: Cutter, clips: Iterable[Row], exported: ExportReport, progress: Progress) -> Path:
    path = cutter.scratch / "shard.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for clip in clips:
            with recorded(exported, clip):
                video = cutter.cut(clip)
                key = clip["clip_id"].replace(".", "__")  # a key ends at its first dot
                text = clip["caption_text"] or clip["subtitle_text"] or ""
                for suffix, data in (("mp4", video.read_bytes()), ("json", as_json(clip)), ("txt", text.encode())):
                    member = tarfile.TarInfo(f"{key}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
            progress(1)
    return path
