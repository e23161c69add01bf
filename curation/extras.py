"""The parts of vidla that are installed on request."""

from __future__ import annotations

from importlib.util import find_spec

from curation.errors import UsageError

MODULES = {
    "builtin": ("accelerate", "gguf", "torch", "transformers"),
    "tensorboard": ("tensorboard",),
    "train": ("safetensors", "torch", "transformers"),
    "wandb": ("wandb",),
}
"""The modules that a part cannot do without."""


def is_installed(extra: str) -> bool:
    """Whether the modules of this part are there; none is imported."""
    return not missing(extra)


def require(extra: str, purpose: str) -> None:
    """Raises UsageError if `purpose` (the subject of its message) needs modules of this part that are not there."""
    if names := missing(extra):
        raise UsageError(f"{purpose} needs {', '.join(names)}: pip install 'vidla[{extra}]'")


def missing(extra: str) -> list[str]:
    """The modules of this part that are not there."""
    return [name for name in MODULES[extra] if find_spec(name) is None]
