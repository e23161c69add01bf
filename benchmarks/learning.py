"""Whether what is trained on real clips finds clips that it has not seen, beside two controls.

    python -m benchmarks.learning [--seeds 3] [--footage build/demo/dataset]

The animated emoji of tests/support/animations.py, by their names. A fifth of the videos is held out, by the trainer's
own split. Random small towers are trained on the others; R@1, from text to video, is that of the held-out clips among
each other:
- untrained: as the towers were;
- shuffled texts: trained as long, with each clip under the texts of another;
- trained.
That of the trained model is also given apart, for names that differ from those of some clip in training by the skin
tone alone, and for names of things that are on no clip in training.

Of the footage that `make demo` curates there is too little to hold any out: R@1 is that of the very clips in training,
by the middles of their frames, which shows that a curated dataset can be learned, and no more.
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

ALL = 0.999999  # a share that holds out every video there is
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
    """Of each scale and kind of text with enough clips: R@1 of the untrained model and of the trained one."""
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
    torch.set_num_threads(1)  # a worker reads beside
    began = time.monotonic()
    if arguments.seeds:
        try:
            animations_table(*fetch(), arguments.seeds)
        except NoAnimations as error:
            sys.exit(f"{error}; install npm, and let it reach its registry")
    if (arguments.footage / "clips").is_dir():
        footage_table(Dataset(str(arguments.footage)))
    else:
        print(f"\nno curated footage is at {arguments.footage}: `make demo` makes it")
    print(f"{(time.monotonic() - began) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
