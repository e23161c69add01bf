"""Configuration: frozen, strict sections, read from TOML and `section.key=value` assignments."""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from curation.errors import ConfigError
from curation.ids import digest


class Section(BaseModel):
    """A part of the configuration, frozen and strict.

    Marks on fields keep a change from redoing more than it must: an `operational` field decides how the work is done,
    not its results; a `policy` field decides what is rejected, not what the accepted rows look like.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    keys_listed_by: ClassVar[str] = ""  # the command that lists all keys, if they are too many for a message

    def digest(self) -> str:
        """Identifies all values that change the results."""
        return _digest_without(self, ("operational", "policy"))

    def policy_digest(self) -> str:
        """Identifies these and all values that decide what is rejected."""
        return _digest_without(self, ("operational",))


@functools.lru_cache
def _digest_without(section: Section, marks: tuple[str, ...]) -> str:
    fields = type(section).model_fields.items()
    return digest(section.model_dump(mode="json", exclude={name for name, f in fields if _mark(f) in marks}))


def _mark(field: FieldInfo) -> Any:
    return field.json_schema_extra.get("mark") if isinstance(field.json_schema_extra, dict) else None


def _op(default: Any, description: str, **constraints: Any) -> Any:
    """An operational field."""
    return Field(default, description=description, json_schema_extra={"mark": "operational"}, **constraints)


def _policy(default: Any, description: str, **constraints: Any) -> Any:
    """A policy field."""
    return Field(default, description=description, json_schema_extra={"mark": "policy"}, **constraints)


AnySection = TypeVar("AnySection", bound=Section)


# --- resolving ------------------------------------------------------------------------------------------------------


def read(file: Path | None, assignments: Sequence[str]) -> dict[str, Any]:
    """The values in `file` (TOML), overridden by `assignments`, unchecked. Raises ConfigError.

    >>> read(None, ["media.crf=30", "media.preset=slow"])
    {'media': {'crf': 30, 'preset': 'slow'}}
    """
    raw: dict[str, Any] = {}
    if file is not None:
        try:
            raw = tomllib.loads(file.read_text())
        except OSError as error:
            raise ConfigError(f"cannot read {file}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} is not valid TOML: {error}") from None
    for assignment in assignments:
        _assign(raw, assignment)
    return raw


def check(kind: type[AnySection], raw: Mapping[str, Any]) -> AnySection:
    """`raw` as settings of a kind. Raises ConfigError, with one line per wrong key."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(e, kind) for e in error.errors())) from None


def _assign(raw: dict[str, Any], assignment: str) -> None:
    path, equals, value = assignment.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"'{assignment}' is not of the form section.key=value")
    for key in keys[:-1]:
        raw = raw.setdefault(key, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"'{path}': '{key}' is a value, not a section")
    try:
        raw[keys[-1]] = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        raw[keys[-1]] = value  # a bare word is a string


def merge(defaults: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    """`defaults` with the values of `raw` in their place, section by section.

    >>> merge({"media": {"crf": 23, "lines": 360}}, {"media": {"crf": 30}})
    {'media': {'crf': 30, 'lines': 360}}
    """
    merged = dict(defaults)
    for key, value in raw.items():
        below = defaults.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _explain(error: Any, kind: type[Section]) -> str:
    path = ".".join(str(p) for p in error["loc"])
    if error["type"] == "missing":
        return f"{path} has no default; set it"
    if error["type"] != "extra_forbidden":
        return f"{path}: {error['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    known = list(_paths(kind))
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.5)
    every = f"`{kind.keys_listed_by}` lists all keys" if kind.keys_listed_by else f"the keys are {', '.join(known)}"
    hint = f"did you mean '{near[0]}'?" if near else every
    return f"unknown key '{path}'; {hint}"


def _paths(kind: type[Section], prefix: str = "") -> Iterator[str]:
    """Every section and key that settings of a kind may have."""
    for name, field in kind.model_fields.items():
        yield f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _paths(field.annotation, f"{prefix}{name}.")
