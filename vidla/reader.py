"""A read-only handle on a dataset, for notebooks and scripts: docs/python.md shows it at work."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from curation.dataset.books import Books, balance
from curation.dataset.dataset import Dataset
from curation.dataset.pins import pins
from curation.dataset.snapshots import DatasetSnapshot
from curation.errors import DatasetError, UsageError
from curation.records import Clip
from curation.schema import TABLES, from_row

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, unused-ignore]
    import PIL.Image

SHOWN_ROWS = 20  # of an answer, in a notebook


class DatasetReader:
    """The tables, texts, frames and media of one version of a dataset. Nothing here writes to it.

    `vidla.open` makes one. `versions` has the version of each table; a pin keeps them from `vidla vacuum`.
    """

    def __init__(self, location: str, pin: str | None = None) -> None:
        """Raises DatasetError if there is no dataset, and UsageError if there is no such pin."""
        dataset = Dataset(location, patient=False)
        if not dataset.exists():
            raise dataset.missing()
        self.uri = dataset.uri
        self.pin = pin
        pinned = None if pin is None else DatasetSnapshot(location, _pinned(dataset, pin))
        self._dataset = pinned or DatasetSnapshot.now(location)
        self.versions = dict(self._dataset.versions)

    @property
    def pins(self) -> dict[str, dict[str, int]]:
        """The pinned versions of the dataset by name, each with the version of every table."""
        return pins(self._dataset)

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables; docs/data.md describes their columns."""
        return tuple(TABLES)

    def table(self, name: str) -> pa.dataset.Dataset:
        """A table as an Arrow dataset. Columns that are newer than the dataset are null. Raises UsageError."""
        if name not in TABLES:
            raise UsageError(f"no table is called '{name}'; there are {', '.join(TABLES)}")
        return self._dataset.arrow(name)

    def __getitem__(self, name: str) -> pa.dataset.Dataset:
        return self.table(name)

    def sql(self, query: str) -> QueryResult:
        """The answer of DuckDB to a query that names tables of the dataset. Raises UsageError for invalid SQL."""
        return QueryResult(self._dataset.sql(query))

    def clip(self, clip_id: str) -> Clip:
        """A row of `clips`: its range, its two texts and their origin. Raises UsageError if there is no such clip."""
        rows = self._read("clips", TABLES["clips"].schema.names, pc.field("clip_id") == clip_id)
        if not rows:
            raise UsageError(f"{self.uri} has no clip '{clip_id}'")
        return from_row(Clip, rows[0])

    def frames(self, clip_id: str) -> list[FrameImage]:
        """The captioned frames of a clip, in order of time, images in memory. Raises UsageError."""
        chosen = pc.field("frame_id").isin(pa.array(self.clip(clip_id).frame_ids, pa.string()))
        texts = {row["frame_id"]: row["text"] for row in self._read("captions", ["frame_id", "text"], chosen)}
        rows = sorted(self._read("frames", ["frame_id", "time", "image"], chosen), key=lambda row: row["time"])
        return [FrameImage(row["frame_id"], row["time"], row["image"], texts.get(row["frame_id"])) for row in rows]

    def image(self, frame_id: str) -> bytes:
        """The JPEG of a frame. Raises UsageError if there is no such frame."""
        rows = self._read("frames", ["image"], pc.field("frame_id") == frame_id)
        if not rows:
            raise UsageError(f"{self.uri} has no frame '{frame_id}'")
        image: bytes = rows[0]["image"]
        return image

    def cut(self, clip_id: str, out: str | PathLike[str]) -> Path:
        """Write the media of a clip to the file `out`, an mp4, by packet copy; returns its path.

        Raises UsageError if there is no such clip; DatasetError if it cannot be cut.
        """
        from curation.export.cutting import cut_clip

        return cut_clip(self._dataset, clip_id, Path(out).absolute())

    def _read(self, table: str, columns: Sequence[str], rows: pc.Expression) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = self[table].to_table(list(columns), filter=rows).to_pylist()
        except OSError as error:
            raise DatasetError(
                f"cannot read {self.uri}: {error}; if `vidla vacuum` has deleted superseded files, open it again"
            ) from None
        return found

    @property
    def books(self) -> Books:
        """The accounts of every stage: what was wanted, made and rejected, and what is pending."""
        return balance(self._dataset)

    def __repr__(self) -> str:
        pin = "" if self.pin is None else f", pin={self.pin!r}"
        return f"vidla.open({self.uri!r}{pin})"

    def _repr_html_(self) -> str:
        """The books as a table, for notebooks."""
        books = self.books
        names = ("wanted", "made", "rejected", "pending")
        rows = [{"": f"{a.subject} {a.outcome}", **{name: getattr(a, name) for name in names}} for a in books.accounts]
        title = self.uri if self.pin is None else f"{self.uri}, pinned as {self.pin}"
        faults = "".join(f"<p>{html.escape(line)}</p>" for line in (*books.outdated, *books.strays))
        return f"<p><b>{html.escape(title)}</b></p>{_html_table(rows)}{faults}"


@dataclass(frozen=True)
class QueryResult:
    """The answer to a query, in memory as an Arrow table."""

    rows: pa.Table

    def __len__(self) -> int:
        return len(self.rows)

    def to_arrow(self) -> pa.Table:
        return self.rows

    def to_pylist(self) -> list[dict[str, Any]]:
        """One dict per row."""
        rows: list[dict[str, Any]] = self.rows.to_pylist()
        return rows

    def to_pandas(self) -> pandas.DataFrame:
        """The answer as a DataFrame. Raises UsageError if pandas is not installed."""
        try:
            frame: pandas.DataFrame = self.rows.to_pandas()
        except ImportError:
            raise UsageError("to_pandas() needs pandas: pip install pandas; to_arrow() works without it") from None
        return frame

    def _repr_html_(self) -> str:
        more = f"<p>{len(self):,} rows</p>" if len(self) > SHOWN_ROWS else ""
        return _html_table(self.rows.slice(0, SHOWN_ROWS).to_pylist(), self.rows.column_names) + more


@dataclass(frozen=True)
class FrameImage:
    """A frame of a clip: its time in seconds, its JPEG file, and its caption. Notebooks show the image."""

    frame_id: str
    time: float
    jpeg: bytes
    caption: str | None

    def to_pil(self) -> PIL.Image.Image:
        """The image, decoded. Raises UsageError if Pillow is not installed."""
        try:
            from PIL import Image
        except ImportError:
            raise UsageError("to_pil() needs Pillow: pip install pillow; `jpeg` has the image as a file") from None
        return Image.open(io.BytesIO(self.jpeg), formats=("JPEG",))

    def _repr_jpeg_(self) -> bytes:
        return self.jpeg

    def __repr__(self) -> str:
        return f"FrameImage(time={self.time:g}, caption={self.caption!r}, jpeg of {len(self.jpeg):,} bytes)"


def _pinned(dataset: Dataset, name: str) -> Mapping[str, int]:
    pinned = pins(dataset)
    if name not in pinned:
        known = f"there are {', '.join(pinned)}" if pinned else "there are no pins"
        raise UsageError(f"no version of {dataset.uri} is pinned as '{name}'; {known}")
    return pinned[name]


def _html_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Rows as an HTML table, every text escaped.

    >>> _html_table([{"a": "<b>"}])
    '<table><tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr></table>'
    """
    names = list(columns if columns is not None else rows[0])
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    lines = ("".join(f"<td>{html.escape(str(row[name]))}</td>" for name in names) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
