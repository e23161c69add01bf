"""The options and arguments that several commands share, and groups of commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HELP = {"help_option_names": ["-h", "--help"]}

DatasetArgument = Annotated[
    str, typer.Argument(metavar="DIR", help="the dataset: a path, or a file://, s3:// or gs:// URI")
]
ReleaseArgument = Annotated[str, typer.Argument(metavar="RELEASE", help="DIR@NAME, or the file of the release")]
SourceArgument = Annotated[
    str,
    typer.Argument(metavar="DIR", help="the dataset: a path, or a file://, s3:// or gs:// URI; or a release, DIR@NAME"),
]
DatasetOption = Annotated[
    str, typer.Option("--dataset", metavar="DIR", help="a path, or a file://, s3:// or gs:// URI")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML; `vidla config template` prints one")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="override one key; repeatable")
]
WaitOption = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", help="wait up to SECONDS for another writer to finish")
]
RejectRateOption = Annotated[
    float,
    typer.Option(
        "--max-reject-rate", metavar="SHARE", min=0.0, max=1.0, help="fail if SHARE of the work or more is rejected"
    ),
]
YesOption = Annotated[
    bool,
    typer.Option("--yes", help="do not ask before texts of a served model are replaced or videos downloaded again"),
]
QuietOption = Annotated[bool, typer.Option("-q", "--quiet", help="print nothing but errors")]
VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", help="print what is logged, too")]
LogFormatOption = Annotated[
    str,
    typer.Option(
        "--log-format", metavar="FORMAT", help="text; or json: one JSON line per event on stdout (docs/running.md)"
    ),
]
MetricsPortOption = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        metavar="PORT",
        min=1,
        max=65535,
        help="answer http://127.0.0.1:PORT/metrics while it runs, in OpenMetrics",
    ),
]
PricesOption = Annotated[
    Path | None, typer.Option("--prices", metavar="FILE", help="TOML with your prices, like docs/prices.toml")
]
MaxCostOption = Annotated[
    float | None,
    typer.Option("--max-cost", metavar="USD", min=0.0, help="stop before the run costs more (see --prices)"),
]
MaxTokensOption = Annotated[
    int | None, typer.Option("--max-tokens", metavar="N", min=0, help="stop before served models take more tokens")
]
MaxHoursOption = Annotated[
    float | None, typer.Option("--max-hours", metavar="HOURS", min=0.0, help="begin nothing more after HOURS")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="say what would be done; write nothing, and take no lease")
]
PolicyOption = Annotated[
    str | None,
    typer.Option("--policy", metavar="NAME", help="only clips and texts that this policy keeps (`vidla filter`)"),
]
AllOption = Annotated[bool, typer.Option("--all", help="all clips, whatever policies decided")]
WhereOption = Annotated[str | None, typer.Option("--where", metavar="SQL", help="a condition in DuckDB's SQL")]


def new_group(description: str) -> typer.Typer:
    """A command that has subcommands, such as `vidla config`."""
    return typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        help=description,
        rich_markup_mode=None,
        context_settings=HELP,
    )
