"""How many requests one video may cost, to how many sites, and how fast: somewhat more than honest media needs."""

from __future__ import annotations

import time

from curation.rejects import Kind, Rejected

PAGE_REQUESTS = 500  # before the media
PAGE_REDIRECTS = 50  # of all these requests together: yt-dlp starts again where a URL leads elsewhere
MEDIA_REQUESTS = 200  # for manifests, first segments and retries; in addition:
REQUESTS_PER_S = 4.0  # per second of media: picture and sound, in segments of half a second
MEDIA_SITES = 8
MEAN_BYTES = 1024  # of media per request, at least; the first MEDIA_REQUESTS of a playlist may bring less
UNNAMED_PAUSE_S = 0.2  # between requests to a site that only a playlist names, if a response is smaller than
UNNAMED_BYTES = 1 << 16
_LONGEST_S = 1e7


class RequestBounds:
    """Counts the requests for one video: those for its page, then those for its media. Methods raise Rejected."""

    def __init__(self, max_duration_s: float) -> None:
        self._seconds = max_duration_s
        self._brings_bytes = False
        self._pages = self._redirects = self._media = 0
        self._before = (0, 0)  # requests for media and their bytes, before those of the current playlist
        self._named: set[str] = set()
        self._sites: set[str] = set()
        self._last: dict[str, tuple[float, int]] = {}  # by site that only a playlist names: time, and bytes by then

    def count_page(self, site: str) -> None:
        """Count a request to `site` before the media."""
        self._pages += 1
        self._named.add(site)
        if self._pages > PAGE_REQUESTS:
            raise Rejected(Kind.UNSUPPORTED, f"more than {PAGE_REQUESTS} requests without reaching media")

    def count_redirect(self) -> None:
        """Count a redirect before the media."""
        self._redirects += 1
        if self._redirects > PAGE_REDIRECTS:
            raise Rejected(Kind.REFUSED, f"redirected more than {PAGE_REDIRECTS} times in all")

    def expect_media(self, seconds: float | None, *, brings_bytes: bool) -> None:
        """Expect media of so many `seconds`, if the page states them; subtitles bring next to no bytes."""
        self._seconds = max(self._seconds, seconds or 0.0)
        self._brings_bytes = brings_bytes

    def expect_segments(self, count: int | None, seconds: float | None, received: int) -> None:
        """Check the number of segments that a manifest lists, against the `seconds` of media that it states.

        The `received` bytes, of the manifest itself and of an earlier one's media, count no longer.
        """
        self._before = (self._media, received)
        allowed = _allowed(seconds or self._seconds)
        if count and count > allowed:
            raise Rejected(Kind.REFUSED, f"a playlist of {count} segments for {seconds or self._seconds:g} s of media")

    def count_media(self, site: str, received: int) -> None:
        """Count a request to `site` for media, of which `received` bytes have come; waits between small ones."""
        self._media += 1
        self._sites.add(site)
        if self._media > _allowed(self._seconds):
            raise Rejected(Kind.REFUSED, f"more than {self._media - 1} requests for {self._seconds:g} s of media")
        if len(self._sites) > MEDIA_SITES:
            raise Rejected(Kind.REFUSED, f"media from more than {MEDIA_SITES} sites")
        if not self._brings_bytes:
            return
        requests, brought = self._media - self._before[0], received - self._before[1]
        if requests > MEDIA_REQUESTS and brought < MEAN_BYTES * requests:
            raise Rejected(Kind.REFUSED, f"{requests - 1} requests for media brought only {brought} bytes")
        if site not in self._named:
            then, bytes_then = self._last.get(site, (0.0, 0))
            if received - bytes_then < UNNAMED_BYTES:
                time.sleep(max(0.0, then + UNNAMED_PAUSE_S - time.monotonic()))
            self._last[site] = (time.monotonic(), received)


def _allowed(seconds: float) -> int:
    return MEDIA_REQUESTS + int(REQUESTS_PER_S * min(seconds, _LONGEST_S))
