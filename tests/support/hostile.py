"""The kinds of hostile input. A test of one is marked with its kind: `@pytest.mark.hostile("text")`.

docs/security.md has the number of cases of each kind.
"""

from __future__ import annotations

KINDS = {
    "text": "text that cannot be stored, or that is nested, long or out of range",
    "patterns": "text made for work that grows faster than its length",
    "lists": "rows of an input list",
    "subtitles": "subtitle files",
    "pages": "pages, playlists, redirects and servers that stall, lie or never end",
    "addresses": "URLs, redirects and names that lead to private or metadata addresses",
    "media": "media files: broken, oversized, endless, or opening further resources",
    "answers": "answers of models and servers, and prompts that a stranger's text would change",
    "secrets": "places from which a key, a token or a password could leak",
    "opt-outs": "ways of saying no to training",
    "neighbours": "other users and processes of the machine, checkpoints and code of unknown origin",
    "datasets": "datasets that are torn, cut, flipped, crafted or behind their commits",
    "failures": "power cuts, full disks, killed processes, stopped clocks",
}
