"""The kinds of hostile input. A test of one is marked with its kind: `@pytest.mark.hostile("text")`.

`python -m tests.support.hostile` counts the cases of each kind, and writes the table in docs/security.md.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pytest

from tests.support.project import ROOT

PAGE = ROOT / "docs" / "security.md"
KINDS = {
    "text": "text that cannot be stored, or that is nested, long or out of range",
    "patterns": "text made for work that grows faster than its length",
    "lists": "rows of an input list",
    "subtitles": "subtitle files",
    "pages": "pages, playlists, redirects and servers that stall, lie or never end",
    "addresses": "URLs, redirects and names that lead to private or metadata addresses",
    "media": "media files: broken, oversized, endless, or opening further resources",
    "answers": "answers of models and servers, and prompts that a stranger's text would change",
    "secrets": "places from which a key, a token or a password could leak",
    "opt-outs": "ways of saying no to training",
    "neighbours": "other users and processes of the machine, checkpoints and code of unknown origin",
    "datasets": "datasets that are torn, cut, flipped, crafted or behind their commits",
    "failures": "power cuts, full disks, killed processes, stopped clocks",
}
_TABLE = re.compile(r"(?<=<!-- cases -->\n).*?(?=<!-- end -->)", re.DOTALL)


CASES = pytest.StashKey[Counter[str] | None]()  # what was collected; None unless every test was


def collected(items: Sequence[pytest.Item]) -> Counter[str] | None:
    """The number of tests of each kind; None if the tests of some file are missing."""
    everything = set((ROOT / "tests").rglob("test_*.py")) <= {item.path for item in items}
    return count(items) if everything else None


def count(items: Iterable[pytest.Item]) -> Counter[str]:
    """The number of tests of each kind. Raises KeyError for a kind that does not exist."""
    marks = (mark for item in items for mark in item.iter_markers("hostile"))
    counts = Counter(mark.args[0] for mark in marks)
    for kind in counts:
        KINDS[kind]
    return counts


def table(counts: Mapping[str, int]) -> str:
    """The table in docs/security.md."""
    lines = ["| kind | what is tried | cases |", "|---|---|---|"]
    lines += [f"| {kind} | {tried} | {counts.get(kind, 0)} |" for kind, tried in KINDS.items()]
    return "\n".join([*lines, f"| | all | {sum(counts.values())} |", ""])


def written_table() -> str:
    """The table that docs/security.md has."""
    found = _TABLE.search(PAGE.read_text())
    assert found is not None, f"{PAGE} has no table of cases"
    return found[0]


class _Collector:
    """A plugin of pytest that keeps the tests."""

    items: tuple[pytest.Item, ...] = ()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.items = tuple(items)


def main() -> None:
    collector = _Collector()
    if status := pytest.main(["--collect-only", "-qq", str(ROOT)], plugins=[collector]):
        sys.exit(status)
    PAGE.write_text(_TABLE.sub(lambda _: table(count(collector.items)), PAGE.read_text()))


if __name__ == "__main__":
    main()
