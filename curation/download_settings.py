"""The settings of downloads, and their presets."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from curation.config import EachTime, Operational, Policy, Section
from curation.secret import Secret


class DownloadSettings(Section):
    """How videos are fetched. Formats, cookies, proxy, rate and sleeps are handed to yt-dlp."""

    format: str = Field(
        "bv*[height<=480][ext=mp4]+ba[ext=m4a]/bv*[height<=480]+ba/b[height<=480]/b",
        description="yt-dlp format selection; 480 lines are enough for the 360 that are stored (`media.lines`)",
    )
    subtitle_languages: tuple[str, ...] = Field(("en",), description="subtitle languages to fetch, best first")
    cookies_file: Annotated[str | None, Operational] = Field(
        None, description="Netscape cookie file for sites that require a login"
    )
    cookies_from_browser: Annotated[str | None, Operational] = Field(
        None,
        description="take the cookies of a browser of this machine instead, as yt-dlp names it: BROWSER[:PROFILE]",
        pattern="^(brave|chrome|chromium|edge|firefox|opera|vivaldi|whale)(:.+)?$",
    )
    extractor_args: Annotated[tuple[Secret, ...], Operational] = Field(
        (), description="arguments for yt-dlp's extractors, as on its command line: youtube:player_client=tv;lang=en"
    )
    plugin_folders: Annotated[tuple[str, ...], Operational] = Field(
        (), description="folders with plugins of yt-dlp, which run as they like: take them from people that you trust"
    )
    helpers: Annotated[tuple[str, ...], Operational] = Field(
        (),
        description="HOST:PORT of providers of PO tokens, such as 127.0.0.1:4416: yt-dlp's plugins for them may "
        "connect there, and nothing else may",
    )
    proxy: Annotated[Secret | None, Operational] = Field(None, description="proxy URL for every request")
    preset: Annotated[Literal["careful"] | None, Operational] = Field(
        None,
        description="careful: one download from a host at a time, long pauses and a limited rate, for sites that ban "
        "addresses; keys that you set yourself outrank it",
    )
    js_runtime: Annotated[str | None, Operational] = Field(
        None,
        description="JavaScript runtime for YouTube: deno, node, quickjs or bun, or NAME:PATH; unset: deno or node",
        pattern="^(deno|node|quickjs|bun)(:.+)?$",
    )
    user_agent: Annotated[str | None, Operational] = Field(None, description="User-Agent header; yt-dlp's own if unset")
    rate_limit: Annotated[int | None, Operational] = Field(None, description="bytes per second of each download", gt=0)
    sleep_interval_s: Annotated[float, Operational] = Field(0.0, description="pause before each download", ge=0)
    sleep_requests_s: Annotated[float, Operational] = Field(0.0, description="pause between requests to a site", ge=0)
    per_host: Annotated[int, Operational] = Field(
        2, description="concurrent requests to one site or server, from one machine and in one run", ge=1
    )
    workers: Annotated[int, Operational] = Field(8, description="concurrent downloads in total", ge=1)
    attempts: Annotated[int, Operational] = Field(3, description="attempts at one download before it is rejected", ge=1)
    retry_wait_s: Annotated[float, Operational] = Field(
        2.0, description="first pause between attempts; doubles; Retry-After is obeyed up to timeout_s", ge=0
    )
    timeout_s: Annotated[float, Operational] = Field(3600.0, description="seconds for one video in total", gt=0)
    page_timeout_s: Annotated[float, Operational] = Field(
        120.0, description="seconds of these for what leads to the media: pages, scripts, manifests", gt=0
    )
    stall_s: Annotated[float, Operational] = Field(
        30.0, description="seconds without a byte before a connection is given up", gt=0
    )
    max_redirects: Annotated[int, Operational] = Field(5, description="redirects to follow", ge=0)
    max_bytes: Annotated[int, Policy] = Field(4 * 2**30, description="larger media is rejected", gt=0)
    max_duration_s: Annotated[float, Policy] = Field(
        4 * 3600.0, description="longer media is rejected; of a range, only its own length counts", gt=0
    )
    allow_private: Annotated[bool, Policy, EachTime] = Field(False, description="allow loopback and private addresses")
    only_where: Annotated[str | None, Operational] = Field(
        None,
        description="SQL condition on columns of `pages`, such as duration < 1800 and language = 'en': other videos "
        "wait as gated, and are fetched when the condition lets them through",
    )
    ask_rights: Annotated[bool, Operational] = Field(
        True, description="ask YouTube who may train on a video, and a site for its robots.txt and tdmrep.json"
    )
    honour_opt_out: Annotated[bool, Policy] = Field(
        True, description="reject media that X-Robots-Tag (noai, noimageai and the like) opts out"
    )

    @field_validator("extractor_args")
    @classmethod
    def _well_formed(cls, extractor_args: tuple[Secret, ...]) -> tuple[Secret, ...]:
        if not all(re.fullmatch(r"[\w:-]+:[^:;=]+=.*", secret.reveal(), re.DOTALL) for secret in extractor_args):
            raise ValueError("each must look like EXTRACTOR:NAME=VALUE[,VALUE][;NAME=VALUE]")
        return extractor_args

    @field_validator("helpers")
    @classmethod
    def _with_ports(cls, helpers: tuple[str, ...]) -> tuple[str, ...]:
        found = [re.fullmatch(r"[^\s/]+:(\d{1,5})", helper, re.ASCII) for helper in helpers]
        if not all(each and 0 < int(each[1]) < 2**16 for each in found):
            raise ValueError("each must be HOST:PORT")
        return helpers


PRESETS: dict[str, dict[str, Any]] = {
    # the pauses that yt-dlp recommends (its alias `-t sleep`)
    "careful": {
        "download": {
            "per_host": 1,
            "sleep_interval_s": 15.0,
            "sleep_requests_s": 0.75,
            "rate_limit": 2 * 2**20,
            "retry_wait_s": 60.0,
        }
    }
}
"""The values of `download.preset`, by name: other defaults."""
