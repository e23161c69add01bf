"""The processor time that the command takes to start: `python -m benchmarks.startup`.

Runs `vidla --help`, `vidla --version`, and `vidla inspect` of a small dataset several times each, and prints the
minimum of the processor seconds (user and system) of each, compared with `yt-dlp --help`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.dataset_files import make_dataset

RUNS = 5
SCRIPTS = Path(sys.executable).parent


def processor_s(command: Sequence[str]) -> float:
    """Processor seconds of one run of `command`, its children included."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(Path(folder) / "data", videos=2)
        vidla = str(SCRIPTS / "vidla")
        commands = {
            "yt-dlp --help": [str(SCRIPTS / "yt-dlp"), "--help"],
            "vidla --help": [vidla, "--help"],
            "vidla --version": [vidla, "--version"],
            "vidla inspect": [vidla, "inspect", str(dataset.folder)],
        }
        least = {name: min(processor_s(command) for _ in range(RUNS)) for name, command in commands.items()}
    reference = least["yt-dlp --help"]
    for name, seconds in least.items():
        print(f"{name:16} {seconds:5.2f} s of processor time, {seconds / reference:4.1f} × yt-dlp --help")


if __name__ == "__main__":
    main()
