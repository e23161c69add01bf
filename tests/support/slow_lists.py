"""The child that reads lists, with rows that hang, crash or swell it, as a hole in a library would."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from curation.sources import list_child
from curation.sources.input_lists import Row


def targets(argument: dict[str, Any]) -> dict[str, Any]:
    """In place of list_child.targets."""
    real = list_child._target

    def target(name: str, number: int, row: Row, files_under: Path | None) -> dict[str, Any]:
        url = "" if isinstance(row, str) else str(row["url"])
        if url.endswith("hang"):
            time.sleep(1000)
        elif url.endswith("crash"):
            os.kill(os.getpid(), signal.SIGKILL)
        elif url.endswith("swell"):
            bytearray(1 << 40)
        return real(name, number, row, files_under)

    if b"crash-always" in Path(argument["path"]).read_bytes():
        os.kill(os.getpid(), signal.SIGKILL)
    with patch.object(list_child, "_target", target):
        return list_child.targets(argument)


def playlist(argument: dict[str, Any]) -> dict[str, Any]:
    """In place of ytdlp_child.playlist: two videos in any playlist."""
    entries = [
        {"url": f"https://a.example/video/{n}", "metadata": {"playlist": "Bees", "title": f"Talk {n}"}} for n in (1, 2)
    ]
    Path(argument["file"]).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return {"count": 2}
