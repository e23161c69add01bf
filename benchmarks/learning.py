"""Whether a model trained on real clips finds unseen clips, compared with two controls.

    python -m benchmarks.learning [--seeds 3] [--footage build/demo/dataset]

The clips are the animated emoji of tests/support/animations.py, searched by name. A fifth of the videos is held out by
the trainer's own split, and small random towers are trained on the others. Prints the text-to-video R@1 for finding the
held-out clips among each other:
- untrained: the initial towers;
- shuffled texts: trained equally long, with each clip under the texts of another;
- trained.
For the trained model also separately for names that differ only in skin tone from that of a clip in training, and for
names of things that no clip in training shows.

The footage that `make demo` curates is too little to hold any out: there, R@1 is for the clips in training, read at the
middles of their parts. That shows only that a curated dataset can be learned.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from curation.dataset.dataset import Dataset
from model.evaluation.evaluate import evaluate_dataset
from model.settings import DataSettings
from tests.support.animations import Animation, NoAnimations, fetch
from tests.support.learning import encoder_of, learn, random_towers, trainer_of

ALL = 0.999999  # a share that holds out every video
FOOTAGE = ("data.held_out=0", "batch=24", "micro_batch=24", "epochs=150")
COLUMNS = ("untrained", "shuffled texts", "trained", "another tone", "new things")


def animations_table(videos: Path, animations: Sequence[Animation], seeds: int) -> None:
    print(f"{'seed':<6}" + "".join(f"{column:>16}" for column in COLUMNS))
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            found = learn(Path(folder), videos, animations, seed, sys.stderr)
        last = found.trained
        recalls = (found.untrained.every, found.shuffled.every, last.every, last.known, last.new)
        print(f"{seed:<6}" + "".join(f"{recall:>16.3f}" for recall in recalls), flush=True)
    print(f"R@1 among {last.clips} held-out clips; chance is {last.chance:.3f}, five times that {5 * last.chance:.3f}")


def footage_table(dataset: Dataset) -> None:
    """R@1 of the untrained and of the trained model, for each scale and kind of text with enough clips."""
    settings = DataSettings(held_out=ALL)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trainer = trainer_of(folder / "run", dataset, random_towers(folder / "towers", 0), 0, *FOOTAGE)
        before = evaluate_dataset(encoder_of(trainer.model), dataset, settings)
        trainer.train(sys.stderr)
        after = evaluate_dataset(encoder_of(trainer.model), dataset, settings)
    print(f"\n{'curated footage, clips in training':<40}{'chance':>16}{'untrained':>16}{'trained':>16}")
    for kind in after.metrics:
        one, other = (found.metrics[kind].text_to_video for found in (before, after))
        recalls = (1 / one.candidates, one.recall_1.value, other.recall_1.value)
        print(f"{kind:<40}" + "".join(f"{recall:>16.3f}" for recall in recalls))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--footage", type=Path, default=Path("build/demo/dataset"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # a worker reads at the same time
    began = time.monotonic()
    if arguments.seeds:
        try:
            animations_table(*fetch(), arguments.seeds)
        except NoAnimations as error:
            sys.exit(f"{error}; install npm, with access to its registry")
    if (arguments.footage / "clips").is_dir():
        footage_table(Dataset(str(arguments.footage)))
    else:
        print(f"\nthere is no curated footage at {arguments.footage}: run `make demo` first")
    print(f"{(time.monotonic() - began) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
