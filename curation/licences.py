"""Licences as SPDX identifiers (https://spdx.org/licenses/), where a site's statement tells which one it is."""

from __future__ import annotations

import re

STATED_CHARACTERS = 1000  # of a site's statement that are read
_TERMS = r"by(?:-nc)?(?:-sa|-nd)?"
_BY_URL = re.compile(rf"creativecommons\.org/licenses/({_TERMS})/(\d\.\d)")
_BY_NAME = re.compile(rf"\bcc[ -]({_TERMS})[ -]v?(\d\.\d)\b")
_ZERO = re.compile(r"creativecommons\.org/publicdomain/zero/1\.0|\bcc0\b|\bcc[ -]zero\b")
_VERSIONS = {"1.0", "2.0", "2.5", "3.0", "4.0"}


def spdx_of(statement: str | None) -> str | None:
    """The SPDX identifier of a licence as a site states it; None where the statement leaves open which one it is.

    A Creative Commons licence without its version stays open: YouTube and Vimeo name none.

    >>> spdx_of("https://creativecommons.org/licenses/by-sa/4.0/deed.de"), spdx_of("CC BY-NC 2.0"), spdx_of("CC0")
    ('CC-BY-SA-4.0', 'CC-BY-NC-2.0', 'CC0-1.0')
    >>> spdx_of("Creative Commons Attribution license (reuse allowed)")
    """
    text = (statement or "")[:STATED_CHARACTERS].lower()
    found = _BY_URL.search(text) or _BY_NAME.search(text)
    if found and found[2] in _VERSIONS:
        return f"CC-{found[1].upper()}-{found[2]}"
    return "CC0-1.0" if _ZERO.search(text) else None
