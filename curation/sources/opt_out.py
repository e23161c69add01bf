"""Headers by which a server opts out of training."""

from __future__ import annotations

import re

OPT_OUT_HEADERS = ("X-Robots-Tag", "TDM-Reservation")
_OPT_OUT = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
_VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_NAMED = re.compile(r"\s*([a-z*][\w*.-]*)\s*:", re.ASCII)


def opts_out(header: str, value: str, user_agent: str | None) -> bool:
    """Whether one line `header: value` opts out of training, for every user agent or for ours; in doubt it does.

    X-Robots-Tag with the directives that img2dataset honours, bare or scoped to a user agent, and the TDM Reservation
    Protocol's `tdm-reservation`. A scope ends at a comma: what follows may have been a line of its own, since a proxy
    may join several into one (RFC 9110, 5.3).

    >>> opts_out("X-Robots-Tag", "vidla: noai", None), opts_out("X-Robots-Tag", "otherbot: noai", None)
    (True, False)
    >>> opts_out("X-Robots-Tag", "otherbot: noindex, noai", None)
    True
    """
    if header.lower() == "tdm-reservation":
        return value.strip() not in ("", "0")
    ours = {"vidla", "yt-dlp", "*", *_words(user_agent or "")}
    return any(_directive_opts_out(directive, ours) for directive in re.split("[,;]", value.lower()))


def _directive_opts_out(directive: str, ours: set[str]) -> bool:
    """Whether `directive`, which may be scoped to a user agent, opts out. Dates have colons too, but no name."""
    if (named := _NAMED.match(directive)) and named[1] not in _VALUED:
        if named[1] not in ours:
            return False
        directive = directive[named.end() :]
    if (named := _NAMED.match(directive)) and named[1] in _VALUED:
        return False
    return bool(_OPT_OUT & set(_words(directive)))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9*-]+", text.lower())
