"""What a site and its machine-readable files say on rights: training, text and data mining, robots.

YouTube's answer on training is that of its API's `videoTrainability`, which needs neither key nor quota
(https://developers.google.com/youtube/data/video-trainability). `tdmrep.json` is that of the TDM Reservation Protocol
(https://www.w3.org/community/reports/tdmrep/CG-FINAL-tdmrep-20240510/), `robots.txt` that of RFC 9309. None of them is
judged here: they are columns, for a rule to judge.
"""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import Any
from urllib.parse import quote, unquote, urlsplit

FILE_BYTES = 500 * 1024  # of robots.txt (RFC 9309, 2.5) and of other such files
AGENT = "vidla"
TRAINABILITY = "https://youtube.googleapis.com/youtube/v3/videoTrainability?id="
_PARTIES = 100
_RULES = 10_000
_NAME_CHARACTERS = 200


def permitted_to_train(answer: bytes, video: str) -> tuple[str, ...] | None:
    """Who may train on YouTube's `video`, by the answer of its API: ("all",), ("none",) or names; None if unclear.

    >>> permitted_to_train(b'{"videoId": "a1", "permitted": ["none"]}', "a1")
    ('none',)
    """
    found = _json(answer)
    if not isinstance(found, dict) or found.get("videoId") != video or not isinstance(found.get("permitted"), list):
        return None
    return tuple(str(party)[:_NAME_CHARACTERS] for party in found["permitted"][:_PARTIES]) or None


def robots_allow(robots_txt: bytes, url: str, agent: str | None = None) -> bool:
    """Whether a site's robots.txt lets `agent` (AGENT, unless another is given) fetch `url`.

    >>> robots_allow(b"User-agent: *\\nDisallow: /private/", "https://example.org/private/a.mp4")
    False
    """
    parts = urlsplit(url)
    path = _unescaped(parts.path or "/") + (f"?{_unescaped(parts.query)}" if parts.query else "")
    rules = _robots_rules(robots_txt, (agent or AGENT).partition("/")[0].lower())
    matching = [(len(pattern), allowed) for allowed, pattern in rules if _matches(_unescaped(pattern), path)]
    return max(matching, default=(0, True))[1]  # the longest; of two as long, the one that allows


def _robots_rules(robots_txt: bytes, agent: str) -> list[tuple[bool, str]]:
    """The rules of all groups for `agent`, else of those for everybody: whether they allow, and what."""
    groups: list[tuple[set[str], list[tuple[bool, str]]]] = []
    for line in robots_txt[:FILE_BYTES].decode("utf-8-sig", "replace").splitlines()[:_RULES]:
        name, _, value = (part.strip() for part in line.partition("#")[0].partition(":"))
        if name.lower() == "user-agent":
            if not groups or groups[-1][1]:
                groups.append((set(), []))
            groups[-1][0].add(value.partition("/")[0].lower())
        elif name.lower() in ("allow", "disallow") and groups:
            groups[-1][1].append((name.lower() == "allow" or not value, value))  # an empty one forbids nothing
    ours = [rules for agents, rules in groups if agent in agents]
    return list(chain(*(ours or [rules for agents, rules in groups if "*" in agents])))


def _unescaped(path: str) -> str:
    """`path` in the one form in which paths and patterns are compared."""
    return quote(unquote(path), safe="/*$?&=+,;:@!~'()")


def tdm_reserved(tdmrep: bytes, url: str) -> bool | None:
    """Whether a site's /.well-known/tdmrep.json reserves text and data mining of `url`; None if it does not say.

    The first rule whose location matches decides. `*` stands for any characters, `$` for the end.

    >>> tdm_reserved(b'[{"location": "/clips/*.mp4$", "tdm-reservation": 1}]', "https://example.org/clips/a.mp4")
    True
    """
    rules = _json(tdmrep)
    if not isinstance(rules, list):
        return None
    path = urlsplit(url).path or "/"
    for rule in rules[:_RULES]:
        if isinstance(rule, dict) and isinstance(rule.get("location"), str) and _matches(rule["location"], path):
            return rule.get("tdm-reservation") in (1, "1", True)
    return None


def _matches(location: str, path: str) -> bool:
    """Whether the pattern `location` matches the beginning of `path`, or all of it if it ends with `$`."""
    whole = location.endswith("$")
    first, *others = location.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    at = len(first)
    last = others.pop() if others and whole else None
    for piece in others:
        at = path.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    if last is None:
        return not whole or at == len(path)
    return len(path) - len(last) >= at and path.endswith(last)


def _json(data: bytes) -> Any:
    """The JSON value in `data`; None if it is none, or too deep."""
    try:
        return json.loads(data[: FILE_BYTES + 1]) if len(data) <= FILE_BYTES else None
    except (ValueError, RecursionError):
        return None


def youtube_id(url: str) -> str | None:
    """The id of YouTube's video at a canonical URL."""
    found = re.fullmatch(r"https://www\.youtube\.com/watch\?v=([\w-]{11})", url, re.ASCII)
    return found[1] if found else None
