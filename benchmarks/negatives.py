"""Whether a model learns more when clips that are right for each other are not contrasted.

    python -m benchmarks.negatives [--seeds 3]

The clips are the animated emoji of tests/support/animations.py, 477 short ones of 187 things, so that captions and
subtitles repeat, and medium and long ones that hold them, so that clips nest. Small random towers are trained equally
long on three fifths of the videos, three times from each start:
- every other clip of a batch is a negative;
- not those with an equal text (mask_equal_texts);
- nor those of the same video (mask_same_video).
Prints R@1 for finding held-out short clips of a thing by its name / the name by the clip. Figures of one seed are good
to some 0.05.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch

from tests.support.animations import NoAnimations, fetch
from tests.support.learning import find_things, random_towers, trainer_of, write_nested

HELD_OUT = 0.4
SETTINGS = (f"data.held_out={HELD_OUT}", "batch=96", "micro_batch=96", "epochs=60")
WAYS = {
    "all negatives": ("mask_equal_texts=false", "mask_same_video=false"),
    "equal texts masked": ("mask_equal_texts=true", "mask_same_video=false"),
    "and one video": ("mask_equal_texts=true", "mask_same_video=true"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # a worker reads at the same time
    began = time.monotonic()
    try:
        videos, animations = fetch()
    except NoAnimations as error:
        sys.exit(f"{error}; install npm, with access to its registry")
    print(f"{'seed':<6}" + "".join(f"{way:>20}" for way in WAYS))
    with tempfile.TemporaryDirectory() as name:
        dataset = write_nested(Path(name) / "dataset", videos, animations)
        for seed in range(arguments.seeds):
            towers = random_towers(Path(name) / f"towers-{seed}", seed)
            print(f"{seed:<6}", end="", flush=True)
            for number, way in enumerate(WAYS.values()):
                trainer = trainer_of(Path(name) / f"run-{seed}-{number}", dataset, towers, seed, *SETTINGS, *way)
                trainer.train(sys.stderr)
                by_name, by_clip, clips = find_things(trainer.model, dataset, HELD_OUT, Path(name))
                print(f"{f'{by_name:.3f} / {by_clip:.3f}':>20}", end="", flush=True)
            print(flush=True)
    print(f"R@1 among {clips} held-out clips; {(time.monotonic() - began) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
