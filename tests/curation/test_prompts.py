"""Prompts: strict, with the constant part first, read from files. For hostile data see texts/test_injections.py."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest

from curation.errors import PromptError
from curation.prompts import MAX_DATA_CHARS, Prompt, as_data, load_prompts

BUNDLED = load_prompts()


def test_all_scripts_are_preserved() -> None:
    for text in (
        "今天我们做汤。",
        "今日はスープを作ります。",
        "اليوم نصنع الحساء.",
        "आज हम सूप बनाते हैं।",
        "می\u200cخواهم",
        "क्\u200dष",
        "Ça va? Ω ≤",
    ):
        assert as_data(text) == text


def test_data_is_cut_between_words() -> None:
    cut = as_data("word " * MAX_DATA_CHARS)
    assert len(cut) <= MAX_DATA_CHARS and set(cut.split()) == {"word"}
    assert (
        as_data("今天 " + "我们做汤" * MAX_DATA_CHARS)[-1] in "我们做汤"
        and len(as_data("a " + "b" * 9000)) == MAX_DATA_CHARS
    )


def test_a_missing_or_null_variable_is_an_error() -> None:
    with pytest.raises(PromptError, match=r"summarize-subtitles.*'text' is undefined"):
        BUNDLED["summarize-subtitles"].render(max_words=25)
    with pytest.raises(PromptError, match="null"):
        BUNDLED["summarize-subtitles"].render(max_words=25, text=None)
    with pytest.raises(PromptError, match="cannot be rendered"):
        Prompt("x", 1, "s", "{{ 1 // (text | length) }}").render(text="")


@pytest.mark.hostile("answers")
def test_templates_run_in_a_sandbox() -> None:
    with pytest.raises(PromptError):
        Prompt("x", 1, "s", "{{ text.__class__.__mro__ }}").render(text="t")


def test_the_digest_identifies_what_is_asked() -> None:
    prompt = BUNDLED["summarize-subtitles"]
    assert prompt.digest == load_prompts()["summarize-subtitles"].digest == pickle.loads(pickle.dumps(prompt)).digest
    shaped: dict[str, object] = {"output_schema": {"type": "object"}}
    changes = ({"version": 9}, {"system": "s"}, {"user": "u"}, shaped, {**shaped, "free_text_first": True})
    digests = {dataclasses.replace(prompt, **change).digest for change in changes}  # type: ignore[arg-type]
    assert len(digests | {prompt.digest}) == 6
    assert dataclasses.replace(prompt, max_tokens=7).digest == prompt.digest  # sampling is a column of its own


def test_the_language_is_that_of_the_text_or_a_named_one() -> None:
    own, _ = BUNDLED["summarize-subtitles"].render(text="t", max_words=25)
    assert "in the language of the text" in own["content"] and "bakery" in own["content"]
    for name in ("summarize-subtitles", "summarize-captions"):
        prompt = BUNDLED[name]
        german, _ = prompt.render(text="t", captions=["c"], max_words=25, language="German")
        assert "in German" in german["content"] and "bread" not in german["content"], "the examples are in English"
        english, _ = prompt.render(text="t", captions=["c"], max_words=25, language="English")
        assert "in English" in english["content"] and "bread" in english["content"]


GOOD = "---\nid: caption-frame\nversion: 7\n---\n# System\nSay what you see.\n# User\nThis frame.\n"


def test_a_folder_overrides_by_id(tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_text(GOOD.replace("\n", "\r\n"))
    (tmp_path / "new.md").write_text(GOOD.replace("caption-frame", "new"))
    prompts = load_prompts(tmp_path)
    assert prompts.keys() == {*BUNDLED, "new"} and prompts["new"].path == tmp_path / "new.md"
    assert prompts["caption-frame"].version == 7 and prompts["caption-frame"].system == "Say what you see."
    assert prompts["summarize-captions"] == BUNDLED["summarize-captions"]


SCHEMA = "output_schema: {type: object, properties: {caption: {type: string}}, required: [caption]}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "front matter"),
        ("# System\ns\n# User\nu\n", "front matter"),
        (GOOD.replace("# User", "# Usr"), "# User"),
        (GOOD.replace("version: 7", "version: seven"), "version"),
        (GOOD.replace("version: 7", "version: 7\ntemprature: 1"), "temprature"),
        (GOOD.replace("version: 7", ""), "version: Field required"),
        (GOOD.replace("caption-frame", "../x"), "id"),
        (GOOD.replace("version: 7", "version: [7"), "expected"),
        (GOOD.replace("version: 7", "version: 7\noutput_schema: {type: strin}"), "not a JSON schema"),
        (GOOD.replace("version: 7", "version: 7\noutput_schema: {type: object}"), "required property of type string"),
        (GOOD.replace("version: 7", "version: 7\nfree_text_first: true"), "free_text_first needs an output_schema"),
        (GOOD.replace("This frame.", "{{ text"), "end of"),
        (GOOD.replace("Say what", "{{ text }}"), "must be constant"),
        (GOOD.replace("Say", "\udcff"), "utf-8"),
    ],
)
def test_a_malformed_file_is_named_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "broken.md").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(PromptError) as error:
        load_prompts(tmp_path)
    assert str(tmp_path / "broken.md") in str(error.value) and message in str(error.value)
    assert "\n" not in str(error.value)


def test_two_files_with_one_id_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(GOOD)
    (tmp_path / "b.md").write_text(GOOD)
    with pytest.raises(PromptError, match=r"b\.md: another file"):
        load_prompts(tmp_path)
    with pytest.raises(PromptError, match="no such folder"):
        load_prompts(tmp_path / "missing")


def test_a_schema_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(GOOD.replace("version: 7", f"version: 7\n{SCHEMA}"))
    prompt = load_prompts(tmp_path)["caption-frame"]
    assert prompt.output_schema is not None and prompt.output_schema["required"] == ["caption"]
    assert not prompt.free_text_first
    (tmp_path / "a.md").write_text(GOOD.replace("version: 7", f"version: 7\n{SCHEMA}\nfree_text_first: true"))
    assert load_prompts(tmp_path)["caption-frame"].free_text_first


def test_variables_are_those_of_both_parts() -> None:
    assert BUNDLED["summarize-captions"].variables == {"captions", "max_words", "language"}
    assert BUNDLED["caption-frame"].variables == {"max_words"}
