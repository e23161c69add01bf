"""JSON files that carry their own checksum, so that a changed bit is found: commits, the lease, lists of checksums.

The checksum is the last member, `digest`, and covers all bytes before it. Older files have none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from curation.ids import content_digest

KEY = "digest"
_SEAL = re.compile(rb'(?s), "(.{6})": "(.{32})"\}\Z')


def sealed(record: Mapping[str, Any]) -> bytes:
    """`record` as JSON with its checksum.

    >>> sealed({"kind": "open"})
    b'{"kind": "open", "digest": "041e7e2e12992ad5d5470f2d973b1a65"}'
    """
    body = json.dumps(record).encode().removesuffix(b"}")
    return body + f', "{KEY}": "{content_digest(body)}"}}'.encode()


def fault_of(data: bytes) -> str | None:
    """What is wrong with a JSON file that may be sealed; None if nothing is, as far as can be told.

    >>> fault_of(sealed({"a": 1})), fault_of(sealed({"a": 1}).replace(b"1", b"3"))
    (None, 'its checksum does not match')
    """
    if not data:
        return "it is empty"
    try:
        if not isinstance(json.loads(data), dict):
            return "it is not a JSON object"
    except ValueError:
        return "it is not JSON"
    seal = _SEAL.search(data)  # by its shape: a bit of the name `digest` may have changed
    if seal and (seal[1], seal[2]) != (KEY.encode(), content_digest(data[: seal.start()]).encode()):
        return "its checksum does not match"
    return None


def is_sealed(data: bytes) -> bool:
    return _SEAL.search(data) is not None
