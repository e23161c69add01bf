"""What runs in a flex template's launcher: the template's parameters as a `vidla curate` that describes one job.

Dataflow's launcher runs `vidla-launch` with `--name=value` for each parameter and each option of Beam's, and starts the
job that then lies where its own `--template_location` says. One launch is one job, and that is one wave.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from curation.errors import InputError, UsageError

GS_FILE = r"gs://[a-z0-9][-_.a-z0-9]{1,220}[a-z0-9]/[^\r\n]*[^/\r\n]"
GS_FOLDER = r"gs://[a-z0-9][-_.a-z0-9]{1,220}[a-z0-9](/[^\r\n]*)?"


@dataclass(frozen=True)
class Parameter:
    """A parameter of the template. `means` is what it becomes: an option or argument of `vidla curate` ("INPUT"), a
    setting ("section.key"), or an option of Beam's ("beam:name")."""

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
        "Where the dataset is or is to be; one launch at a time may write to it.",
        GS_FOLDER,
        "--dataset",
        "GCS_WRITE_FOLDER",
        optional=False,
    ),
    Parameter(
        "inputs",
        "List of videos",
        "A .txt, .csv, .jsonl or .parquet list of URLs. Left out: go on with what the dataset still needs.",
        GS_FILE,
        "INPUT",
        "GCS_READ_FILE",
    ),
    Parameter(
        "config",
        "Configuration",
        "A vidla.toml; `vidla config template` prints one. Left out: the defaults.",
        GS_FILE,
        "--config",
        "GCS_READ_FILE",
    ),
    Parameter(
        "settings",
        "Single settings",
        "SECTION.KEY=VALUE, laid over the configuration; several are separated by semicolons.",
        r"[a-z_]+(\.[a-z_]+)+=[^;\r\n]*(;[a-z_]+(\.[a-z_]+)+=[^;\r\n]*)*",
        "--set",
    ),
    Parameter(
        "wave_videos",
        "Videos of this launch",
        "At most; the next launch goes on with the rest.",
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


def command_line(given: Sequence[str], folder: Path) -> list[str]:
    """The arguments of `vidla` for a launch with these; files that they name are copied into `folder`.

    Raises UsageError, InputError.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    for parameter in PARAMETERS:
        parser.add_argument(f"--{parameter.name}", default="")
    known, rest = parser.parse_known_args(list(given))
    command = ["curate", "--one-job"]
    # Workers install nothing when they start, and have no use for what is in this module.
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
            value = str(fetched(value, folder))
        if parameter.means == "INPUT":
            command.append(value)
        elif parameter.means == "--set":
            command += [part for assignment in value.split(";") for part in ("--set", assignment)]
        elif parameter.means.startswith("--"):
            command += [parameter.means, value]
        elif parameter.means.startswith("beam:"):
            beam.append(f"--{parameter.means.removeprefix('beam:')}={value}")
        else:
            command += ["--set", f"{parameter.means}={value}"]
    return [*command, "--", *beam, *rest]


def fetched(uri: str, folder: Path) -> Path:
    """A file of an object store, on this machine's disk."""
    above, _, name = uri.rpartition("/")
    copy = folder / name
    try:
        copy.write_bytes(bytes(obstore.get(from_url(above), name).bytes()))
    except (BaseError, OSError) as error:
        raise InputError(f"cannot read {uri}: {str(error).splitlines()[0]}") from None
    return copy
