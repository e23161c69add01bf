"""What yt-dlp may not do: use other downloaders than its own ones over HTTP, or run other programs on what it gets."""

from __future__ import annotations

import re
import sys
from typing import Any

from yt_dlp import YoutubeDL
from yt_dlp.downloader import PROTOCOL_MAP, DashSegmentsFD, FFmpegFD, FileDownloader, HlsFD, HttpFD, IsmFD
from yt_dlp.extractor.openload import PhantomJSwrapper
from yt_dlp.extractor.youtube.pot._director import PoTokenRequestDirector
from yt_dlp.postprocessor import FFmpegPostProcessor
from yt_dlp.postprocessor.common import PostProcessor

from curation.rejects import Kind, Rejected
from curation.sources.address_policy import asking_helpers


class _Counted:
    """Makes sure that a manifest lists no more segments than its media may have."""

    def _prepare_and_start_frag_download(self, ctx: dict[str, Any], info_dict: dict[str, Any]) -> Any:
        client: Any = self.ydl  # type: ignore[attr-defined]
        listed = info_dict.get("fragments")
        stated = sum(f.get("duration") or 0.0 for f in listed) if isinstance(listed, list) else 0.0
        seconds = max(info_dict.get("duration") or 0.0, stated)
        client.bounds.expect_segments(ctx.get("total_frags"), seconds, client.received)
        return super()._prepare_and_start_frag_download(ctx, info_dict)  # type: ignore[misc]


class _Dash(_Counted, DashSegmentsFD):  # type: ignore[misc]
    pass


class _Ism(_Counted, IsmFD):  # type: ignore[misc]
    pass


class _Hls(_Counted, HlsFD):  # type: ignore[misc]
    """HLS by yt-dlp's own code, or not at all: it would pass the URLs of other streams to ffmpeg."""

    @classmethod
    def can_download(cls, manifest: str, info_dict: Any, allow_unplayable_formats: bool = False) -> bool:
        if "#EXTINF" in manifest and "#EXT-X-ENDLIST" not in manifest:
            raise Rejected(Kind.LIVE, "a live stream, whose playlist has no end yet; retry when it has ended")
        if not super().can_download(manifest, info_dict, allow_unplayable_formats):
            raise Rejected(
                Kind.UNSUPPORTED, "an HLS stream that is encrypted, or in a format that yt-dlp cannot fetch itself"
            )
        stated = re.findall(r"#EXTINF:\s*(\d{1,9}(?:\.\d{1,9})?)", manifest)
        info_dict["duration"] = max(info_dict.get("duration") or 0.0, sum(map(float, stated)))
        return True


class _Refused(FileDownloader):  # type: ignore[misc]
    """Replaces the downloaders that would run a program on a URL, or use a protocol other than HTTP."""

    def real_download(self, filename: str, info_dict: dict[str, Any]) -> bool:
        raise Rejected(
            Kind.UNSUPPORTED, f"a stream by {info_dict.get('protocol')}, which only an external program could fetch"
        )


def _no_phantomjs(*_: Any, **__: Any) -> None:
    raise Rejected(Kind.UNSUPPORTED, "a page whose scripts yt-dlp would run in PhantomJS, which is not allowed")


class _LeftApart(PostProcessor):  # type: ignore[misc]
    """Replaces the merger: yt-dlp would let ffmpeg open whatever the two files turn out to be (see media/merge.py)."""

    available = True

    def can_merge(self) -> bool:
        return True

    def run(self, info: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
        return [], info


def _no_ffmpeg(*_: Any) -> None:
    raise Rejected(Kind.UNSUPPORTED, "a stream that yt-dlp would pass to ffmpeg, which is not allowed")


_get_po_token = PoTokenRequestDirector.get_po_token


def _ask_helpers(director: Any, request: Any) -> Any:
    with asking_helpers():
        return _get_po_token(director, request)


def apply() -> None:
    """Replace yt-dlp's downloaders, and what would run other programs, for the life of this process."""
    PoTokenRequestDirector.get_po_token = _ask_helpers  # nothing else may ask them
    native = {"http_dash_segments": _Dash, "http_dash_segments_generator": _Dash, "ism": _Ism}
    for protocol in PROTOCOL_MAP:
        PROTOCOL_MAP[protocol] = _Hls if protocol.startswith("m3u8") else native.get(protocol, _Refused)
    PROTOCOL_MAP.update(http=HttpFD, https=HttpFD)
    FFmpegFD._call_downloader = _no_ffmpeg
    PhantomJSwrapper.__new__ = _no_phantomjs  # a browser without updates, which would make requests of its own
    FFmpegPostProcessor._determine_executables = lambda _: {}  # as if neither ffmpeg nor ffprobe were installed
    sys.modules[YoutubeDL.__module__].FFmpegMergerPP = _LeftApart  # type: ignore[attr-defined]
