"""`vidla template`: make the file by which Dataflow knows a flex template, and check one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from curation import __version__
from curation.errors import UsageError
from curation.settings import fields
from vidla.template import PARAMETERS, Parameter

app = typer.Typer(no_args_is_help=True, help="Make and check a flex template for Dataflow.", rich_markup_mode=None)

IMAGE = re.compile(next(p.regex for p in PARAMETERS if p.name == "sdk_container_image"))


@app.command()
def make(
    image: Annotated[str, typer.Option("--image", metavar="IMAGE", help="the launcher image, with its tag or digest")],
    max_workers: Annotated[int, typer.Option("--max-workers", min=1, help="a launch's workers, unless it says")] = 20,
    machine_type: Annotated[
        str, typer.Option("--machine-type", metavar="TYPE", help="their machines, but for stages that want cards")
    ] = "n2-standard-8",
) -> None:
    """Print the template's file, to be put into a bucket.

    Example: vidla template make --image europe-docker.pkg.dev/me/vidla/launcher:0.1.0 > vidla.json
    """
    if not IMAGE.fullmatch(image):
        raise UsageError(
            f"'{image}' is no image with registry and tag, such as europe-docker.pkg.dev/me/vidla/launcher:1"
        )
    typer.echo(json.dumps(specification(image, max_workers, machine_type), indent=2))


@app.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="as `vidla template make` prints it")]) -> None:
    """Check that a template's file is what this version's launcher takes.

    Example: vidla template check vidla.json
    """
    try:
        spec = json.loads(file.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}") from None
    wrong = list(faults(spec))
    if wrong:
        raise UsageError("\n".join(f"{file}: {line}" for line in wrong))
    typer.echo(f"{file} is valid: {len(PARAMETERS)} parameters, launched by {spec['image']}")


def specification(image: str, max_workers: int, machine_type: str) -> dict[str, Any]:
    """A flex template's container specification, as Dataflow reads it."""
    return {
        "image": image,
        "sdkInfo": {"language": "PYTHON"},
        "metadata": {
            "name": f"vidla {__version__}",
            "description": "Curate one wave of videos into a video-language dataset; launch it again for the next.",
            "parameters": [_metadata(parameter) for parameter in PARAMETERS],
        },
        "defaultEnvironment": {"maxWorkers": max_workers, "machineType": machine_type},
    }


def _metadata(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "label": parameter.label,
        "helpText": parameter.help,
        "isOptional": parameter.optional,
        "regexes": [f"^{parameter.regex}$"],
        "paramType": parameter.kind,
    }


# --- checking -------------------------------------------------------------------------------------------------------


def faults(given: Any) -> Iterator[str]:
    """What is wrong with a container specification, a line each: in itself, and for this version's launcher."""
    try:
        from google.cloud import dataflow
        from google.protobuf.json_format import MessageToDict, ParseError
    except ImportError:
        raise UsageError("templates are checked against Dataflow's own types: pip install 'vidla[dataflow]'") from None
    try:
        parsed = dataflow.ContainerSpec.from_json(json.dumps(given))
    except ParseError as error:
        yield f"Dataflow does not take it: {error}"
        return
    if not isinstance(given, dict):
        yield "Dataflow does not take it: it is no JSON object"
        return
    spec = MessageToDict(dataflow.ContainerSpec.pb(parsed), always_print_fields_with_no_presence=True)
    if not IMAGE.fullmatch(spec["image"]):
        yield f"'{spec['image']}' is no image with a registry and a tag"
    if spec.get("sdkInfo", {}).get("language") != "PYTHON":
        yield "sdkInfo.language must be PYTHON"
    metadata = spec.get("metadata", {})
    if not metadata.get("name") or not metadata.get("description"):
        yield "metadata needs a name and a description"
    environment = spec.get("defaultEnvironment", {})
    if environment.get("maxWorkers", 0) < 1:
        yield "defaultEnvironment.maxWorkers bounds what a launch may cost: set it"
    yield from _faults_of(metadata.get("parameters", []))
    yield from _strangers()


def _faults_of(described: list[Mapping[str, Any]]) -> Iterator[str]:
    """Where the parameters as described are not those that the launcher takes."""
    names = [parameter["name"] for parameter in described]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"the parameter {name} is described twice"
    expected = {parameter.name: _metadata(parameter) for parameter in PARAMETERS}
    for name in sorted(set(names) - expected.keys()):
        yield f"the launcher takes no parameter '{name}'"
    for name in sorted(expected.keys() - set(names)):
        yield f"the parameter {name} is not described"
    for parameter in described:
        name = parameter["name"]
        for regex in parameter["regexes"]:
            try:
                re.compile(regex)
            except re.error as error:
                yield f"the parameter {name} has a regex that is none: {error}"
        for key, value in expected.get(name, {}).items():
            if parameter[key] != value:
                yield f"the parameter {name} must have {key} = {json.dumps(value)}, as the launcher has it"


def _strangers() -> Iterator[str]:
    """Parameters of the launcher that mean nothing to `vidla curate`, its settings or Beam."""
    from apache_beam.options.pipeline_options import PipelineOptions

    from vidla.cli import app as vidla

    command = typer.main.get_command(vidla).commands["curate"]  # type: ignore[attr-defined]
    options = {name for parameter in command.params for name in parameter.opts} | {
        str(parameter.metavar) for parameter in command.params
    }
    settings = {path for path, _, _ in fields()}
    beam = PipelineOptions([]).get_all_options().keys()
    known = options | settings | {f"beam:{name}" for name in beam}
    for parameter in PARAMETERS:
        if parameter.means not in known:
            yield f"the launcher's parameter {parameter.name} means {parameter.means}, which there is not"
