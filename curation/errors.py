"""What can go wrong with a command: one family of errors, whose messages say what is wrong and what to do."""

from __future__ import annotations

from typing import ClassVar


class VidlaError(Exception):
    """The command cannot go on. `exit_status` is that of the process which prints the message."""

    exit_status: ClassVar[int] = 1


class UsageError(VidlaError):
    """The command was asked for something that makes no sense."""

    exit_status = 2


class ConfigError(UsageError):
    """A configuration that cannot be used: which key, why, and what is known instead."""


class InputError(UsageError):
    """An INPUT that cannot be what was meant."""


class PromptError(UsageError):
    """A prompt that cannot be used: names its file."""


class DatasetError(VidlaError):
    """A dataset that cannot be used as asked."""


class EngineError(VidlaError):
    """An engine that cannot be used at all: what is missing, and the way out."""


class RunnerError(VidlaError):
    """A cluster that cannot be used: what is missing, and the way out."""


class Interrupted(VidlaError):
    """The run was stopped by hand: how to go on."""
