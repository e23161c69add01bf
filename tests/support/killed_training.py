"""Runs `vidla` in a process that kills itself (SIGKILL) when it is about to touch a given file for the Nth time.

    python -m tests.support.killed_training N EVENT FRAGMENT ARGUMENTS...

EVENT is a Python audit event, such as os.rename; FRAGMENT is part of the path in its first argument.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from typing import Any

from vidla.cli import main

at, event, fragment = int(sys.argv[1]), sys.argv[2], sys.argv[3]
numbers = count(1)


def look(name: str, arguments: tuple[Any, ...]) -> None:
    if name == event and fragment in str(arguments[0]) and next(numbers) == at:
        os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(look)
sys.argv = ["vidla", *sys.argv[4:]]
main()
