"""The errors of a command: one family, whose messages say what is wrong and how to fix it."""

from __future__ import annotations

import errno
from typing import ClassVar


class VidlaError(Exception):
    """The command cannot continue: print the message and exit with `exit_status`."""

    exit_status: ClassVar[int] = 1


class UsageError(VidlaError):
    """The command was used wrongly."""

    exit_status = 2


class ConfigError(UsageError):
    """An invalid configuration: which key, why, and which keys or values there are."""


class InputError(UsageError):
    """An input that cannot be read or used."""


class PromptError(UsageError):
    """An invalid prompt: which file, and why."""


class DatasetError(VidlaError):
    """A dataset that cannot be read or written as requested."""


class DamagedError(DatasetError):
    """A file of a dataset that is damaged: which one, and how to mend it."""


class Superseded(DatasetError):
    """Another writer has taken over the dataset: nothing can be committed by this one any more."""


class EngineError(VidlaError):
    """An engine that cannot work at all: what is missing, and how to fix it."""


class RunnerError(VidlaError):
    """A cluster that cannot be used: what is missing, and how to fix it."""


class Interrupted(VidlaError):
    """The run was stopped by hand: how to continue it."""


def disk_is_full(error: BaseException) -> bool:
    """Whether an error of the operating system, a store or a child process means that the disk (or a quota) is full.

    >>> disk_is_full(OSError(errno.ENOSPC, "no space for a download")), disk_is_full(OSError("Disk quota exceeded"))
    (True, True)
    """
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "No space left on device" in str(error) or "Disk quota exceeded" in str(error)
