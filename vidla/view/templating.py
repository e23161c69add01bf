"""The templates of the pages, in which every text is escaped."""

from __future__ import annotations

import base64
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def templates(*, linked: bool) -> Environment:
    """The templates by name; `linked`: whether what they show can lead to other pages."""
    found = Environment(
        loader=PackageLoader("vidla.view"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"clock": clock, "number": number}
    found.globals |= {"linked": linked, "css": Markup(_css())}
    return found


def embedded(jpeg: bytes) -> str:
    """An image as the source of an <img> of a page that needs no other file."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _css() -> str:
    return files("vidla.view").joinpath("static/view.css").read_text(encoding="utf-8")


def clock(seconds: float) -> str:
    """A time as people write it.

    >>> clock(75.25), clock(3661)
    ('1:15.2', '1:01:01.0')
    """
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    whole = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{whole}:{int(rest * 10) / 10:04.1f}"


def number(value: float) -> str:
    """A number in as few digits as tell it.

    >>> number(1234567), number(0.12345), number(12.0)
    ('1,234,567', '0.123', '12')
    """
    if isinstance(value, int) or value == int(value):
        return f"{int(value):,}"
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
