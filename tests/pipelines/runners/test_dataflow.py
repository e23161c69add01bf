"""Jobs for Dataflow, described offline by Beam's own runner: what the service is told, and what workers would get.

No machine here reaches the service: that its workers then do what is described is not shown.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.errors import UsageError
from curation.rejects import Stage
from curation.settings import Settings, resolve
from pipelines.runners.dataflow import check, resource_hints
from tests.support.cloud_storage import CloudStorage
from tests.support.leaks import holds
from tests.support.secret_urls import CANARY

dataflow = pytest.importorskip("google.cloud.dataflow", reason="pip install 'vidla[dataflow]' brings Dataflow's types")

IMAGE = "europe-docker.pkg.dev/a-project/vidla/gpu-worker:0.1.0"
CONFIG = f"""
[download]
proxy = "http://me:{CANARY}@proxy.example:3128"

[captions.engine]
kind = "vllm"
model = "Qwen/Qwen2.5-VL-7B-Instruct"
vllm = {{ python = "/opt/vllm/bin/python", data_parallel_size = 2 }}

[summaries.engine]
kind = "openai"
model = "Qwen/Qwen2.5-7B-Instruct"
base_urls = ["https://me:{CANARY}@models.example/v1"]

[run]
wave_videos = 1000

[dataflow]
machine_type = "g2-standard-24"
driver = "580"
"""
URNS = {
    "accelerator": "beam:resources:accelerator:v1",
    "min_ram": "beam:resources:min_ram_bytes:v1",
    "max_active_bundles_per_worker": "beam:resources:max_active_bundles_per_worker:v1",
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    file = tmp_path_factory.mktemp("config") / "vidla.toml"
    file.write_text(CONFIG)
    return resolve(file)


# --- what a stage wants ---------------------------------------------------------------------------------------------


def test_only_a_stage_with_a_vllm_of_its_own_wants_cards(settings: Settings) -> None:
    assert {stage: dict(resource_hints(stage, settings)) for stage in Stage} == {
        Stage.DOWNLOAD: {},
        Stage.SEGMENT: {},
        Stage.CAPTION: {
            "accelerator": "type:nvidia-l4;count:2;machine_type:g2-standard-24;install-nvidia-driver:580",
            "min_ram": "24GB",
            "max_active_bundles_per_worker": "1",
        },
        Stage.SUMMARIZE: {},
    }


def test_without_a_vllm_no_stage_wants_anything() -> None:
    assert not any(resource_hints(stage, Settings()) for stage in Stage)


# --- the job --------------------------------------------------------------------------------------------------------


@dataclass
class Job:
    """The job as submitted: the description for the service, and Beam's own of the pipeline."""

    description: Any
    pipeline: Any
    size: int
    objects: dict[str, bytes]  # everything that was put into the cloud

    @property
    def hints(self) -> dict[str, dict[str, str]]:
        """The resource hints of each step, by its name."""
        environments = self.pipeline.components.environments
        return {
            step.unique_name: {
                name: hints[urn].decode()
                for name, urn in URNS.items()
                if urn in (hints := environments[step.environment_id].resource_hints)
            }
            for step in self.pipeline.components.transforms.values()
            if step.environment_id
        }


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Job:
    """The job of a run on a list of 200 videos, as a flex template's launcher describes it."""
    from apache_beam.portability.api import beam_runner_api_pb2

    from pipelines.driver.intake import add_requests
    from pipelines.driver.one_job import do_one_job
    from pipelines.driver.pending_work import pending_work
    from pipelines.driver.run import Run
    from pipelines.runners.runner import runner_for
    from pipelines.worker.text_engines import wanted_texts
    from pipelines.worker.worker_process import this_process

    folder = tmp_path_factory.mktemp("job")
    videos = folder / "videos.txt"
    videos.write_text("".join(f"https://videos.example/watch/{n}.mp4?api_token={CANARY}\n" for n in range(VIDEOS)))
    dataset = Dataset(str(folder / "dataset"))
    with CloudStorage(folder) as storage, pytest.MonkeyPatch.context() as patch:
        for name, value in storage.environment.items():
            patch.setenv(name, value)
        with this_process, Writer(dataset, "20261126T000000-abcd", {}) as writer:
            targets = add_requests(writer, settings, [str(videos)])
            pending = pending_work(writer, settings, wanted_texts(settings), targets)
            do_one_job(Run(writer, *pending, runner=runner_for(OPTIONS)))
    (staged,) = (data for uri, data in storage.objects.items() if uri.endswith("/pipeline.pb"))
    description = json.loads(storage.objects["gs://a-bucket/templates/job.json"])
    return Job(description, beam_runner_api_pb2.Pipeline.FromString(staged), len(staged), dict(storage.objects))


