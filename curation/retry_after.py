"""The Retry-After header."""

from __future__ import annotations

import email.utils
import time
from datetime import UTC


def parse_retry_after(value: str | None) -> float | None:
    """The seconds to wait that a Retry-After header (a number or a date) asks for; None if missing or malformed.

    >>> parse_retry_after("120"), parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), parse_retry_after("soon")
    (120.0, 0.0, None)
    """
    if value is None:
        return None
    try:
        return max(0.0, float(int(value)))
    except OverflowError:
        return None
    except ValueError:
        pass
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time())
