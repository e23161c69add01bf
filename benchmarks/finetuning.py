"""Whether finetuning on pairs takes a model past its start, on one process and on two.

    python -m benchmarks.finetuning

Makes a set in the files of MSR-VTT: 96 videos of a square that moves over a ground (tests/support/made_pairs.py), 24
of them with combinations of colour, way and ground that are in no other. Small random towers are the start. Runs
`vidla train --pairs` on one process and, by torchrun, on two, and prints text-to-video R@1 among the 24, as
`vidla evaluate --annotations` gives it; chance is 0.042.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.made_pairs import make_msrvtt, make_start

VIDLA = [sys.executable, "-m", "vidla"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--no-python", *VIDLA]


def train(folder: Path, command: list[str], name: str) -> list[dict[str, Any]]:
    """Finetune into `folder` / `name`. Returns the lines of its log."""
    pairs = f"msrvtt:{folder / 'MSRVTT_data.json'},{folder / 'MSRVTT_train.9k.csv'}"
    videos, out = folder / "videos", folder / name
    run(command, "train", folder / "finetune.toml", "--pairs", pairs, "--videos", videos, "--out", out)
    return [json.loads(line) for line in (folder / name / "log.jsonl").read_text().splitlines()]


def recall(folder: Path, name: str) -> float:
    """Text-to-video R@1 on the test set."""
    annotations = f"msrvtt:{folder / 'MSRVTT_JSFUSION_test.csv'}"
    out = folder / f"{name}.json"
    run(VIDLA, "evaluate", folder / name, "--annotations", annotations, "--videos", folder / "videos", "--json", out)
    return float(json.loads(out.read_text())["score"])


def run(command: list[str], *arguments: object) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *map(str, arguments)], env=environment, stdout=subprocess.DEVNULL, check=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = make_msrvtt(Path(name))
        make_start(folder)
        logs = {"one": train(folder, VIDLA, "one"), "two": train(folder, TORCHRUN, "two")}
        print(f"{'':<16}{'first loss':>12}{'last loss':>12}{'R@1':>8}")
        print(f"{'start':<16}{'':>24}{recall(folder, 'start'):>8.3f}")
        for processes, log in logs.items():
            losses = [line["loss"] for line in log if "loss" in line]
            figures = f"{losses[0]:>12.4f}{losses[-1]:>12.4f}{recall(folder, processes):>8.3f}"
            print(f"{processes + ' process(es)':<16}{figures}")


if __name__ == "__main__":
    main()
