"""Clips counted for one reason, with a few of them as examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 3  # ids of clips


@dataclass
class ClipCount:
    """How many clips there are, some of them, and for those that changed, how often which column did."""

    clips: int = 0
    examples: list[str] = field(default_factory=list)
    columns: Counter[str] = field(default_factory=Counter)

    def add(self, clip_id: str, columns: Iterable[str] = ()) -> None:
        self.clips += 1
        self.columns.update(columns)
        if len(self.examples) < EXAMPLES:
            self.examples.append(clip_id)

    def to_json(self) -> dict[str, Any]:
        columns = {"columns": dict(sorted(self.columns.items()))} if self.columns else {}
        return {"clips": self.clips, "examples": self.examples, **columns}
