"""The file by which an export knows its own folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from curation.export.cutting import TEMPORARY

MANIFEST = "vidla-export.json"


def claim(datasets: Iterable[Dataset], out: Path, about: Mapping[str, Any], changing: Mapping[str, Any]) -> None:
    """Make `out` the folder of exactly this export of `datasets`, and delete the temporary files of a killed one.

    What is `changing` is recorded with it, and may be another each time.
    """
    for folder in (dataset.folder for dataset in datasets if dataset.folder is not None):
        if out.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{out} is inside the dataset; export to a folder elsewhere")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is not a folder")
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob(f"{TEMPORARY}*"):
        shutil.rmtree(left)
    manifest = out / MANIFEST
    text = json.dumps({**about, **changing}, indent=2, ensure_ascii=False) + "\n"
    if not manifest.exists():
        if any(out.iterdir()):
            raise UsageError(f"{out} is not empty and not an export; name a new folder")
        manifest.write_text(text, encoding="utf-8")
    elif (before := manifest.read_text(encoding="utf-8")) != text:
        if not changing or _without(before, changing) != dict(about):
            raise UsageError(f"{out} holds another export (see its {MANIFEST}); name a new folder")
        manifest.write_text(text, encoding="utf-8")


def _without(manifest: str, changing: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a manifest says, without what may change; None if it is damaged."""
    try:
        return {name: value for name, value in json.loads(manifest).items() if name not in changing}
    except (ValueError, AttributeError):
        return None
