"""Secrets in URLs and messages: none is kept, and what only looks like one stays readable."""

from __future__ import annotations

import random
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.redaction import REDACTED, is_secret_name, looks_secret, redact
from tests.support.secret_urls import BY_LOOKS, BY_PLACE, CANARY, PLAIN_CANARY, READABLE


@pytest.mark.hostile("secrets")
@pytest.mark.parametrize("form", BY_PLACE)
def test_a_secret_is_known_by_its_place(form: str) -> None:
    for secret in (CANARY, PLAIN_CANARY):
        text = BY_PLACE[form].format(secret)
        assert secret in text and secret not in redact(text) and REDACTED in redact(text)
        assert redact(redact(text)) == redact(text)
        assert secret not in redact(f"cannot open '{text}' ({text}): \"{text}\"")


@pytest.mark.hostile("secrets")
@pytest.mark.parametrize("form", BY_LOOKS)
def test_a_secret_is_known_by_its_looks(form: str) -> None:
    text = BY_LOOKS[form].format(CANARY)
    assert CANARY not in redact(text) and REDACTED in redact(text)
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize("text", READABLE)
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert redact(text) == text


def test_keys_differ_from_what_people_write() -> None:
    """Of random keys nearly all are recognised, of names, slugs and titles none."""
    generator = random.Random(7)
    for letters in (
        string.ascii_letters + string.digits,
        string.digits + "abcdef",
        string.ascii_letters + "0123456789+/",
    ):
        keys = ["".join(generator.choices(letters, k=40)) for _ in range(1000)]
        assert sum(map(looks_secret, keys)) > 950
    written = [
        "a-day-in-the-life-of-a-baker-part-12",
        "Big_Buck_Bunny_1080p_surround_60fps",
        "NotMyFirstRodeoInTexas2024",
    ]
    assert not any(map(looks_secret, written))


@given(
    st.lists(st.sampled_from(["my", "video", "app", "x", "old"]), max_size=2),
    st.sampled_from(["token", "secret", "password", "signature", "credential", "jwt", "key", "otp", "bearer"]),
    st.sampled_from(["_", "-", ".", "camel"]),
)
def test_a_word_in_a_name_is_enough(others: list[str], word: str, joint: str) -> None:
    words = [*others, word]
    name = "".join(w.title() for w in words) if joint == "camel" else joint.join(words)
    assert is_secret_name(name) and is_secret_name(name.upper() if joint != "camel" else name)
    assert redact(f"https://a.example/x?{name}={PLAIN_CANARY}&v=1") == f"https://a.example/x?{name}={REDACTED}&v=1"


ADVERSARIAL = (
    *(";", "?a", "//", ":", "a:b@", "%25", "%2F%3A", "eyJ", "eyJaaaaaaaa.", '"a":"', "authorization=", "bearer "),
    *(
        "sk-",
        "=",
        "/",
        "@",
        "a.",
        "/a=",
        "sk.",
        "x",
        "//a:b",
        "&amp;",
        "token",
        "A",
        "\\",
        "'",
        "sig=1&",
        "sk-a1a1",
        "a-",
        "x-api-key:",
        "a-key: ",
    ),
)


@pytest.mark.hostile("patterns")
@pytest.mark.parametrize("letters", ADVERSARIAL)
def test_time_grows_with_the_length_alone(letters: str) -> None:
    def seconds(n: int) -> float:
        text = (letters * n)[:n]
        return min(_timed(text) for _ in range(3))

    assert seconds(40_000) < 3 * seconds(20_000) + 0.02


def _timed(text: str) -> float:
    started = time.process_time()
    redact(text)
    return time.process_time() - started
