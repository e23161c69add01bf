"""Thoughts that a model writes down before its answer, in the marks of the models and servers that are in use."""

from __future__ import annotations

import re

UNFINISHED = "<think>"
"""What is put before thoughts that a server sends apart from an answer that never came."""

_NAMES = "think|thinking|thought|thoughts|reasoning|reflection|analysis|seed:think|cot_thinking"
# Qwen, DeepSeek, GLM and others; Magistral; Kimi; OpenThinker; and the channels of gpt-oss and Gemma.
_OPENING = re.compile(
    rf"\s*(?:<(?:{_NAMES})>|\[THINK\]|◁think▷|<\|begin_of_thought\|>"
    r"|(?:<\|start\|>assistant)?<\|?channel\|?>\s*(?:analysis|commentary|thought)\b)",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    rf"(?<![`\"'“‘])</(?:{_NAMES})>(?![`\"'”’])|\[/THINK\]|◁/think▷|<\|end_of_thought\|>"
    r"|<\|?channel\|?>\s*final\s*(?:<\|message\|>)?|<channel\|>",
    re.IGNORECASE,
)
# Of gpt-oss, where the server leaves out its marks.
_BARE_CHANNEL = re.compile(r"\s*analysis(?=[A-Z])")
_BARE_FINAL = "assistantfinal"


def without_thoughts(text: str) -> str | None:
    """What follows the thoughts in an answer; all of it if there are none, and None if they do not end.

    The opening mark may be missing, since some models' chat templates end with it.

    >>> without_thoughts("<think>A bus? Yes.</think> A red bus."), without_thoughts("A bus? Yes.</think> A red bus.")
    (' A red bus.', ' A red bus.')
    >>> without_thoughts("<|channel|>analysis<|message|>A bus?")
    """
    *_, end = [0, *(mark.end() for mark in _CLOSING.finditer(text))]
    if end:
        return text[end:]
    if _OPENING.match(text):
        return None
    if _BARE_CHANNEL.match(text):
        _, found, answer = text.rpartition(_BARE_FINAL)
        return answer if found else None
    return text
