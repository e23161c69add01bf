"""The percentiles that rules compare with: taken once, and frozen with the policy, so that new videos move nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curation.dataset.database import literal
from curation.dataset.dataset import Dataset
from curation.quality.rules import Percentile
from curation.schema import LINEAGE, TABLES

LEAST = 100
"""Values that a percentile needs at least; with fewer, it is null, and drops nobody."""
COLUMNS = [name for name in TABLES["quantiles"].schema.names if name not in LINEAGE.names]


def frozen(dataset: Dataset, policy: str, wanted: Collection[Percentile]) -> pa.Table:
    """The frozen percentiles of a policy, as far as they are `wanted` and were taken."""
    rows = dataset.read("quantiles", COLUMNS)
    rows = rows.filter(pc.equal(rows["policy"], policy))
    is_wanted = [Percentile(signal, percent) in wanted for signal, percent in _pairs(rows)]
    return rows.filter(pa.array(is_wanted, pa.bool_()))


def percentiles_in(rows: pa.Table) -> set[Percentile]:
    return {Percentile(signal, percent) for signal, percent in _pairs(rows)}


def in_order(rows: pa.Table) -> pa.Table:
    """The rows in an order that does not depend on when they were taken."""
    return rows.sort_by([(name, "ascending") for name in ("signal", "percent", "scale", "language")])


def _pairs(rows: pa.Table) -> Iterator[tuple[str, float]]:
    return zip(rows["signal"].to_pylist(), rows["percent"].to_pylist(), strict=True)


def freeze(connection: Any, policy: str, wanted: Collection[Percentile]) -> pa.Table:
    """Take percentiles of the columns of the table `chosen`, by scale and language."""
    schema = pa.schema([TABLES["quantiles"].schema.field(name) for name in COLUMNS])
    found = [schema.empty_table()]
    for each in sorted(wanted):
        rows = connection.sql(f"""
            select
                {literal(policy)} as policy, {literal(each.signal)} as signal, {each.percent}::double as percent,
                scale, language, if(clips >= {LEAST}, value, null) as value, clips, null::varchar as model
            from (
                select scale, language, count("{each.signal}") as clips,
                    quantile_cont("{each.signal}"::double, {each.percent / 100}) as value
                from chosen group by scale, language
            ) order by scale, language""")
        found.append(rows.to_arrow_table().cast(schema))
    return pa.concat_tables(found)


def with_percentiles(connection: Any, chosen: str, wanted: Collection[Percentile], quantiles: pa.Table) -> str:
    """`chosen` with a column for each percentile: that of the clip's scale and language."""
    if not wanted:
        return chosen
    connection.register("taken", quantiles)
    columns = ", ".join(
        f'any_value(value) filter (signal = {literal(each.signal)} and percent = {each.percent}) as "{each.column}"'
        for each in sorted(wanted)
    )
    wide = f"select scale as of_scale, language as of_language, {columns} from taken group by all"
    return f"""(select * exclude (of_scale, of_language) from {chosen} left join ({wide}) as wide
        on scale = of_scale and language is not distinct from of_language) as chosen"""
