"""`vidla` on a real Flink: the same tables as from the local runner, whatever is killed meanwhile."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.errors import RunnerError
from curation.rejects import Stage
from curation.settings import resolve
from pipelines.driver.intake import add_requests
from pipelines.driver.pending_work import pending_work
from pipelines.driver.run import Run
from pipelines.runners.runner import runner_for
from pipelines.worker.text_engines import wanted_texts
from pipelines.worker.worker_process import this_process
from tests.conftest import VIDLA, make_video
from tests.support.bucket import Bucket
from tests.support.contents import contents, live_parts, parts_on_disk
from tests.support.flink_cluster import Cluster
from tests.support.leaks import files_with
from tests.support.scripted_server import ScriptedServer, after
from tests.support.secret_urls import CANARY
from tests.support.segmented import CAPTIONS, SUMMARIES, segment_videos, settings_for, texts
from tests.support.watching import wait_until
from tests.support.web_server import WebServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2700)]


@contextmanager
def running(verb: str, *arguments: str | Path, behind: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """The command, with Beam's options `behind` --; killed if it still runs in the end."""
    command = [str(VIDLA), verb, *map(str, arguments), "--", *behind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said_by(process: subprocess.Popen[str], seconds: float = 500) -> str:
    """The standard error of a command that has ended by itself."""
    said = process.communicate(timeout=seconds)[1]
    assert "Traceback" not in said
    return said


def run(verb: str, *arguments: str | Path, behind: Sequence[str] = ()) -> str:
    with running(verb, *arguments, behind=behind) as process:
        said = said_by(process)
    assert process.returncode == 0, said
    return said


def check_whole(location: Path | str, expected: dict[str, list[str]]) -> None:
    """Nothing lost, nothing twice, and no part left over once the dataset has been opened again."""
    assert contents(location) == expected
    dataset = Dataset(str(location))
    with Writer(dataset, "opening", {}):
        assert parts_on_disk(location) == live_parts(location)
    assert dataset.folder is None or not list((dataset.folder / "scratch").glob("*"))
    assert not [path for path, _, _ in dataset.list("progress/") if path.endswith(".json")]


def workers_of(flink: Cluster) -> list[psutil.Process]:
    """The processes below its worker pool."""
    pool = psutil.Process(flink.worker_pool.pid)
    return [process for process in pool.children(recursive=True) if process.status() != psutil.STATUS_ZOMBIE]


def check_gone(left: list[psutil.Process]) -> None:
    """These processes, at least one, have ended, even if nobody has waited for them."""
    assert left
    wait_until(lambda: all(not p.is_running() or p.status() == psutil.STATUS_ZOMBIE for p in left), 60)


def check_idle(flink: Cluster) -> None:
    """No job runs, and no worker is left."""
    wait_until(lambda: not {"RUNNING", "RESTARTING", "CREATED"} & set(flink.jobs().values()))
    wait_until(lambda: not workers_of(flink))


# --- the same tables ------------------------------------------------------------------------------------------------


def test_the_main_job_makes_the_same_tables_and_crowds_no_host(
    flink: Cluster, videos: list[Path], tmp_path: Path
) -> None:
    site, listed = tmp_path / "site", tmp_path / "list.jsonl"
    shutil.copytree(videos[0].parent, site)
    make_video(site / "video.mp4", 7)
    with WebServer(site) as web:
        urls = [*(web.url(f"/slow/{n}.mp4") for n in range(4)), web.url("/27.mp4"), web.url("/404")]
        listed.write_text("".join(json.dumps({"url": url, "id": f"v{n}"}) + "\n" for n, url in enumerate(urls)))
        allowed = ["--set", "download.allow_private=true", "--set", "download.attempts=1", "--keep-duplicates"]
        run("curate", listed, "--dataset", tmp_path / "local", *allowed)
        web.most_at_once = 0
        two_processes = [*flink.options, "--sdk_worker_parallelism=2"]
        said = run("curate", listed, "--dataset", tmp_path / "flink", *allowed, behind=two_processes)
    assert web.most_at_once == 2
    assert "1 of 6 rejected" in said
    check_whole(tmp_path / "flink", contents(tmp_path / "local"))
    check_idle(flink)


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("--flink_job_server_jar=/nowhere/job-server.jar", "name its jar with --flink_job_server_jar"),
        ("--job_server_java_launcher=/nowhere/java", "FlinkRunner needs Java on this machine"),
        ("--job_server_jvm_properties=-Xmx1", "job server ended by itself"),
    ],
)
def test_a_job_server_that_cannot_be_started_is_told_in_a_line(flink: Cluster, argument: str, hint: str) -> None:
    with pytest.raises(RunnerError, match=hint) as told, runner_for([*flink.options, argument]):
        pass
    assert "\n" not in str(told.value)


