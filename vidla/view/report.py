"""A dataset on one self-contained page, for a ticket or a mail."""

from __future__ import annotations

from datetime import UTC, datetime

from curation import __version__
from curation.dataset.dataset import Dataset
from vidla.view.choice import Choice
from vidla.view.media import FrameImages
from vidla.view.overview import facets, histograms, state
from vidla.view.tables import LiveTables
from vidla.view.templating import embedded, templates

_SHOWN = ("clip_id", "scale", "start", "end", "frame_ids", "subtitle_text", "caption_text")


def report(dataset: Dataset, clips: int, seed: str) -> str:
    """The page, with `clips` clips drawn at random. Raises DatasetError."""
    tables = LiveTables(dataset)
    images, everything = FrameImages(tables), Choice()
    drawn = tables.rows(Choice(sample=seed).first(clips, *_SHOWN))
    shown = []
    for clip in drawn:
        middle = clip["frame_ids"][len(clip["frame_ids"]) // 2] if clip["frame_ids"] else None
        image = images.image(middle) if middle else None
        shown.append({**clip, "image": embedded(image) if image else None})
    return (
        templates(linked=False)
        .get_template("report.html")
        .render(
            uri=dataset.uri,
            now=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            version=__version__,
            histograms=histograms(tables, everything),
            facets=facets(tables, everything),
            clips=shown,
            seed=seed,
            **state(tables),
        )
    )
