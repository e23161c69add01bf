"""Requests that sites refuse: some are put off until a site answers again, and some are left for a later run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation.errors import SiteError
from curation.sources.site_limits import RESTS
from curation.sources.sites import site_of
from pipelines.driver.waves import Wave
from pipelines.worker.work_items import DownloadItem
from pipelines.worker.worker_process import this_process

NAMED_SITES = 5  # in an error
PUT_OFF_WAVES = 10  # as many downloads as this many waves have are put off before sites are waited for


@dataclass
class SiteRefusals:
    """What the sites of a run have refused so far. `patient` says whether the stages wait for such sites."""

    wave_videos: int
    patient: bool = True
    _left: Counter[str] = field(default_factory=Counter)  # by site, requests that it refused for good
    _put_off: list[DownloadItem] = field(default_factory=list)  # while their sites are left alone
    _keys: set[str] = field(default_factory=set)  # of those, in the wave that is downloaded

    def waves(self, waves: Sequence[Wave]) -> Iterator[Wave]:
        """These waves, and after them those of the downloads that were put off meanwhile, until none is."""
        for wave in waves:
            self.patient = len(self._put_off) >= PUT_OFF_WAVES * self.wave_videos
            yield wave
        self.patient = True
        number = len(waves)
        while self._put_off:
            number += 1
            this_process.tally.add("run", "waves")
            downloads, self._put_off = self._put_off[: self.wave_videos], self._put_off[self.wave_videos :]
            yield Wave(number, downloads=downloads)

    def allowed(self, downloads: Sequence[DownloadItem]) -> Sequence[DownloadItem]:
        """Those whose sites have not refused us for good."""
        if not self._left:
            return downloads
        sites = [site_of(item.request.uri) for item in downloads]
        self._left.update(site for site in sites if site is not None and site in self._left)
        return [item for item, site in zip(downloads, sites, strict=True) if site not in self._left]

    def note(self, outcome: Mapping[str, Any]) -> None:
        """Take in the outcome of a commit: what it left and put off."""
        self._left.update(outcome.get("left", {}))
        self._keys.update(outcome.get("put_off", ()))

    def tried(self, downloads: Sequence[DownloadItem]) -> list[DownloadItem]:
        """Those of a wave that were not put off; the others are kept for later."""
        self._put_off += [item for item in downloads if item.key in self._keys]
        tried = [item for item in downloads if item.key not in self._keys]
        self._keys.clear()
        return tried

    def check(self) -> None:
        """Raises SiteError if requests were left, since their sites refuse us."""
        if not self._left:
            return
        most = sorted(self._left.items(), key=lambda each: (-each[1], each[0]))
        named = [f"{site} ({count} videos left)" for site, count in most[:NAMED_SITES]]
        others = len(most) - NAMED_SITES
        sites = " and ".join([*named, *([f"{others} other sites"] if others > 0 else [])])
        raise SiteError(
            f"refused again and again, even after {RESTS} pauses, or told to wait longer than download.timeout_s, by "
            f"{sites}; the same command goes on with them: wait some hours, and set download.preset=careful, cookies "
            "or another address (docs/youtube.md)"
        )
