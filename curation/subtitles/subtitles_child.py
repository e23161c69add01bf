"""The functions that the guarded child runs on subtitle files. JSON in, JSON out."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

from curation.subtitles.cues import has_text, pieces_of
from curation.subtitles.punctuation import sentence_spans
from curation.subtitles.recognised import is_recognised
from curation.subtitles.subtitle_formats import as_webvtt
from curation.subtitles.transcript import Transcript


def parse(argument: dict[str, Any]) -> dict[str, Any]:
    """The pieces of {text, format, language}, and the offsets of their sentences.

    Returns {pieces: [the fields of each], spans: [[start, end]], punctuated}.
    """
    pieces = pieces_of(as_webvtt(argument["text"], argument["format"]))
    spans = sentence_spans(Transcript(pieces), argument["language"])
    return {"pieces": list(map(astuple, pieces)), "spans": spans.offsets, "punctuated": spans.punctuated}


def look(argument: dict[str, Any]) -> dict[str, Any]:
    """Returns {cues, automatic}: whether {text, format} has any cue, and whether it has a recogniser's form."""
    text = as_webvtt(argument["text"], argument["format"])
    return {"cues": has_text(text), "automatic": is_recognised(text)}


def guess_code_page(argument: dict[str, Any]) -> dict[str, Any]:
    """Returns {page}: the likeliest one of {sample, words, stated}; the sample's characters stand for bytes."""
    from curation.subtitles.code_pages import likeliest  # most files need none of its tables

    return {"page": likeliest(argument["sample"].encode("latin-1"), argument["words"], argument["stated"])}
