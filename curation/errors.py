"""The errors of a command: one family, whose messages say what is wrong and how to fix it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import ClassVar

DISK_FULL_STATUS = 74
"""The exit status of a command of ours that finds the disk full; nobody else can write it, as a text could be."""


def one_line(error: object, most: int | None = None) -> str:
    r"""What an error says, in one line of at most `most` characters; the name of its type if it says nothing.

    >>> one_line(OSError("no\n  room")), one_line(ValueError())
    ('no room', 'ValueError')
    """
    return " ".join(str(error).split())[:most] or type(error).__name__


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


class SiteError(VidlaError):
    """A site that refuses all requests: what helps, and how to go on."""


class EngineError(VidlaError):
    """An engine that cannot work at all: what is missing, and how to fix it."""


class RunnerError(VidlaError):
    """A cluster that cannot be used: what is missing, and how to fix it."""


class Interrupted(VidlaError):
    """The run was stopped by Ctrl-C or SIGTERM: how to continue it."""

    exit_status = 130


def disk_is_full(error: BaseException) -> bool:
    """Whether an error, or a cause of it, is the operating system's for a full disk or quota.

    Only its number counts: a text may have been written by a server.

    >>> disk_is_full(OSError(errno.ENOSPC, "no space for a download")), disk_is_full(ValueError("Disk quota exceeded"))
    (True, False)
    """
    return any(getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT) for cause in causes(error))


def causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and all its direct and indirect causes, each once; libraries keep them in various places."""
    queue: list[object] = [error]
    known: set[int] = set()
    while queue:
        e = queue.pop(0)
        if not isinstance(e, BaseException) or id(e) in known:
            continue
        known.add(id(e))
        yield e
        queue += [e.__cause__, e.__context__, getattr(e, "cause", None), getattr(e, "reason", None), *e.args]
        queue += list(getattr(e, "exc_info", None) or ())
