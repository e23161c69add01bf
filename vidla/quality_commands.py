"""`vidla score`, which measures the signals of clips, and `vidla filter`, which chooses by them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from vidla.console import counting
from vidla.dataset_commands import existing, open_writer
from vidla.options import ConfigOption, DatasetArgument, SetOption, WaitOption

if TYPE_CHECKING:
    from curation.policy_settings import PolicySettings
    from curation.quality.apply_policy import FilterReport
    from curation.quality.counterfactual import Counterfactual, LabelShare


def score(dataset: DatasetArgument, wait: WaitOption = 0.0) -> None:
    """Measure the signals of every clip, from `timelines` and its texts; what is up to date is not measured again.

    Writes the table `signals` (docs/quality.md). Nothing is decoded or asked for, and no model is needed.

    Example: vidla score data/talks
    """
    from curation.quality.score import score as score_in

    with open_writer(dataset, "score", wait) as writer, counting("clips", None) as advance:
        report = score_in(writer, advance)
    if report.videos:
        typer.echo(f"Measured {report.clips:,} clips of {report.videos:,} videos")
    else:
        typer.echo("Nothing to do: the signals of all clips are up to date.")


def filter_clips(
    dataset: DatasetArgument,
    policy: Annotated[
        str, typer.Option("--policy", metavar="NAME", help="a policy of the configuration: [policy.NAME]")
    ] = "default",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what each rule would do; write nothing, and take no lease")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print that as one JSON object")] = False,
    new_percentiles: Annotated[
        bool, typer.Option("--new-percentiles", help="take the percentiles of rules anew, and freeze these")
    ] = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
    wait: WaitOption = 0.0,
) -> None:
    """Choose clips, and their texts, by a policy: rules over their signals, caps and shares. Nothing is deleted.

    Writes the table `policies`, in which several policies stand side by side; `vidla export`, `train` and `evaluate`
    take one by --policy. `vidla score` measures what the rules compare. Look first with --dry-run: what each rule
    drops, what it alone drops, the clips nearest to its threshold, and what a tenth more or less would do.

    Example: vidla filter data/talks --dry-run

    Example: vidla filter data/talks --policy strict --config vidla.toml

    Example: vidla filter data/talks --policy slow --set "policy.slow.drop.fast=motion > percentile(motion, 90)"
    """
    from curation.quality.apply_policy import apply_policy
    from curation.quality.counterfactual import counterfactual
    from curation.settings import resolve

    policies = resolve(config, assignments or [], asks_servers=False).policy
    if policy not in policies:
        raise UsageError(f"no policy is called '{policy}'; there are {', '.join(policies)} (--config FILE has others)")
    chosen: PolicySettings = policies[policy]
    if dry_run:
        found = counterfactual(existing(Dataset(dataset)), policy, chosen, thaw=new_percentiles)
        if as_json:
            typer.echo(json.dumps(dataclasses.asdict(found), ensure_ascii=False))
        else:
            _show(found)
        return
    with open_writer(dataset, "filter", wait) as writer:
        report = apply_policy(writer, policy, chosen, thaw=new_percentiles)
    if as_json:
        typer.echo(json.dumps({"policy": policy, **dataclasses.asdict(report)}, ensure_ascii=False))
        return
    for line in _warnings(report):
        typer.echo(line)
    share = f" ({report.kept / report.clips:.0%})" if report.clips else ""
    typer.echo(
        f"{policy} keeps {report.kept:,} of {report.clips:,} clips{share}, {report.hours:,.1f} h, with "
        f"{report.subtitles:,} subtitles and {report.captions:,} captions"
    )


def _warnings(found: FilterReport | Counterfactual) -> Iterator[str]:
    if found.unmeasured:
        yield f"{found.unmeasured:,} clips have no signals, so that no rule drops them; `vidla score` measures them"
    if found.outdated:
        yield f"{found.outdated:,} clips have changed since their signals were measured; `vidla score` does so again"
    yield from found.notes


def _show(found: Counterfactual) -> None:
    from vidla.console import escape, new_table, wide_console

    console = wide_console()
    for line in _warnings(found):
        console.print(escape(line))
    share = f" ({found.kept / found.clips:.1%})" if found.clips else ""
    console.print(
        f"{escape(found.policy)} would keep {found.kept:,} of {found.clips:,} clips{share}, {found.kept_hours:,.2f} of "
        f"{found.hours:,.2f} h, with {found.subtitles:,} subtitles and {found.captions:,} captions"
    )
    if found.new_percentiles:
        console.print("its percentiles are of the clips as they are now, and would be frozen")
    if found.against is not None:
        now = found.against
        console.print(
            f"against what is applied now: {now.dropped:,} clips go, {now.restored:,} come back, {now.same:,} stay as "
            f"they are, {now.undecided:,} are new"
        )
    numbers = ("drops", "hours", "alone", "unknown", "-10 %", "+10 %", "called bad")
    table = new_table("rule", "of", *numbers, numbers=numbers)
    for rule in found.rules:
        counts = (f"{rule.clips:,}", f"{rule.hours:,.2f}", f"{rule.alone:,}", f"{rule.nulls:,}")
        moved = ("" if n is None else f"{n:,}" for n in (rule.less, rule.more))
        table.add_row(rule.rule, rule.subject, *counts, *moved, _judged(rule.labels))
    console.print(table)
    nearest = new_table("rule", "condition", "nearest that are kept", "nearest that are dropped")
    for rule in found.rules:
        sides = (
            "\n".join(f"{escape(near.clip_id)}  {near.value:.4g}" for near in side)
            for side in (rule.kept_nearest, rule.dropped_nearest)
        )
        if rule.kept_nearest or rule.dropped_nearest:
            nearest.add_row(rule.rule, escape(rule.condition or ""), *sides)
    if nearest.row_count:
        console.print(nearest)
    for kind, groups in found.groups.items():
        table = new_table(kind, "clips", "kept", "share", "hours", "kept hours", numbers=5)
        for group in groups:
            hours = (f"{group.hours:,.2f}", f"{group.kept_hours:,.2f}")
            table.add_row(
                escape(group.name), f"{group.clips:,}", f"{group.kept:,}", f"{group.kept / group.clips:.0%}", *hours
            )
        if table.row_count:
            console.print(table)
    for what, judged in (("dropped", found.dropped_labels), ("kept", found.kept_labels)):
        if judged.labelled:
            console.print(f"of the {what} clips that people judged, they call bad: {_judged(judged)}")


def _judged(judged: LabelShare) -> str:
    if not judged.labelled:
        return ""
    return f"{judged.bad} of {judged.labelled} ({judged.low:.0%} to {judged.high:.0%})"