# --- killed ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def downloaded(videos: list[Path], tmp_path: Path) -> Path:
    """A dataset with videos to segment: a short one, and one that takes a while to decode."""
    inputs = tmp_path / "videos"
    inputs.mkdir()
    shutil.copy(videos[0], inputs)
    make_video(inputs / "long.mp4", 40, size="640x480", rate=25)
    with this_process, Writer(Dataset(str(tmp_path / "dataset")), "download", {}) as writer:
        settings, stages = resolve(), (Stage.DOWNLOAD,)
        targets = add_requests(writer, settings, [str(inputs)])
        Run(writer, *pending_work(writer, settings, wanted_texts(settings), targets, stages), stages).do()
    return tmp_path / "dataset"


def wait_for_decoding(folder: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a worker has begun to write media in the `scratch` of a dataset."""

    def decoding() -> bool:
        assert process.poll() is None, process.communicate()[1]
        return len(list((folder / "scratch").glob("*/stored*"))) > 0

    wait_until(decoding, 360)


def test_a_task_manager_killed_in_mid_segment_costs_nothing(flink: Cluster, downloaded: Path, tmp_path: Path) -> None:
    local = shutil.copytree(downloaded, tmp_path / "local")
    with running("segment", "--dataset", downloaded, behind=flink.options) as process:
        wait_for_decoding(downloaded, process)
        left = workers_of(flink)
        flink.task_manager.kill()
        flink.task_manager.wait()
        check_gone(left)
        flink.start_task_manager()
        said = said_by(process)
    assert process.returncode == 0, said
    run("segment", "--dataset", local)
    check_whole(downloaded, contents(local))
    check_idle(flink)


@pytest.mark.long
def test_a_worker_pool_that_stops_leaves_nobody_behind(flink: Cluster, downloaded: Path, tmp_path: Path) -> None:
    local = shutil.copytree(downloaded, tmp_path / "local")
    with running("segment", "--dataset", downloaded, behind=flink.options) as process:
        wait_for_decoding(downloaded, process)
        left = workers_of(flink)
        flink.worker_pool.terminate()
        flink.worker_pool.wait()
        check_gone(left)
        flink.start_worker_pool()
        said = said_by(process)
    assert process.returncode == 0, said
    run("segment", "--dataset", local)
    check_whole(downloaded, contents(local))


@pytest.mark.long
def test_a_job_server_that_is_killed_ends_the_run_and_the_next_one_goes_on(
    flink: Cluster, downloaded: Path, tmp_path: Path
) -> None:
    local = shutil.copytree(downloaded, tmp_path / "local")
    with running("segment", "--dataset", downloaded, behind=flink.options) as process:
        wait_for_decoding(downloaded, process)
        (server,) = (p for p in psutil.Process(process.pid).children(recursive=True) if p.name() == "java")
        server.kill()
        said = said_by(process)
    assert process.returncode == 1
    assert re.search(r"^vidla: Beam's job server ended by itself .* the same command goes on from there$", said, re.M)
    check_idle(flink)
    run("segment", "--dataset", downloaded, behind=flink.options)
    run("segment", "--dataset", local)
    check_whole(downloaded, contents(local))


@pytest.mark.long
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_cancels_its_job_and_says_how_to_go_on(
    flink: Cluster, downloaded: Path, tmp_path: Path, by: signal.Signals
) -> None:
    local = shutil.copytree(downloaded, tmp_path / "local")
    with running("segment", "--dataset", downloaded, behind=flink.options) as process:
        wait_for_decoding(downloaded, process)
        begun = time.monotonic()
        process.send_signal(by)
        said = said_by(process)
        took = time.monotonic() - begun
    assert process.returncode == 130
    assert "goes on from there" in said
    assert took < 75
    check_idle(flink)
    run("segment", "--dataset", downloaded)
    run("segment", "--dataset", local)
    check_whole(downloaded, contents(local))


@pytest.mark.long
@pytest.mark.parametrize("where", ["disk", "bucket"])
def test_a_dead_driver_is_succeeded_and_its_job_commits_nothing_more(
    where: str, flink: Cluster, bucket: Bucket, downloaded: Path, tmp_path: Path
) -> None:
    local = shutil.copytree(downloaded, tmp_path / "local")
    bucket.upload(downloaded)
    location, watched = (downloaded, downloaded) if where == "disk" else (bucket.uri, flink.folder)
    before = set(flink.jobs())
    with running("segment", "--dataset", location, behind=flink.options) as process:
        wait_for_decoding(watched, process)
        process.kill()
    (job,) = set(flink.jobs()) - before
    assert flink.jobs()[job] == "RUNNING"
    run("segment", "--dataset", location)
    run("segment", "--dataset", local)
    check_idle(flink)
    assert b"nothing more is written here" in flink.metrics(job)
    check_whole(location, contents(local))
    assert not list(watched.glob("scratch/*/stored*"))


@pytest.mark.long
def test_a_full_disk_ends_the_run_without_the_work_being_done_again(
    flink: Cluster, videos: list[Path], small_disk: Path
) -> None:
    folder = small_disk / "dataset"
    run("curate", videos[0], "--dataset", folder)
    before, jobs = contents(folder), set(flink.jobs())
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 150_000))
    with running("curate", videos[0].parent, "--dataset", folder, behind=flink.options) as process:
        said = said_by(process)
    assert process.returncode == 1
    assert re.search(r"^vidla: .*disk is full", said, re.M), said
    for job in set(flink.jobs()) - jobs:
        assert flink.jobs()[job] == "FINISHED"
    (small_disk / "filler").unlink()
    assert contents(folder)["clips"] == before["clips"]
    run("curate", "--dataset", folder, behind=flink.options)
    assert Dataset(str(folder)).read("videos").num_rows == 3


# --- texts ----------------------------------------------------------------------------------------------------------

VIDEOS = 12


def assignments(url: str, *more: str) -> list[str]:
    """Options that have a server at `url` make both kinds of text."""
    engine = ["kind=openai", "model=m", f'base_urls=["{url}"]', "max_in_flight=6", "patience_s=3"]
    given = [f"{kind}.engine.{setting}" for kind in ("captions", "summaries") for setting in engine]
    return [f"--set={assignment}" for assignment in (*given, "run.text_waves=1", *more)]


@pytest.mark.long
def test_a_task_manager_killed_in_mid_summarise_costs_nothing(flink: Cluster, tmp_path: Path) -> None:
    with ScriptedServer(after(0.4, texts)) as server:
        for name in ("local", "flink"):
            segment_videos(tmp_path / name, settings_for(server.url), range(VIDEOS))
        run("curate", "--dataset", tmp_path / "local", *assignments(server.url))
        assert server.most_in_flight == 6
        server.asked.clear()
        server.most_in_flight = 0
        two_processes = [*flink.options, "--sdk_worker_parallelism=2"]
        command = ("curate", "--dataset", tmp_path / "flink", *assignments(server.url))
        with running(*command, behind=two_processes) as process:
            wait_until(lambda: len(server.asked) > VIDEOS * CAPTIONS + VIDEOS * SUMMARIES // 3, 600)
            flink.task_manager.kill()
            flink.task_manager.wait()
            flink.start_task_manager()
            said = said_by(process)
        assert process.returncode == 0, said
        assert server.most_in_flight <= 6
    shown = {int(n) for n in re.findall(rf"caption (\d+)/{VIDEOS}", said)}
    assert shown - {0, VIDEOS}, "the view shows what is under way"
    check_whole(tmp_path / "flink", contents(tmp_path / "local"))
    check_idle(flink)


@pytest.mark.long
def test_two_jobs_at_a_time_share_slots_workers_and_servers(flink: Cluster, tmp_path: Path) -> None:
    before, most = set(flink.jobs()), 0
    with ScriptedServer(after(1.0, texts)) as server:
        for name in ("local", "flink"):
            segment_videos(tmp_path / name, settings_for(server.url), range(6))
        run("curate", "--dataset", tmp_path / "local", *assignments(server.url))
        server.most_in_flight = 0
        given = assignments(server.url, "run.text_waves=2", "run.wave_videos=2")
        one_slot_each = [*flink.options, "--parallelism=1"]
        with running("curate", "--dataset", tmp_path / "flink", *given, behind=one_slot_each) as process:
            while process.poll() is None:
                most = max(most, [*flink.jobs().values()].count("RUNNING"))
                time.sleep(0.3)
            said = said_by(process)
        assert process.returncode == 0, said
        assert server.most_in_flight <= 6
    assert most == 2
    for job in set(flink.jobs()) - before:
        assert not flink.get(f"/jobs/{job}/exceptions")["exceptionHistory"]["entries"]
    check_whole(tmp_path / "flink", contents(tmp_path / "local"))
    check_idle(flink)


@pytest.mark.long
def test_an_engine_that_gives_up_ends_the_run_and_what_was_made_is_kept(flink: Cluster, tmp_path: Path) -> None:
    jobs = set(flink.jobs())
    with ScriptedServer(after(0.2, texts)) as server:
        dataset = segment_videos(tmp_path / "flink", settings_for(server.url), range(VIDEOS))
        with running("curate", "--dataset", dataset.uri, *assignments(server.url), behind=flink.options) as process:
            wait_until(lambda: len(server.asked) > VIDEOS * CAPTIONS // 2, 600)
            server.stop()
            said = said_by(process)
        assert process.returncode == 1
        assert re.search(r"^vidla: .* has not answered for .* the same command goes on from there$", said, re.M), said
        (job,) = set(flink.jobs()) - jobs
        assert flink.jobs()[job] == "FINISHED", "Flink is not to do it all again"
        made = dataset.read("captions").num_rows
        assert 0 < made < VIDEOS * CAPTIONS
        server.start()
        run("curate", "--dataset", dataset.uri, *assignments(server.url), behind=flink.options)
        segment_videos(tmp_path / "local", settings_for(server.url), range(VIDEOS))
        run("curate", "--dataset", tmp_path / "local", *assignments(server.url))
    check_whole(tmp_path / "flink", contents(tmp_path / "local"))


@pytest.mark.hostile("secrets")
@pytest.mark.long
def test_secrets_are_told_to_nobody(flink: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets of a signed URL that a worker fetches are neither in the dataset and its logs, nor in Flink's."""
    site = tmp_path / "site"
    site.mkdir()
    make_video(site / "video.mp4", 7)
    secret = CANARY
    with WebServer(site) as web:
        urls = tmp_path / "urls.txt"
        urls.write_text(f"{web.url(f'/video.mp4?api_token={secret}')}\n{web.url(f'/busy?X-Amz-Signature={secret}')}\n")
        unused = f'captions.engine.base_urls=["https://me:{secret}@models.example/v1"]'
        allowed = ["--set", "download.allow_private=true", "--set", "download.attempts=1", "--set", unused]
        run("curate", urls, "--dataset", tmp_path / "dataset", *allowed, behind=flink.options)
        assert any(secret in path for path in web.paths()), "a worker has fetched with it"
    assert Dataset(str(tmp_path / "dataset")).read("videos").num_rows == 1
    assert not list((tmp_path / "dataset").rglob("*.key")), "it is deleted with the run"
    for folder in (tmp_path / "dataset", flink.folder):
        assert files_with(folder, secret) == []


@pytest.mark.long
def test_a_real_vllm_serves_through_the_loss_of_a_task_manager(
    flink: Cluster, text_server: str, tmp_path: Path
) -> None:
    from tests.pipelines.driver.test_served_runs import VIDEOS as MANY
    from tests.pipelines.driver.test_served_runs import assignments as brief
    from tests.pipelines.driver.test_served_runs import at, told, waiting

    given = [f"--set={assignment}" for assignment in brief(at(text_server), "run.wave_videos=100")]
    local = waiting(tmp_path / "local")
    run("curate", "--dataset", local.uri, *given)
    dataset = waiting(tmp_path / "flink")
    with running("curate", "--dataset", dataset.uri, *given, behind=flink.options) as process:
        wait_until(lambda: process.poll() is not None or dataset.read("captions").num_rows > 0, 840)
        time.sleep(15.0)  # into the summaries
        flink.task_manager.kill()
        flink.task_manager.wait()
        flink.start_task_manager()
        said = said_by(process)
    assert process.returncode == 0, said
    assert told(dataset) == told(local)
    assert len(told(dataset)["captions"]) == MANY * CAPTIONS - 1
    check_idle(flink)
