"""What can go wrong with a run or a command; every message is one line that says why and what to do."""

from __future__ import annotations


class DatasetError(Exception):
    """The dataset cannot be used as asked; the message is one line that says why and what to do."""


class Misuse(DatasetError):
    """Something was asked of the dataset that makes no sense; the message is one line."""


class ConfigError(ValueError):
    """A configuration that cannot be used; the message says which key, why, and what is known instead."""


class InputError(ValueError):
    """An INPUT that cannot be what was meant; one line that says why."""


class EngineError(RuntimeError):
    """An engine that cannot be used at all; one line that says what is missing and the way out."""


class PromptError(ValueError):
    """A prompt that cannot be used; one line that names the file."""


class RunnerError(Exception):
    """The cluster cannot be used; one line that says what is missing and the way out."""
