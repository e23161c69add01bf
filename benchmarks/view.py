"""How quickly `vidla view` answers on a large dataset, and how much memory it takes.

    python -m benchmarks.view DIR [--repeat N]

Seconds from a request to the end of its answer: the first request for each page, and the median of N more. A dataset of
a million clips, merged as by `vidla compact`, takes some minutes to make, and 4 GB of disk:

    python -m benchmarks.scale --requests 16000 --seconds 327 --wave 2000 --at FOLDER     makes FOLDER/dataset
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.support.viewing import Shown, shown

PAGES = {
    "clips, first page": "clips",
    "clips, page 1,000": "clips?page=1000",
    "one scale": "clips?scale=medium",
    "a range of durations": "clips?duration.from=20&duration.to=21",
    "search": "clips?q=ab",
    "search for two words": "clips?q=ab+cd",
    "an SQL condition": "clips?where=sentence_count+%3E+3+and+scale+%3D+'long'",
    "longest first": "clips?sort=-duration",
    "a sample": "clips?sample=1",
    "a column of videos": "clips?channel=null",
    "all filters": "filters",
    "overview": "",
    "its part that is live": "state",
}


def seconds(view: Shown, page: str) -> tuple[float, str]:
    """How long an answer takes, and the answer."""
    began = time.perf_counter()
    answer = view.get(page)
    taken = time.perf_counter() - began
    assert answer.status == 200, answer.text
    return taken, answer.text


def peak_gigabytes(pid: int) -> float:
    with Path(f"/proc/{pid}/status").open() as status:
        (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status.read())
    return int(kilobytes) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="DIR")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    table = Table("page", "first, s", "median, s", "clips", "peak, GB")
    with shown(arguments.dataset) as view:
        for name, page in PAGES.items():
            first, text = seconds(view, page)
            again = statistics.median(seconds(view, page)[0] for _ in range(arguments.repeat))
            clips = re.search(r"<h1>([\d,]+) clips", text)
            cells = (f"{first:.2f}", f"{again:.2f}", clips[1] if clips else "", f"{peak_gigabytes(view.pid):.2f}")
            table.add_row(name, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
