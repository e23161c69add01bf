"""Apply a policy: its decisions on all clips become rows of the table `policies`. Nothing else is computed."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from curation.dataset.commits import Committer, Replacement
from curation.dataset.database import literal
from curation.dataset.dataset import Dataset
from curation.dataset.parts import PartWriter, with_origin
from curation.ids import digest
from curation.policy_settings import PolicySettings
from curation.quality.decisions import READ, decide, queries, totals

PART_BYTES = 64 * 2**20
BATCH_ROWS = 2**17


@dataclass(frozen=True)
class FilterReport:
    """What a policy keeps of how many `clips`; `unmeasured` ones have no signals, `outdated` ones older than its texts.

    `digest` is that of the policy with its percentiles, `notes` say which caps had no effect.
    """

    clips: int
    kept: int
    hours: float
    subtitles: int
    captions: int
    unmeasured: int
    outdated: int
    digest: str
    notes: tuple[str, ...]


def policy_digest(policy: PolicySettings, quantiles: pa.Table) -> str:
    """Identifies what a policy decides, whatever its name: its rules, and the percentiles that were frozen with it."""
    return digest("policy", policy.values(), quantiles.drop_columns(["policy"]).to_pylist())


def apply_policy(writer: Committer, name: str, policy: PolicySettings, *, thaw: bool = False) -> FilterReport:
    """Decide on all clips, in one commit, in place of what the policy of this name had decided.

    The commit records the versions of the tables. With `thaw`, percentiles are taken again. Raises ConfigError.
    """
    dataset = writer.dataset
    versions = {table: dataset.delta(table).version() for table in READ}
    with dataset.connection(queries(policy)) as connection:
        decisions = decide(connection, dataset, name, policy, thaw=thaw)
        of_policy = policy_digest(policy, decisions.quantiles)
        parts = PartWriter(dataset.store, writer.lineage, PART_BYTES)
        rows = connection.sql(f"""
            select {literal(name)} as policy, clip_id, video_id, kept, subtitle_kept, caption_kept, dropped_by,
                {literal(of_policy)} as digest
            from decided""")
        for batch in rows.to_arrow_reader(BATCH_ROWS):
            parts.add_rows("policies", with_origin("policies", pa.table(batch), writer.lineage))
        counts = totals(connection)
    tables = ["policies", *(["quantiles"] if decisions.new else [])]
    if decisions.new:
        frozen = decisions.quantiles.append_column("digest", pa.array([of_policy] * len(decisions.quantiles)))
        parts.add_rows("quantiles", with_origin("quantiles", frozen, writer.lineage))
    replaced = [Replacement(table, ("policy",), frozenset({(name,)}), _parts(dataset, table)) for table in tables]
    outcome = {"policy": name, "digest": of_policy, "rules": policy.values(), "tables": versions}
    writer.commit(f"{writer.lineage.run_id}:policy:{name}", parts.finish(), replaced, outcome=outcome)
    return FilterReport(
        decisions.clips,
        counts["kept"],
        counts["kept_hours"],
        counts["subtitles"],
        counts["captions"],
        decisions.unmeasured,
        decisions.outdated,
        of_policy,
        tuple(decisions.notes),
    )


def _parts(dataset: Dataset, table: str) -> frozenset[str]:
    return frozenset(dataset.live_parts(table))
