"""The flex template: the file that describes it, and what a launch with its parameters becomes."""

from __future__ import annotations

import copy
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from curation.errors import InputError, UsageError
from curation.settings import fields
from tests.support.bucket import Bucket
from vidla.cli import app, load
from vidla.template import PARAMETERS, command_line, faults, fetch_file, specification

LAUNCHER = "europe-docker.pkg.dev/a-project/vidla/launcher:0.1.0"
WORKER = "europe-docker.pkg.dev/a-project/vidla/worker:0.1.0"
LEAST = ("--dataset=gs://a-bucket/talks", f"--sdk_container_image={WORKER}")

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def dataflow() -> Any:
    return pytest.importorskip("google.cloud.dataflow", reason="pip install 'vidla[dataflow]' brings Dataflow's types")


def test_what_is_made_passes_its_check(dataflow: Any, tmp_path: Path) -> None:
    made = CliRunner().invoke(app, ["template", "make", "--image", LAUNCHER, "--max-workers", "40"])
    assert made.exit_code == 0
    file = tmp_path / "vidla.json"
    file.write_text(made.stdout)
    checked = CliRunner().invoke(app, ["template", "check", str(file)])
    assert (checked.exit_code, LAUNCHER in checked.stdout) == (0, True)
    spec = dataflow.ContainerSpec.from_json(made.stdout)
    assert spec.default_environment.max_workers == 40
    assert all(p.help_text and p.label and len(p.regexes) == 1 and p.param_type for p in spec.metadata.parameters)


def _parameter(spec: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(p for p in spec["metadata"]["parameters"] if p["name"] == name)
    return found


CHANGES: dict[str, Change] = {
    "Dataflow does not accept it": lambda spec: spec.update(imgae="x"),
    "not an image": lambda spec: spec.update(image="launcher"),
    "PYTHON": lambda spec: spec.update(sdkInfo={"language": "JAVA"}),
    "a name and a description": lambda spec: spec["metadata"].pop("description"),
    "maxWorkers": lambda spec: spec["defaultEnvironment"].pop("maxWorkers"),
    "has no parameter 'videos'": lambda spec: _parameter(spec, "inputs").update(name="videos"),
    "parameter inputs is not described": lambda spec: _parameter(spec, "inputs").update(name="videos"),
    "dataset is described twice": lambda spec: _parameter(spec, "inputs").update(name="dataset"),
    "dataset must have isOptional = false": lambda spec: _parameter(spec, "dataset").update(isOptional=True),
    "an invalid regex": lambda spec: _parameter(spec, "dataset").update(regexes=["gs://("]),
    'wave_videos must have paramType = "NUMBER"': lambda spec: _parameter(spec, "wave_videos").pop("paramType"),
    "config must have helpText": lambda spec: _parameter(spec, "config").pop("helpText"),
}


@pytest.mark.parametrize("fault", CHANGES)
def test_a_template_that_does_not_fit_the_launcher_is_reported(dataflow: Any, fault: str) -> None:
    spec = copy.deepcopy(specification(LAUNCHER, 20, "n2-standard-8"))
    CHANGES[fault](spec)
    assert any(fault in line for line in faults(spec)), list(faults(spec))


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "{}"])
def test_a_file_that_is_not_a_template_is_reported(dataflow: Any, tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    assert isinstance(CliRunner().invoke(app, ["template", "check", str(file)]).exception, UsageError)


def test_every_parameter_means_something_to_the_command() -> None:
    from apache_beam.options.pipeline_options import PipelineOptions

    parameters = load("curate").params
    options = {name for parameter in parameters for name in (*parameter.opts, str(parameter.metavar))}
    settings = {path for path, _, _ in fields()}
    beam = {f"beam:{name}" for name in PipelineOptions([]).get_all_options()}
    assert {parameter.means for parameter in PARAMETERS} <= options | settings | beam


# --- a launch -------------------------------------------------------------------------------------------------------


def test_a_launch_becomes_the_command_for_one_wave(tmp_path: Path) -> None:
    settings = "--settings=media.lines=480;subtitles.pause_s=0.5"
    own = ["--template_location=gs://a-bucket/job", "--region=europe-west4"]  # what the launcher adds by itself
    line = command_line([*LEAST, settings, "--yes=true", "--wave_videos=5000", *own], tmp_path)
    cut = line.index("--")
    assert line[:2] == ["curate", "--one-job"]
    assert line[2:cut] == [
        *("--dataset", "gs://a-bucket/talks"),
        *("--set", "media.lines=480", "--set", "subtitles.pause_s=0.5", "--yes", "--set", "run.wave_videos=5000"),
    ]
    assert {"--runner=DataflowRunner", "--sdk_location=container", LEAST[1], *own} <= set(line[cut + 1 :])


def test_what_the_launcher_runs_says_in_a_line_what_is_missing() -> None:
    file = Path(sysconfig.get_path("scripts")) / "vidla-launch"
    run = subprocess.run([sys.executable, file, *LEAST[:1]], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("vidla: the parameter sdk_container_image is missing")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (LEAST[:1], "sdk_container_image is missing"),
        (LEAST[1:], "dataset is missing"),
        (("--dataset=/data/talks", LEAST[1]), "dataset cannot be '/data/talks'"),
        ((*LEAST, "--yes=yes"), "yes cannot be 'yes'"),
        ((*LEAST, "--wave_videos=0"), "wave_videos cannot be '0'"),
        ((*LEAST, "--settings=media.lines"), "settings cannot be"),
        ((LEAST[0], "--sdk_container_image=worker"), "sdk_container_image cannot be"),
    ],
)
def test_a_launch_that_makes_no_sense_is_refused(tmp_path: Path, given: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        command_line(given, tmp_path)


def test_files_of_a_launch_are_brought_to_the_launcher(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("lists/videos.csv", b"url\nhttps://videos.example/1.mp4\n")
    copied = fetch_file(f"s3://{bucket.name}/lists/videos.csv", tmp_path)
    assert copied == tmp_path / "videos.csv"
    assert copied.read_text().startswith("url")
    with pytest.raises(InputError, match=f"cannot read s3://{bucket.name}/lists/gone"):
        fetch_file(f"s3://{bucket.name}/lists/gone.csv", tmp_path)
