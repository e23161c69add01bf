"""A fake site whose formats need a challenge solved, by yt-dlp's own solver, with the player of the page."""

from typing import Any

from yt_dlp.extractor.youtube import YoutubeIE
from yt_dlp.extractor.youtube.jsc.provider import JsChallengeRequest, JsChallengeType, NChallengeInput


class FakePlayerIE(YoutubeIE):
    IE_NAME = "fakeplayer"
    _VALID_URL = r"(?P<base>https?://[^/]+)/player/(?P<id>[\w-]+)"

    def _real_extract(self, url: str) -> dict[str, Any]:
        name, base = self._match_id(url), self._match_valid_url(url)["base"]
        challenge = NChallengeInput(f"{base}/s/player/0123abcd/{name}.js", ["drawer"])
        request = JsChallengeRequest(JsChallengeType.N, challenge, name)
        solved = [answer.output.results["drawer"] for _, answer in self._jsc_director.bulk_solve([request])]
        formats = [{"url": f"{base}/video.mp4?n={n}", "ext": "mp4"} for n in solved]
        return {"id": name, "title": "A talk", "formats": formats}
