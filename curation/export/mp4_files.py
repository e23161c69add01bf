"""The clips as files: an mp4 for each, with its row as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from curation.export.cutting import Cutter
from curation.export.manifest import MANIFEST
from curation.export.outcome import ExportReport, Progress, recorded
from curation.export.selection import Row, as_json


def write_files(cutter: Cutter, out: Path, clips: Iterable[Row], progress: Progress) -> ExportReport:
    """Write <clip_id>.mp4 and <clip_id>.json for each clip; the latter last, to show that the former is complete."""
    exported = ExportReport()
    stale = {path.stem for path in out.glob("*.json")} - {Path(MANIFEST).stem}
    for clip in clips:
        stale.discard(clip["clip_id"])
        video, about = out / f"{clip['clip_id']}.mp4", out / f"{clip['clip_id']}.json"
        text = as_json(clip)
        with recorded(exported, clip):
            before = about.read_bytes() if about.exists() and video.exists() else b""
            exported.kept += before == text
            if not _same_range(before, clip):
                cutter.cut(clip).replace(video)
            if before != text:
                written = cutter.scratch / "clip.json"
                written.write_bytes(text)
                written.replace(about)
        progress(1)
    for clip_id in stale:
        for suffix in (".json", ".mp4"):
            (out / f"{clip_id}{suffix}").unlink(missing_ok=True)
    return exported


def _same_range(about: bytes, clip: Row) -> bool:
    """Whether the earlier export is the same range of the same media; its texts may differ."""
    earlier = json.loads(about) if about else {}
    return all(earlier.get(name) == clip[name] for name in ("media_uri", "start", "end"))
