"""`vidla` of a later version, in which a step's recipe is higher by one; SIGKILL ends it after a number of commits.

python -m tests.support.later_recipes STEP COMMITS ARGUMENTS...
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from typing import Any

from curation import recipes
from curation.dataset import commits
from curation.recipes import Step
from vidla.cli import main

step, killed_after = sys.argv.pop(1), int(sys.argv.pop(1))
recipes.RECIPES[Step(step)] += 1
commit, made = commits.Committer.commit, count(1)


def counted(*arguments: Any, **options: Any) -> Any:
    number = commit(*arguments, **options)
    if next(made) == killed_after:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


commits.Committer.commit = counted  # type: ignore[method-assign]
main()
