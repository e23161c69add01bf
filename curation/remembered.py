"""What a dataset remembers of the last run's settings, and how another run's differ from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curation.config import EachTime, Operational, Section, flat, merge, section_of
from curation.redaction import is_redacted
from curation.secret import MASK


def remembered(kind: type[Section], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `recorded`, settings of a kind as `shown` gives them, that is compared with the next run's settings.

    Operational and EachTime values are left out, and keys that settings no longer have.
    """
    kept: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        if name not in recorded or {Operational, EachTime} & set(field.metadata):
            continue
        value, inner = recorded[name], section_of(field.annotation)
        if inner is None:
            kept[name] = value
        elif isinstance(value, dict):
            kept[name] = remembered(inner, value)
    return kept


def without_secrets(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` as `shown` gives them, without those in which something is masked, so that they cannot be used again."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            kept[name] = without_secrets(value)
        elif MASK not in (text := str(value)) and not is_redacted(text):
            kept[name] = value
    return kept


@dataclass(frozen=True)
class Difference:
    """A key whose value differs between two runs."""

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key}: {json.dumps(self.before)} → {json.dumps(self.now)}"


def differences(last: Mapping[str, Any], settings: Section) -> list[Difference]:
    """The keys in which `settings` differ from the `last` ones that a dataset remembers; absent ones had the default.

    >>> from curation.settings import resolve
    >>> [str(d) for d in differences(resolve(None, ["media.crf=30"]).shown(), resolve(None, ["run.workers=2"]))]
    ['media.crf: 30 → 23']
    """
    kind = type(settings)
    before = dict(flat(merge(remembered(kind, kind().shown()), remembered(kind, last))))
    now = flat(remembered(kind, settings.shown()))
    return [Difference(key, before.get(key), value) for key, value in now if before.get(key) != value]
