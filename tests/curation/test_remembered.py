"""What a dataset remembers of a run's settings: all that changes results, and nothing that is secret or operational."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.config import EachTime, Operational, Section, flat, section_of
from curation.errors import ConfigError
from curation.remembered import differences, remembered, without_secrets
from curation.settings import Settings, fields, resolve, resolve_to_compare

CHANGES = {
    "download.format": "b",
    "download.subtitle_languages": '["de", "en"]',
    "download.max_bytes": "1000",
    "subtitles.pause_s": "1.5",
    "media.lines": "480",
    "media.max_pixels": "1000",
    "shots.detector": "adaptive",
    "tilings.short.target_s": "11",
    "captions.prompt": "other",
    "captions.max_tokens": "20",
    "captions.engine.model": "m",
    "summaries.language": "de",
    "summaries.engine.kind": "builtin",
    "run.prompts": "/prompts",
}
FORGOTTEN = {
    "download.allow_private": "true",
    "download.proxy": "http://me:pw@proxy:80",
    "download.workers": "3",
    "captions.engine.base_urls": '["http://me:pw@host/v1"]',
    "run.keep_sources": "true",
}


def marks(kind: type[Section], prefix: str = "") -> dict[str, tuple[set[Any], str]]:
    """Every key's marks and type."""
    found: dict[str, tuple[set[Any], str]] = {}
    for name, field in kind.model_fields.items():
        inner = section_of(field.annotation)
        found |= (
            marks(inner, f"{prefix}{name}.")
            if inner
            else {f"{prefix}{name}": (set(field.metadata), str(field.annotation))}
        )
    return found


def test_each_key_is_remembered_unless_its_mark_says_otherwise() -> None:
    kept = dict(flat(remembered(Settings, Settings().shown())))
    for key, (its, kind) in marks(Settings).items():
        assert (key in kept) != bool({Operational, EachTime} & its), key
        assert key not in kept or "Secret" not in kind, f"{key} is secret, so that it cannot be gone on with"
    assert "download.allow_private" not in kept and "captions.engine.base_urls" not in kept


@given(st.sets(st.sampled_from(sorted(CHANGES))), st.sets(st.sampled_from(sorted(FORGOTTEN))))
def test_the_next_run_has_the_same_settings_but_for_what_is_forgotten(changed: set[str], forgotten: set[str]) -> None:
    assignments = [f"{key}={CHANGES[key]}" for key in sorted(changed)]
    first = resolve(None, [*assignments, *(f"{key}={FORGOTTEN[key]}" for key in sorted(forgotten))])
    assert resolve(None, [], first.shown()) == resolve(None, assignments)
    assert differences(first.shown(), resolve(None, assignments)) == []
    assert {d.key for d in differences(first.shown(), Settings())} <= changed
    assert len(differences(first.shown(), Settings())) == len(changed - {"summaries.engine.kind"})


def test_assignments_lie_over_the_last_settings_and_a_file_replaces_them(tmp_path: Path) -> None:
    last = resolve(None, ["media.lines=480", "media.crf=30", "captions.max_tokens=20"]).shown()
    assert resolve(None, ["media.crf=20"], last) == resolve(
        None, ["media.lines=480", "media.crf=20", "captions.max_tokens=20"]
    )
    assert resolve(None, ["captions.max_tokens="], last).captions.max_tokens is None
    file = tmp_path / "vidla.toml"
    file.write_text("[media]\ncrf = 25\n")
    assert resolve(file, [], last) == resolve(None, ["media.crf=25"])


@pytest.mark.parametrize("key", [key for key, _, _ in fields()])
def test_an_unset_key_has_its_default_whatever_is_remembered(key: str) -> None:
    last: Any = "no value that this key can have"
    for name in reversed(key.split(".")):
        last = {name: last}
    default = dict(flat(Settings().model_dump()))
    for settings in (resolve(None, [f"{key}="], last), resolve(None, [f"{key}= "])):
        assert dict(flat(settings.model_dump())) == default
    assert resolve_to_compare(None, [f"{key}="], last) == resolve_to_compare(None, [], {})


def test_an_unset_key_has_the_default_of_the_preset_and_of_its_own_section(tmp_path: Path) -> None:
    assert (
        resolve(None, ["download.preset=careful", "download.per_host=9", "download.per_host="]).download.per_host == 1
    )
    (tmp_path / "a.toml").write_text("[tilings.short]\ntarget_s = 4.0\nmin_s = 2.0\n[captions]\nseed = 4")
    settings = resolve(tmp_path / "a.toml", ["tilings.short.target_s=", "tilings.short.min_s=", "captions="])
    assert settings == Settings()


def test_an_unknown_key_cannot_be_unset() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'media\.crff'"):
        resolve(None, ["media.crff="])


def test_what_is_masked_is_not_gone_on_with() -> None:
    last = resolve(None, ["run.prompts=https://me:hunter2@host/prompts", "media.crf=30"]).shown()
    assert "hunter2" not in str(last)
    again = resolve(None, [], last)
    assert (again.run.prompts, again.media.crf) == (None, 30)
    assert [d.key for d in differences(last, again)] == ["run.prompts"], "and the run says so"
    assert without_secrets({"a": "***", "b": {"c": "x REDACTED y", "d": 1}}) == {"b": {"d": 1}}


def test_an_engine_is_gone_on_with_only_if_its_servers_are_given() -> None:
    urls = ['captions.engine.base_urls=["http://h/v1"]']
    last = resolve(None, ["captions.engine.kind=openai", "captions.engine.model=m", *urls]).shown()
    with pytest.raises(ConfigError, match=r"(?s)captions.engine: .* needs base_urls.*the last run's settings"):
        resolve(None, [], last)
    assert resolve(None, urls, last).captions.engine.model == "m"
    with pytest.raises(ConfigError) as typo:
        resolve(None, ["media.cfr=1"], last)
    assert "last run" not in str(typo.value), "the fault is another"


def test_settings_of_other_versions_are_read_as_far_as_they_are_known() -> None:
    older = resolve(None, ["media.crf=30"]).shown()
    del older["shots"], older["media"]["lines"]
    older |= {"gone": {"key": 1}, "captions": "no section"}
    assert resolve(None, [], older) == resolve(None, ["media.crf=30"])
    assert differences(older, resolve(None, ["media.crf=30"])) == []
