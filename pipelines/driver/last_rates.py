"""How fast the last run of a dataset was, as its commits and the table `usage` record it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation.dataset.commits import recent_commits
from curation.dataset.dataset import Dataset
from curation.rejects import Stage
from curation.settings import Settings

COMMITS_READ = 500  # the latest ones, in which the rates of the last run are found
UNITS: Mapping[str, str] = {
    Stage.DOWNLOAD: "done",
    Stage.SEGMENT: "source_bytes",
    Stage.CAPTION: "captions",
    Stage.SUMMARIZE: "clips",
}
"""By stage, the count that its work is measured in."""


@dataclass(frozen=True)
class _Spent:
    """What the commits of a run say that one of its stages took: seconds by the clock, and counts by name."""

    run_id: str
    seconds: float = 0.0
    counts: Mapping[str, int] = field(default_factory=Counter)

    def with_commit(self, record: Mapping[str, Any]) -> _Spent:
        """With a further commit, of this run or of a later one."""
        outcome = record["outcome"]
        before = self if self.run_id == record["run_id"] else _Spent(record["run_id"])
        counts = Counter(before.counts) + Counter(outcome["counts"])
        return _Spent(record["run_id"], before.seconds + outcome["seconds"], counts)


def last_rates(dataset: Dataset, settings: Settings, stages: Sequence[Stage]) -> dict[str, float]:
    """Seconds that a unit of work took in the latest run that did some of it, by stage.

    A stage of texts that had another model then is left out.
    """
    spent: dict[Stage, _Spent] = {}
    made_by: Mapping[str, object] = {}
    wanted = {Stage.CAPTION: settings.captions.engine, Stage.SUMMARIZE: settings.summaries.engine}
    for _, record in recent_commits(dataset, COMMITS_READ):
        if record["kind"] == "open":
            made_by = record.get("about", {}).get("settings", {})
            continue
        outcome, stage = record.get("outcome", {}), next((s for s in stages if s in record["token"].split(":")), None)
        if stage is None or not outcome.get("seconds") or not outcome.get("counts", {}).get(UNITS[stage]):
            continue
        if stage in wanted and not _is_same_model(made_by, stage, wanted[stage].kind, wanted[stage].model):
            spent.pop(stage, None)
        else:
            spent[stage] = spent.get(stage, _Spent("")).with_commit(record)
    by_item = dict(_rates_by_item(dataset, spent))
    by_clock = {stage: of.seconds / of.counts[UNITS[stage]] for stage, of in spent.items()}
    return {stage: min(rate, by_item.get(stage, rate)) for stage, rate in by_clock.items()}


_USAGE = """
    select
        stage, run_id, sum(seconds) - max(seconds) as seconds, count(*) - 1 as items,
        (sum(bytes) - arg_max(bytes, seconds))::double as bytes,
        (sum(requests) - arg_max(requests, seconds))::double as requests
    from usage group by stage, run_id having count(*) > 1"""


def _rates_by_item(dataset: Dataset, spent: Mapping[Stage, _Spent]) -> Iterator[tuple[Stage, float]]:
    """The same by the times of the items, one after the other and without the slowest.

    In a short run that is nearer: by the clock, most of it is starting, and so is the time of its slowest item.
    """
    for row in dataset.sql(_USAGE).to_pylist() if spent else ():
        stage = Stage(row["stage"])
        if stage not in spent or spent[stage].run_id != row["run_id"]:
            continue
        units = {Stage.DOWNLOAD: row["items"], Stage.SEGMENT: row["bytes"]}.get(stage, row["requests"])
        counts = spent[stage].counts
        a_unit = counts["requests"] / counts[UNITS[stage]] if stage in (Stage.CAPTION, Stage.SUMMARIZE) else 1.0
        if units and a_unit:
            yield stage, a_unit * row["seconds"] / units


def _is_same_model(made_by: Mapping[str, object], stage: Stage, kind: str, model: str | None) -> bool:
    texts = made_by.get("captions" if stage == Stage.CAPTION else "summaries")
    engine = texts.get("engine") if isinstance(texts, dict) else None
    return isinstance(engine, dict) and (engine.get("kind"), engine.get("model")) == (kind, model)
