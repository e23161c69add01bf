"""What an export has done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from curation.export.selection import Row
from curation.rejects import Rejected

Progress = Callable[[int], None]


@dataclass
class ExportReport:
    """The numbers of clips (or rows) `present` now and `kept` from before, and the failures, one line each."""

    present: int = 0
    kept: int = 0
    failed: list[str] = field(default_factory=list)


@contextlib.contextmanager
def recorded(exported: ExportReport, clip: Row) -> Iterator[None]:
    """Record the success or failure of a clip; a failure does not stop the others."""
    try:
        yield
    except (Rejected, FileNotFoundError) as error:
        exported.failed.append(f"{clip['clip_id']}: {error}")
    else:
        exported.present += 1
