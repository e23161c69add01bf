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


def claim(datasets: Iterable[Dataset], out: Path, about: Mapping[str, Any]) -> None:
    """Make `out` the folder of exactly this export of `datasets`, and delete the temporary files of a killed one."""
    for folder in (dataset.folder for dataset in datasets if dataset.folder is not None):
        if out.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{out} is inside the dataset; export to a folder elsewhere")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is not a folder")
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob(f"{TEMPORARY}*"):
        shutil.rmtree(left)
    manifest = out / MANIFEST
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    if not manifest.exists():
        if any(out.iterdir()):
            raise UsageError(f"{out} is not empty and not an export; name a new folder")
        manifest.write_text(text, encoding="utf-8")
    elif manifest.read_text(encoding="utf-8") != text:
        raise UsageError(f"{out} holds another export (see its {MANIFEST}); name a new folder")
