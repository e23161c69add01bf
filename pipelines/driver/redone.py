"""What a run makes again of what is there, by counts, and how its settings differ from the last run's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation.dataset.dataset import Dataset, rows_of
from curation.dataset.last_settings import LastRun
from curation.engines.text_source import TextSource
from curation.remembered import Difference, differences
from curation.settings import Settings
from pipelines.driver.plan import Plan
from pipelines.driver.returning import returning_texts
from pipelines.driver.state import State
from pipelines.worker.text_engines import captioner, summariser, text_digests

MAKER = ("engine", "model", "prompt_digest", "sampling")
"""The columns of a text that show what made it, and that are known before any server is asked."""


@dataclass
class Redone:
    """What a run makes again of what is there. A text whose material turns out to be the same is kept after all."""

    downloads: int = 0  # from the web
    subtitles: int = 0  # of videos whose media stays
    segmentations: int = 0
    tilings: int = 0  # of media that stays
    timelines: int = 0  # of media that stays, and its tilings
    captions: int = 0
    summaries: int = 0
    captions_back: int = 0  # of these, the ones taken from earlier versions or from run.reuse, which cost nothing
    summaries_back: int = 0
    served: Counter[str] = field(default_factory=Counter)  # the texts among these that a served model made, by its name
    captioned: int = 0  # videos of the plan that have captions now
    summarized: int = 0

    def line(self) -> str:
        """The counts that are not 0, in one line."""
        return f"Made again: {', '.join(self.parts()) or 'nothing'}"

    def parts(self) -> list[str]:
        """The counts that are not 0."""
        counts = {
            "downloads": self.downloads,
            "downloads of subtitles alone": self.subtitles,
            "segmentations": self.segmentations,
            "tilings of stored media": self.tilings,
            "timelines of stored media": self.timelines,
        }
        texts = {"captions": (self.captions, self.captions_back), "summaries": (self.summaries, self.summaries_back)}
        parts = [f"{count:,} {what}" for what, count in counts.items() if count]
        for what, (count, back) in texts.items():
            if count:
                parts.append(f"up to {count:,} {what}{f' ({back:,} of them exist already)' if back else ''}")
        return parts

    def question(self) -> str | None:
        """What must be agreed to, as a clause; None if nothing must be."""
        parts = []
        if texts := self.served.total():
            parts.append(f"up to {texts:,} texts of a served model ({', '.join(sorted(self.served))}) are replaced")
        if self.downloads:
            parts.append(f"{self.downloads:,} videos are downloaded again")
        return " and ".join(parts) or None


@dataclass(frozen=True)
class Change:
    """The difference between the settings of the last run and those of this one; `hidden`: by texts that differ though
    no key does, since the files of prompts or models have changed."""

    keys: Sequence[Difference]
    hidden: frozenset[str] = frozenset()  # captions, summaries
    is_known: bool = True  # what made the texts of the last run

    @classmethod
    def between(cls, last: LastRun, settings: Settings, texts: Mapping[str, str]) -> Change:
        changed = {kind for kind, digest in texts.items() if last.texts.get(kind, digest) != digest}
        return cls(differences(last.settings, settings), frozenset(changed), bool(last.texts))

    def __bool__(self) -> bool:
        return bool(self.keys or self.hidden or not self.is_known)

    def lines(self) -> Iterator[str]:
        if self.keys:
            yield "Differs from the last run:"
            yield from (f"  {difference}" for difference in self.keys)
        elif self.hidden:
            yield f"The prompts or models that make the {' and '.join(sorted(self.hidden))} differ from the last run's"


def redone(state: State, plan: Plan, change: Change) -> Redone:
    """What `plan`, of all stages, makes again."""
    spoken = set(plan.downloads.kept())
    again = ((key, done) for key in plan.downloads.redone() if (done := state.downloads.get(key)))
    keys = [key for key, done in again if done.video_id not in spoken]
    local = set(state.dataset.sql("select request_key from requests where local")["request_key"].to_pylist())
    fetched = {state.downloads[key].video_id for key in keys}
    decoded = {
        v for v in (*plan.segment, *fetched) if v in state.videos and not (v in plan.segment and state.has_media(v))
    }
    measured = {v for v in plan.segment if state.is_cut(v)}
    tiled = {v for v in (*plan.segment, *spoken) if v in state.segments} - decoded - measured
    made = Redone(sum(key not in local for key in keys), len(spoken), len(decoded), len(tiled), len(measured))
    _count_texts(made, state, decoded, tiled, set(plan.text), change)
    return made


def _count_texts(
    made: Redone, state: State, decoded: set[str], tiled: set[str], texts: set[str], change: Change
) -> None:
    """Count the texts of these videos that are replaced: all of those decoded again, else what another source made."""
    videos = decoded | tiled | texts
    if not videos:
        return
    plan = summariser(state.settings)
    captions = _Texts(state.dataset, "captions", {"": captioner(state.settings)}, "captions" in change.hidden)
    summaries = _Texts(
        state.dataset,
        "summaries",
        {"subtitles": plan.subtitles, "captions": plan.captions},
        "summaries" in change.hidden,
    )
    captioned: set[str] = set()
    recaptioned, resummarized = Counter[str](), Counter[str]()  # texts by video
    summarized: set[str] = set()
    for video_id, row in captions.of(videos):
        captioned.add(video_id)
        if video_id in decoded or captions.is_outdated(row):
            recaptioned[video_id] += row["n"]
            made.served.update(_served(row))
    for video_id, row in summaries.of(videos):
        summarized.add(video_id)
        if (
            video_id not in texts
            or summaries.is_outdated(row)
            or (row["kind"] == "captions" and video_id in recaptioned)
        ):
            resummarized[video_id] += row["n"]
            made.served.update(_served(row))
    made.captioned, made.summarized = len(captioned), len(summarized)
    made.captions, made.summaries = recaptioned.total(), resummarized.total()
    made.captions_back = _back(state, "captions", recaptioned, texts)
    made.summaries_back = _back(state, "summaries", resummarized, texts)


def _back(state: State, table: str, outdated: Counter[str], texts: set[str]) -> int:
    """How many of these texts, by video, exist in earlier versions or other datasets, where only texts are redone."""
    videos = outdated.keys() & texts
    if not videos:
        return 0
    today = text_digests(state.settings)
    found = returning_texts(state.dataset, table, videos, today, with_earlier=True)
    for other in map(Dataset, state.settings.run.reuse):
        found |= returning_texts(other, table, videos, today, with_earlier=False)
    return sum(min(outdated[video_id], found[video_id]) for video_id in videos)


class _Texts:
    """The texts of a table, counted by video and by what made them; `sources` are those of today, by kind.

    `changed`: whether the sources differ from the last run's, if only in what no column shows.
    """

    def __init__(self, dataset: Dataset, table: str, sources: Mapping[str, TextSource], changed: bool) -> None:
        self._dataset = dataset
        kind_of_text = "kind" if table == "summaries" else "'' as kind"
        self._columns, self._table = f"{kind_of_text}, {', '.join(MAKER)}", table
        today = {
            (k, s.engine.engine, s.engine.model, s.prompt.digest, s.sampling.to_json()) for k, s in sources.items()
        }
        makers = {_maker(row) for row in rows_of(dataset.sql(f"select distinct {self._columns} from {table}"))}
        self._outdated = makers if changed and makers <= today else makers - today

    def of(self, videos: set[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Counts `n` of the texts of these videos."""
        query = f"select video_id, {self._columns}, count(*) as n from {self._table} group by all"
        for batch in self._dataset.stream(query):
            yield from ((row["video_id"], row) for row in batch.to_pylist() if row["video_id"] in videos)

    def is_outdated(self, row: Mapping[str, Any]) -> bool:
        return _maker(row) in self._outdated


def _maker(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("kind", *MAKER))


def _served(row: Mapping[str, Any]) -> dict[str, int]:
    """The texts of a row by the name of the served model that made them."""
    return {} if row["engine"] == "builtin" else {json.dumps(f"{row['engine']}/{row['model']}")[1:-1]: row["n"]}
