"""`vidla template`: make and check the file that describes a flex template to Dataflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from curation.errors import UsageError
from vidla.options import new_group
from vidla.template import IMAGE, PARAMETERS, faults, specification

app = new_group("Make and check a flex template for Dataflow.")


@app.command()
def make(
    image: Annotated[str, typer.Option("--image", metavar="IMAGE", help="the launcher image, with its tag or digest")],
    max_workers: Annotated[
        int, typer.Option("--max-workers", metavar="N", min=1, help="workers per launch, by default")
    ] = 20,
    machine_type: Annotated[
        str,
        typer.Option(
            "--machine-type", metavar="TYPE", help="machine type of the workers, except for stages that need GPUs"
        ),
    ] = "n2-standard-8",
) -> None:
    """Print the template, a JSON file for a bucket.

    Example: vidla template make --image docker.io/me/vidla-launcher:0.1.0 > vidla.json
    """
    if not IMAGE.fullmatch(image):
        raise UsageError(
            f"'{image}' is not an image reference with registry and tag, such as docker.io/me/vidla-launcher:1"
        )
    typer.echo(json.dumps(specification(image, max_workers, machine_type), indent=2))


@app.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="as printed by `vidla template make`")]) -> None:
    """Check that a template fits the launcher of this version.

    Example: vidla template check vidla.json
    """
    try:
        spec = json.loads(file.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}") from None
    if lines := list(faults(spec)):
        raise UsageError("\n".join(f"{file}: {line}" for line in lines))
    typer.echo(f"{file} is valid: {len(PARAMETERS)} parameters, launched by {spec['image']}")
