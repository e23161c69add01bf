"""How fast the last run of a dataset was, as its commits and the table `usage` record it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation.dataset.commits import read_commits, settled
from curation.dataset.dataset import Dataset
from curation.rejects import Stage
from curation.settings import Settings

SHORT_S = 120.0  # less than which a stage took in a short run: by the clock, most of that may be starting
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


def last_rates(dataset: Dataset, settings: Settings, stages: Sequence[Stage]) -> dict[Stage, float]:
    """Seconds that a unit of work took in the latest run that did some of it, by stage.

    A stage of texts that had another model then is left out.
    """
    spent: dict[Stage, _Spent] = {}
    made_by: Mapping[str, object] = {}
    wanted = {Stage.CAPTION: settings.captions.engine, Stage.SUMMARIZE: settings.summaries.engine}
    for _, record in read_commits(dataset, max(0, settled(dataset) - COMMITS_READ)):
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
    by_clock = {stage: of.seconds / of.counts[UNITS[stage]] for stage, of in spent.items()}
    short = {stage: of for stage, of in spent.items() if of.seconds < SHORT_S}
    return by_clock | {stage: min(rate, by_clock[stage]) for stage, rate in _rates_by_item(dataset, short)}


_USAGE = """
    select stage, run_id, quantile_disc(seconds / units, 0.25) as rate
    from (
        select *, case stage when 'download' then 1 when 'segment' then bytes else requests end as units from usage
    ) as usage
    where units > 0 group by usage.stage, run_id"""


def _rates_by_item(dataset: Dataset, spent: Mapping[Stage, _Spent]) -> Iterator[tuple[Stage, float]]:
    """The same by the times of the faster items: for short runs, whose first items wait for a model to be loaded."""
    for row in dataset.sql(_USAGE).to_pylist() if spent else ():
        stage = Stage(row["stage"])
        if stage in spent and spent[stage].run_id == row["run_id"]:
            counts = spent[stage].counts
            is_text = stage in (Stage.CAPTION, Stage.SUMMARIZE)
            yield stage, row["rate"] * (counts["requests"] / counts[UNITS[stage]] if is_text else 1.0)


def _is_same_model(made_by: Mapping[str, object], stage: Stage, kind: str, model: str | None) -> bool:
    texts = made_by.get("captions" if stage == Stage.CAPTION else "summaries")
    engine = texts.get("engine") if isinstance(texts, dict) else None
    return isinstance(engine, dict) and (engine.get("kind"), engine.get("model")) == (kind, model)
