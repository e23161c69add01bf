"""Configuration: frozen, strict sections, read from TOML and `section.key=value` assignments."""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from curation.errors import ConfigError
from curation.ids import digest
from curation.redaction import redact
from curation.secret import REVEAL


class Mark(Enum):
    """A mark on a field, as in `workers: Annotated[int, Operational]`: a change redoes no more than it must."""

    OPERATIONAL = "decides how the work is done, not its results"
    POLICY = "decides what is rejected, not what the accepted rows look like"
    ADDED = "came with a later version: at its default, digests are what they were before it"
    EACH_TIME = "has to be given to each run: a dataset does not remember it"


Operational, Policy, Added, EachTime = Mark


class Unset(Enum):
    """In place of a value: the key has its default, whatever else is given for it."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return self.name


UNSET = Unset.UNSET


class Section(BaseModel):
    """A part of the configuration, frozen and strict, whose fields may have a `Mark`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    keys_listed_by: ClassVar[str] = ""  # the command that lists all keys, if they are too many for a message

    def digest(self) -> str:
        """Identifies all values that change the results."""
        return _digest_without(self, (Operational, Policy))

    def policy_digest(self) -> str:
        """Identifies all values that change the results or decide what is rejected."""
        return _digest_without(self, (Operational,))

    def values(self, *without: Mark) -> dict[str, Any]:
        """The values as they go into digests, JSON values by field, but for fields with these marks."""
        dumped = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if set(without) & set(field.metadata) or (Added in field.metadata and value == field.default):
                del dumped[name]
            elif isinstance(value, Section):
                dumped[name] = value.values(*without)
        return dumped

    def shown(self) -> dict[str, Any]:
        """All values as JSON values, for records and logs: secrets are masked."""
        return {name: _shown(value) for name, value in self.model_dump(mode="json").items()}

    def revealed(self) -> dict[str, Any]:
        """All values as JSON values, secrets included, for another process of ours that they are piped to."""
        return self.model_dump(mode="json", context={REVEAL: True})


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each value that is not a section, by its whole key.

    >>> dict(flat({"media": {"crf": 23}, "schema_version": 1}))
    {'media.crf': 23, 'schema_version': 1}
    """
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def section_of(annotation: Any) -> type[Section] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _shown(value: Any) -> Any:
    """`value` with its texts redacted: a text may hold a secret although its type does not say so."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {name: _shown(inner) for name, inner in value.items()}
    return [_shown(inner) for inner in value] if isinstance(value, list) else value


@functools.lru_cache
def _digest_without(section: Section, marks: tuple[Mark, ...]) -> str:
    return digest(section.values(*marks))


AnySection = TypeVar("AnySection", bound=Section)


# --- reading and checking -------------------------------------------------------------------------------------------


def read(file: Path | None, assignments: Sequence[str]) -> dict[str, Any]:
    """The values in `file` (TOML), overridden by `assignments`, unchecked. Raises ConfigError.

    >>> read(None, ["media.crf=30", "media.preset=slow", "summaries.language="])
    {'media': {'crf': 30, 'preset': 'slow'}, 'summaries': {'language': UNSET}}
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
        return kind.model_validate(_without_unset(raw, kind))
    except ValidationError as error:
        raise ConfigError("\n".join(redact(_explain(e, kind)) for e in error.errors())) from None


def _assign(raw: dict[str, Any], assignment: str) -> None:
    path, equals, value = assignment.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"'{redact(assignment)}' is not of the form section.key=value")
    for key in keys[:-1]:
        raw = raw.setdefault(key, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"'{path}': '{key}' is a value, not a section")
    try:
        raw[keys[-1]] = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        raw[keys[-1]] = value if value.strip() else UNSET  # a bare word is a string


def _without_unset(raw: Mapping[str, Any], kind: type[Section] | None) -> dict[str, Any]:
    """`raw` without the keys that are unset, as far as settings of a kind have them."""
    fields = kind.model_fields if kind else {}
    kept: dict[str, Any] = {}
    for key, value in raw.items():
        if value is not UNSET or key not in fields:
            inner = section_of(fields[key].annotation) if key in fields else None
            kept[key] = _without_unset(value, inner) if isinstance(value, dict) else value
    return kept


def merge(defaults: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    """`defaults` with the values of `raw` in their place, section by section.

    >>> merge({"media": {"crf": 23, "lines": 360}}, {"media": {"crf": 30}})
    {'media': {'crf': 30, 'lines': 360}}
    """
    merged = dict(defaults)
    for key, value in raw.items():
        section = defaults.get(key)
        merged[key] = merge(section, value) if isinstance(section, dict) and isinstance(value, dict) else value
    return merged


def lay_over(defaults: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    """As `merge`, but a key that is unset in `raw` has its value in `defaults`, if there is one.

    >>> lay_over({"media": {"crf": 23, "lines": 360}}, {"media": {"crf": UNSET, "lines": 480}})
    {'media': {'crf': 23, 'lines': 480}}
    """
    merged = dict(defaults)
    for key, value in raw.items():
        section = defaults.get(key)
        if isinstance(section, dict) and isinstance(value, dict):
            merged[key] = lay_over(section, value)
        elif value is not UNSET or key not in defaults:
            merged[key] = value
    return merged


def _explain(error: Any, kind: type[Section]) -> str:
    path = ".".join(str(p) for p in error["loc"])
    if error["type"] == "missing":
        return f"{path} has no default; set it"
    if error["type"] != "extra_forbidden":
        return f"{path}: {error['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    known = list(_paths(kind))
    near = " or ".join(f"'{key}'" for key in _nearest(path, known))
    all_keys = f"`{kind.keys_listed_by}` lists all keys" if kind.keys_listed_by else f"the keys are {', '.join(known)}"
    hint = f"did you mean {near}?" if near else all_keys
    return f"unknown key '{path}'; {hint}"


def _nearest(path: str, known: Sequence[str]) -> list[str]:
    """The `known` paths, three at most, that are nearest to `path`, as a whole or from some section on.

    >>> _nearest("crf", ["media.crf", "media.preset"]), _nearest("medai.crf", ["media.crf", "media.preset"])
    (['media.crf'], ['media.crf'])
    """
    scores = {key: max(_likeness(path, key.split(".", n)[-1]) for n in range(key.count(".") + 1)) for key in known}
    best = max(scores.values(), default=0.0)
    return [key for key, score in scores.items() if score == best][:3] if best >= 0.6 else []


def _likeness(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b, autojunk=False).ratio()


def _paths(kind: type[Section], prefix: str = "") -> Iterator[str]:
    """Every section and key that settings of a kind may have."""
    for name, field in kind.model_fields.items():
        yield f"{prefix}{name}"
        if inner := section_of(field.annotation):
            yield from _paths(inner, f"{prefix}{name}.")
