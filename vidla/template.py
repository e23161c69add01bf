"""The flex template: its parameters, the file that describes them, and the `vidla curate` that a launch runs.

Dataflow's launcher runs `vidla-launch` with `--name=value` for each parameter and each Beam option, and starts the job
that `vidla-launch` has written to `--template_location`. One launch is one job, and one job is one wave.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from curation import __version__
from curation.errors import InputError, UsageError

GS_FILE = r"gs://[a-z0-9][-_.a-z0-9]{1,220}[a-z0-9]/[^\r\n]*[^/\r\n]"
GS_FOLDER = r"gs://[a-z0-9][-_.a-z0-9]{1,220}[a-z0-9](/[^\r\n]*)?"


@dataclass(frozen=True)
class Parameter:
    """A parameter of the template.

    `means` is an option of `vidla curate`, its argument ("INPUT"), a setting ("section.key") or a Beam option
    ("beam:name").
    """

    name: str
    label: str
    help: str
    regex: str
    means: str
    kind: str = "TEXT"
    optional: bool = True


PARAMETERS = (
    Parameter(
        "dataset",
        "Dataset",
        "Location of the dataset, new or existing; one launch at a time may write to it.",
        GS_FOLDER,
        "--dataset",
        "GCS_WRITE_FOLDER",
        optional=False,
    ),
    Parameter(
        "inputs",
        "List of videos",
        "A .txt, .csv, .jsonl or .parquet list of URLs. If unset: what the dataset still needs.",
        GS_FILE,
        "INPUT",
        "GCS_READ_FILE",
    ),
    Parameter(
        "config",
        "Configuration",
        "A vidla.toml; `vidla config template` prints one. If unset: the settings of the dataset's last run.",
        GS_FILE,
        "--config",
        "GCS_READ_FILE",
    ),
    Parameter(
        "settings",
        "Single settings",
        "SECTION.KEY=VALUE, overrides the configuration; separate several by semicolons.",
        r"[a-z_]+(\.[a-z_]+)+=[^;\r\n]*(;[a-z_]+(\.[a-z_]+)+=[^;\r\n]*)*",
        "--set",
    ),
    Parameter(
        "yes",
        "Agree to replace",
        "true: a change of settings may replace texts of a served model, and download again.",
        "true|false",
        "--yes",
        "BOOLEAN",
    ),
    Parameter(
        "wave_videos",
        "Videos of this launch",
        "Upper limit; the next launch continues with the rest.",
        r"[1-9][0-9]{0,6}",
        "run.wave_videos",
        "NUMBER",
    ),
    Parameter(
        "sdk_container_image",
        "Image of the workers",
        "The worker image, or the gpu-worker image where an engine is of the kind vllm (docs/deploy.md).",
        r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})",
        "beam:sdk_container_image",
        optional=False,
    ),
)

IMAGE = re.compile(next(p.regex for p in PARAMETERS if p.name == "sdk_container_image"))


def command_line(given: Sequence[str], folder: Path) -> list[str]:
    """The arguments of `vidla` for a launch with the `given` parameters; files that they name are copied into `folder`.

    Raises UsageError, InputError.

    >>> image = "--sdk_container_image=docker.io/me/vidla:1"
    >>> command_line(["--dataset=gs://bucket/talks", "--wave_videos=50", image], Path("unused"))[:6]
    ['curate', '--one-job', '--dataset', 'gs://bucket/talks', '--set', 'run.wave_videos=50']
    """
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    for parameter in PARAMETERS:
        parser.add_argument(f"--{parameter.name}", default="")
    known, rest = parser.parse_known_args(list(given))
    command = ["curate", "--one-job"]
    # Workers install nothing when they start, and need nothing from the main module.
    beam = ["--runner=DataflowRunner", "--sdk_location=container", "--no_save_main_session"]
    for parameter in PARAMETERS:
        value = getattr(known, parameter.name)
        if not value and not parameter.optional:
            raise UsageError(f"the parameter {parameter.name} is missing: {parameter.help}")
        if value and not re.fullmatch(parameter.regex, value):
            raise UsageError(f"the parameter {parameter.name} cannot be '{value}': {parameter.help}")
        if not value:
            continue
        if parameter.kind == "GCS_READ_FILE":
            value = str(fetch_file(value, folder))
        if parameter.means == "INPUT":
            command.append(value)
        elif parameter.means == "--set":
            command += [part for assignment in value.split(";") for part in ("--set", assignment)]
        elif parameter.kind == "BOOLEAN":
            command += [parameter.means] if value == "true" else []
        elif parameter.means.startswith("--"):
            command += [parameter.means, value]
        elif parameter.means.startswith("beam:"):
            beam.append(f"--{parameter.means.removeprefix('beam:')}={value}")
        else:
            command += ["--set", f"{parameter.means}={value}"]
    return [*command, "--", *beam, *rest]


def fetch_file(uri: str, folder: Path) -> Path:
    """Copy a file from an object store into `folder`; returns the copy. Raises InputError."""
    above, _, name = uri.rpartition("/")
    copy = folder / name
    try:
        copy.write_bytes(bytes(obstore.get(from_url(above), name).bytes()))
    except (BaseError, OSError) as error:
        raise InputError(f"cannot read {uri}: {str(error).splitlines()[0]}") from None
    return copy


# --- the template's file ----------------------------------------------------------------------------------------------


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


def faults(given: Any) -> Iterator[str]:
    """The faults of a container specification, in itself or for this version's launcher, each in one line."""
    try:
        from google.cloud import dataflow
        from google.protobuf.json_format import MessageToDict, ParseError
    except ImportError:
        raise UsageError("templates are checked against Dataflow's own types: pip install 'vidla[dataflow]'") from None
    try:
        parsed = dataflow.ContainerSpec.from_json(json.dumps(given))
    except ParseError as error:
        yield f"Dataflow does not accept it: {error}"
        return
    if not isinstance(given, dict):
        yield "Dataflow does not accept it: it is not a JSON object"
        return
    spec = MessageToDict(dataflow.ContainerSpec.pb(parsed), always_print_fields_with_no_presence=True)
    if not IMAGE.fullmatch(spec["image"]):
        yield f"'{spec['image']}' is not an image reference with registry and tag"
    if spec.get("sdkInfo", {}).get("language") != "PYTHON":
        yield "sdkInfo.language must be PYTHON"
    metadata = spec.get("metadata", {})
    if not metadata.get("name") or not metadata.get("description"):
        yield "metadata needs a name and a description"
    environment = spec.get("defaultEnvironment", {})
    if environment.get("maxWorkers", 0) < 1:
        yield "defaultEnvironment.maxWorkers must be set: it limits the cost of a launch"
    yield from _faults_of(metadata.get("parameters", []))


def _faults_of(described: list[Mapping[str, Any]]) -> Iterator[str]:
    """Differences between the parameters as `described` and those of the launcher."""
    names = [parameter["name"] for parameter in described]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"the parameter {name} is described twice"
    expected = {parameter.name: _metadata(parameter) for parameter in PARAMETERS}
    for name in sorted(set(names) - expected.keys()):
        yield f"the launcher has no parameter '{name}'"
    for name in sorted(expected.keys() - set(names)):
        yield f"the parameter {name} is not described"
    for parameter in described:
        name = parameter["name"]
        for regex in parameter["regexes"]:
            try:
                re.compile(regex)
            except re.error as error:
                yield f"the parameter {name} has an invalid regex: {error}"
        for key, value in expected.get(name, {}).items():
            if parameter[key] != value:
                yield f"the parameter {name} must have {key} = {json.dumps(value)}, as in the launcher"