VIDEOS = 200
OPTIONS = (
    "--runner=DataflowRunner",
    "--project=a-project",
    "--region=europe-west4",
    "--temp_location=gs://a-bucket/tmp",
    "--staging_location=gs://a-bucket/staging",
    "--job_name=vidla-wave",
    f"--sdk_container_image={IMAGE}",
    "--sdk_location=container",
    "--no_save_main_session",
    "--template_location=gs://a-bucket/templates/job.json",
    "--machine_type=n2-standard-8",
    "--num_workers=2",
    "--max_num_workers=40",
    "--autoscaling_algorithm=THROUGHPUT_BASED",
    "--no_use_public_ips",
)


@pytest.mark.slow
def test_a_wave_is_one_job_with_its_image_machines_and_bounds(job: Job) -> None:
    assert job.description["name"] == "vidla-wave"
    assert job.description["type"] == "JOB_TYPE_BATCH"
    (pool,) = job.description["environment"]["workerPools"]
    assert pool["machineType"] == "n2-standard-8"
    assert pool["numWorkers"] == 2
    assert pool["autoscalingSettings"] == {"algorithm": "AUTOSCALING_ALGORITHM_BASIC", "maxNumWorkers": 40}
    assert pool["ipConfiguration"] == "WORKER_IP_PRIVATE"
    assert {image["containerImage"] for image in pool["sdkHarnessContainerImages"]} == {IMAGE}
    names = {package["name"] for package in pool["packages"]}
    assert names == {"submission_environment_dependencies.txt"}  # a note; nothing is installed when a worker starts

    wanting = {name: hints for name, hints in job.hints.items() if hints}
    assert {name.partition("/")[0] for name in wanting} == {"Stage caption"}
    (hints,) = (hints for name, hints in wanting.items() if name.endswith("Caption the frames of each video"))
    assert hints == {
        "accelerator": "type:nvidia-l4;count:2;machine_type:g2-standard-24;install-nvidia-driver:580",
        "min_ram": str(24 * 10**9),
        "max_active_bundles_per_worker": "1",
    }
    working = {name.partition("/")[0] for name in job.hints if name.startswith("Stage ")}
    assert working == {f"Stage {stage}" for stage in Stage}


@pytest.mark.slow
@pytest.mark.hostile("secrets")
def test_the_job_holds_its_secrets_encrypted(job: Job) -> None:
    assert len(job.objects) >= 2
    assert [uri for uri, data in job.objects.items() if holds(data, CANARY)] == []


@pytest.mark.slow
def test_the_graph_holds_names_of_things_and_no_bytes(job: Job) -> None:
    assert job.size < VIDEOS * 1000 + 200_000  # a kilobyte per video, and the code
    assert len(json.dumps(job.description)) < 100_000  # Dataflow takes 10 MB


def test_a_job_needs_a_dataset_that_its_workers_see(tmp_path: Path) -> None:
    here, there = Dataset(str(tmp_path / "dataset")), Dataset("gs://a-bucket/talks")
    with pytest.raises(UsageError, match="workers cannot reach"):
        check(["--runner=DataflowRunner"], here, one_job=False)
    with pytest.raises(UsageError, match="add --one-job"):
        check(["--runner", "dataflow", "--template_location", "gs://a-bucket/job"], there, one_job=False)
    check(["--runner=DataflowRunner", "--template_location=gs://a-bucket/job"], there, one_job=True)
    check(["--runner=DataflowRunner", "--dry_run=True"], here, one_job=False)
    check(["--runner=FlinkRunner"], here, one_job=False)


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.dataflow", None)  # as where it is not installed
    with pytest.raises(UsageError, match=r"pip install 'vidla\[dataflow\]'"):
        check(["--runner=DataflowRunner"], Dataset("gs://a-bucket/talks"), one_job=False)
