"""`vidla config`: print, check and show the configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from curation.remembered import differences
from curation.secret import MASK, Secret
from curation.settings import Settings, fields, resolve, resolve_to_compare
from vidla.options import ConfigOption, DatasetArgument, SetOption, new_group

app = new_group("Print, check and show the configuration.")


@app.command()
def template() -> None:
    """Print every key with its default, as TOML.

    Example: vidla config template > vidla.toml
    """
    typer.echo(to_toml(Settings(), comments=True), nl=False)


@app.command()
def validate(file: Annotated[Path, typer.Argument(metavar="FILE", help="the configuration, as TOML")]) -> None:
    """Check a configuration file.

    Example: vidla config validate vidla.toml
    """
    resolve(file)
    typer.echo(f"{file} is valid")


@app.command()
def show(config: ConfigOption = None, assignments: SetOption = None) -> None:
    """Print the resolved configuration, as a run would use it.

    Example: vidla config show --config vidla.toml --set media.crf=20
    """
    typer.echo(to_toml(resolve(config, assignments or ()), comments=False), nl=False)


@app.command()
def diff(dataset: DatasetArgument, config: ConfigOption = None, assignments: SetOption = None) -> None:
    """Show the keys in which a run with these options would differ from the dataset's last run.

    Without options, those in which the last run differs from the defaults.

    Example: vidla config diff data/talks --config vidla.toml
    """
    from curation.dataset.dataset import Dataset
    from curation.dataset.last_settings import last_run

    source = Dataset(dataset)
    if not source.exists():
        raise source.missing()
    last = last_run(source)
    if last is None:
        typer.echo("No run has recorded its settings yet.")
        return
    now = resolve_to_compare(config, assignments or (), last.settings)
    found = differences(last.settings if config or assignments else {}, now)
    for difference in found:
        typer.echo(difference)
    if not found:
        typer.echo("No key differs.")


def to_toml(settings: Settings, comments: bool) -> str:
    """`settings` as TOML. With `comments`, a description precedes each key, and keys without a value are commented out.

    >>> to_toml(Settings(), comments=False).splitlines()[:3]
    ['schema_version = 1', '', '[download]']
    """
    lines: list[str] = []
    section = ""
    for path, value, description in fields(settings):
        above, _, key = path.rpartition(".")
        if above != section:
            section = above
            lines += ["", f"[{section}]"]
        if comments:
            lines.append(f"# {description}")
        if isinstance(value, Secret) or (isinstance(value, tuple) and any(isinstance(v, Secret) for v in value)):
            lines.append(f"# {key} = {MASK}  (set, and not shown)")
        elif isinstance(value, dict):
            lines += [f"{key}.{name} = {json.dumps(each, ensure_ascii=False)}" for name, each in value.items()]
            lines += [f"# {key} = {{}}"] if comments and not value else []
        elif value is not None:
            lines.append(
                f"{key} = {json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)}"
            )
        elif comments:
            lines.append(f"# {key} =")
    return "\n".join(lines).lstrip("\n") + "\n"
