"""The file of cookies that downloads use."""

from __future__ import annotations

import contextlib
import io
from http.cookiejar import LoadError

from curation.errors import InputError

_FORMAT = "export the browser's cookies in Netscape format: a first line `# Netscape HTTP Cookie File`, then tabs"


def check_cookies(file: str) -> None:
    """Raises InputError if yt-dlp would find no cookie in `file`. No message quotes it: cookies are secrets."""
    from yt_dlp.cookies import YoutubeDLCookieJar  # slow to import

    jar = YoutubeDLCookieJar(file)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # yt-dlp quotes the lines that it passes over
            jar.load()
    except OSError as error:
        if not isinstance(error, LoadError):
            raise InputError(f"download.cookies_file: cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        pass
    if not len(jar):
        raise InputError(f"download.cookies_file: {file} has no cookies that can be read; {_FORMAT}")
