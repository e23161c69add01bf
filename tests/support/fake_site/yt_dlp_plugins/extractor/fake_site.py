"""A fake of what only a site's own page can say: private, blocked, age-gated, bot check, live, captions of both kinds.

yt-dlp loads it as a plugin, so that all else on the way is real. It raises what yt-dlp's extractors raise.
"""

import contextlib
import re
import time
from typing import Any, ClassVar

from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.extractor.openload import PhantomJSwrapper
from yt_dlp.utils import ExtractorError


class FakeSiteIE(InfoExtractor):
    _VALID_URL = r"(?P<base>https?://[^/]+)/site/(?P<id>[\w-]+)"

    SAYS: ClassVar = {
        "private": "Private video. Sign in if you've been granted access to this video",
        "bot": "Sign in to confirm you\u2019re not a bot. Use --cookies for the authentication",
        "age": "Sign in to confirm your age. This video may be inappropriate for some users.",
        "members": "Join this channel to get access to members-only content like this video",
        "removed": "This video has been removed by the uploader",
        "terminated": "Video unavailable. This video is no longer available because the account has been terminated.",
        "premiere": "Premieres in 5 hours",
        "ended": "This live event has ended.",
        "throttled": "This content isn't available, try again later. The session has been rate-limited by the site.",
        "drm": "This video is DRM protected",
        "country": "The uploader has not made this video available in your country",
        "uninstalled": "pycryptodomex not found. Please install",
        "empty": "No video formats found!",
    }

    def _real_extract(self, url: str) -> dict[str, Any]:
        name = self._match_id(url)
        base = self._match_valid_url(url)["base"]
        if name in self.SAYS:
            raise ExtractorError(self.SAYS[name], expected=True)
        if name == "geo":
            self.raise_geo_restricted(countries=["DE"])
        if name == "backtracking":
            re.search(r"(a+)+$", "a" * 60 + "b")
        if name == "deaf":
            while True:
                with contextlib.suppress(Exception):
                    time.sleep(600)
        if name == "odd":
            return {"id": name, "title": "Odd", "formats": [{"url": ["not", "a", "URL"]}]}
        if name == "many-pages":
            for _ in range(3):
                self._download_webpage(f"{base}/text.html", name)
        if name == "scripted":
            PhantomJSwrapper(self).execute("console.log('hello')")
        if name == "bug":
            raise ExtractorError("Unable to extract player version")
        if name == "redesigned":
            raise ExtractorError("Video data not found in the page")
        if name == "list":
            entries = [self.url_result(f"{base}/site/{n}", FakeSiteIE, n, f"Part {n}") for n in ("one", "two", "three")]
            return self.playlist_result(entries, "list", "A series")
        if name == "broken-list":
            return self.playlist_result(self._breaking(base), "broken-list", "A series")
        info = {
            "id": name,
            "title": "A talk",
            "url": f"{base}/video.mp4",
            "channel": "Forest",
            "channel_id": "UC1",
            "upload_date": "20240229",
            "license": "CC BY 4.0",
            "description": f"See {base}/more?token=s3cr3t",
            "language": "en",
        }
        if name == "live":
            info["live_status"] = "is_live"
        if name == "long":
            info["duration"] = 100_000
        if name.startswith("lasting-"):
            info |= {"duration": int(name.removeprefix("lasting-")), "categories": ["Nature"], "age_limit": 0}
        if name == "heavy":
            info["filesize"] = 1 << 50
        if name == "subtitled":
            info["subtitles"] = {"en": _files(base, "missing.vtt"), "de": _files(base, "de.vtt")}
            info["automatic_captions"] = {n: _files(base, f"auto-{n}.vtt") for n in ("en-orig", "en", "fr")}
        if name == "translated":
            info["automatic_captions"] = {n: _files(base, f"auto-{n}.vtt") for n in ("fr-orig", "fr", "en")}
        return info

    def _breaking(self, base: str) -> Any:
        yield self.url_result(f"{base}/site/one", FakeSiteIE, "one", "Part one")
        self._download_webpage(f"{base}/broken500", "two")


def _files(base: str, name: str) -> list[dict[str, str]]:
    return [{"ext": "json3", "url": f"{base}/subtitles/{name}.json"}, {"ext": "vtt", "url": f"{base}/subtitles/{name}"}]
