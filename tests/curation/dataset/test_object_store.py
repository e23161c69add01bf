"""A dataset at an s3:// URI, on a real S3-compatible server: the same tables as on disk, whatever fails meanwhile."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from curation.dataset.books import balance
from curation.dataset.commits import unfinished
from curation.dataset.dataset import Dataset
from curation.dataset.forget import forget
from curation.dataset.pins import pin
from curation.dataset.vacuum import VacuumReport, vacuum
from curation.dataset.writer import Writer
from curation.errors import DatasetError
from tests.conftest import VIDLA, make_video
from tests.support.bucket import Bucket, S3Server
from tests.support.contents import contents, live_parts, parts_on_disk
from tests.support.dataset_files import add_videos, download_of, make_dataset
from tests.support.forked_command import ForkedCommand
from tests.support.project import ROOT
from tests.support.web_server import WebServer

pytestmark = pytest.mark.slow

PRIVATE = "--set=download.allow_private=true"
OTHER_TILINGS = "--set=tilings.short.target_s=6"
Vidla = Callable[..., "subprocess.CompletedProcess[str]"]
RunKilled = Callable[[str, str, str], int]


# --- the whole job --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """A URL and a file."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "served").mkdir()
    make_video(folder / "served" / "talk.mp4", 15, seed=1)
    with WebServer(folder / "served") as server:
        yield [server.url("/talk.mp4"), str(make_video(folder / "local.mp4", 13))]


def curate(inputs: list[str], location: Path | str) -> list[str | Path]:
    return ["curate", *inputs, "--dataset", location, PRIVATE]


@pytest.fixture(scope="module")
def on_disk(
    inputs: list[str], forked_command: ForkedCommand, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    """The contents of a dataset on disk made from the same inputs."""
    folder = tmp_path_factory.mktemp("disk") / "dataset"
    forked_command.run("vidla", *curate(inputs, folder), timeout=800).check_returncode()
    return contents(folder)


@pytest.fixture(scope="module")
def job(s3_server: S3Server) -> Iterator[Bucket]:
    """A bucket for the tests of the job, one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment.items():
            patch.setenv(name, value)
        yield s3_server.bucket()


@pytest.fixture(scope="module")
def talks(job: Bucket, inputs: list[str], forked_command: ForkedCommand) -> str:
    """A dataset in the bucket, made from the inputs."""
    uri = f"{job.uri}/talks"
    forked_command.run("vidla", *curate(inputs, uri), timeout=800).check_returncode()
    return uri


@pytest.fixture
def run_killed(inputs: list[str], forked_command: ForkedCommand) -> RunKilled:
    """Runs `vidla curate`, killed at a write; returns its exit code."""

    def run_killed(at: str, how: str, uri: str) -> int:
        run = forked_command.run("tests.support.killed_run", at, how, *curate(inputs, uri), timeout=800)
        assert run.returncode in (0, -signal.SIGKILL), run.stderr
        return run.returncode

    return run_killed


@pytest.mark.timeout(1800)
def test_a_whole_job_gives_the_same_tables_as_on_disk_even_after_a_kill(
    job: Bucket, inputs: list[str], on_disk: dict[str, list[str]], vidla: Vidla, run_killed: RunKilled
) -> None:
    uri = f"{job.uri}/killed"
    assert run_killed("downloads/part-:1", "after", uri) == -signal.SIGKILL
    assert parts_on_disk(uri) > live_parts(uri)
    assert run_killed("commits/:3", "after", uri) == -signal.SIGKILL  # the first two open it
    assert unfinished(Dataset(uri))
    run = vidla(*curate(inputs, uri))
    assert run.returncode == 0, run.stderr
    assert contents(uri) == on_disk
    assert parts_on_disk(uri) == live_parts(uri)
    assert balance(Dataset(uri)).imbalances() == []
    logs = [path for path, _, _ in Dataset(uri).list("logs/")]
    assert all(b'"level"' in Dataset(uri).get(path) for path in logs)
    assert len(logs) == 1  # those that were killed had no time for theirs


def test_changed_tilings_touch_no_media_and_then_there_is_nothing_to_do(job: Bucket, talks: str, vidla: Vidla) -> None:
    before = len(job.answers())
    run = vidla("curate", "--dataset", talks, PRIVATE, OTHER_TILINGS)
    assert run.returncode == 0, run.stderr
    asked = {(method, path) for method, path, _ in job.answers()[before:]}
    assert not [path for _, path in asked if path.startswith(("talks/media/", "talks/sources/"))]
    parts = live_parts(talks)
    run = vidla("curate", "--dataset", talks, PRIVATE, OTHER_TILINGS)
    assert run.returncode == 0, run.stderr
    assert "Nothing to do" in run.stdout
    assert live_parts(talks) == parts


def test_commands_that_inspect_and_clean_up(talks: str, vidla: Vidla, inputs: list[str]) -> None:
    again = vidla("curate", "--dataset", talks, PRIVATE, OTHER_TILINGS)
    assert again.returncode == 0, again.stderr
    shown = vidla("inspect", talks)
    assert shown.returncode == 0, shown.stderr
    assert talks in shown.stdout.replace("\n", "")
    assert "The books balance." in shown.stdout
    pin(Dataset(talks), "first")
    assert parts_on_disk(talks) > live_parts(talks)  # those with the older tilings
    with Writer(Dataset(talks), "vacuum", {}) as writer:
        cleared = vacuum(writer)
    assert cleared.parts
    assert parts_on_disk(talks) == live_parts(talks)
    with Writer(Dataset(talks), "forget", {}) as writer:
        forgot = forget(writer, "uri", inputs[0])
    assert (forgot.videos, forgot.media, forgot.broken) == (1, 1, ("first",))
    held = [p for p, _, _ in Dataset(talks).list("") if inputs[0].encode() in Dataset(talks).get(p)]
    assert held == []


# --- upkeep ---------------------------------------------------------------------------------------------------------


def test_pinned_versions_stay_and_forgotten_videos_are_removed(bucket: Bucket) -> None:
    dataset = Dataset(f"{bucket.uri}/deep/down")
    with Writer(dataset, "run-1", {}) as writer:
        add_videos(writer, range(2))
        pin(dataset, "both")
        gone = forget(writer, "channel", "Channel 0")
        assert (gone.videos, gone.media, gone.broken) == (1, 1, ("both",))
        assert vacuum(writer) == VacuumReport(kept=0)
    assert dataset.read("videos", ["video_id"])["video_id"].to_pylist() == [download_of(1).video_id]
    assert parts_on_disk(dataset.uri) == live_parts(dataset.uri)
    assert balance(dataset).imbalances() == []


# --- what may be wrong with a store ---------------------------------------------------------------------------------


def refusal(uri: str, environment: dict[str, str]) -> str:
    """The one-line message of `vidla curate` for a store that it cannot use."""
    command = [VIDLA, "curate", "nothing.mp4", "--dataset", uri]
    run = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1, run.stderr
    return run.stderr


def test_an_endpoint_where_nothing_listens(s3_server: S3Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        begun = time.monotonic()
        said = refusal("s3://b/x", s3_server.environment | {"AWS_ENDPOINT": endpoint})
    assert "it does not answer: make sure that it runs and can be reached (AWS_ENDPOINT" in said
    assert endpoint in said
    assert time.monotonic() - begun < 90


WRONG = {
    "no bucket": ({}, "there is no such bucket: create it, or name another"),
    "plain http": ({"AWS_ALLOW_HTTP": "false"}, "for plain http:// set AWS_ALLOW_HTTP=true"),
    "conditional puts off": ({"AWS_CONDITIONAL_PUT": "disabled"}, r"\(conditional puts\), which commits need"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_store_that_cannot_be_used(what: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    environment, message = WRONG[what]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    refused_to_write("s3://nowhere/x" if what == "no bucket" else f"{bucket.uri}/x", message)


def test_credentials_that_the_server_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Server(tmp_path, "--keys") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        refused_to_write("s3://of-another/x", r"access is denied: give credentials that .*InvalidAccessKeyId")


def test_a_server_that_overwrites_existing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Server(tmp_path, "--no-conditions") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        refused_to_write(server.bucket().uri, "overwrites files that must only be created if absent")


def refused_to_write(uri: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as raised, Writer(Dataset(uri), "run-1", {}):
        pass
    assert "\n" not in str(raised.value)


def test_a_missing_dataset(bucket: Bucket) -> None:
    with pytest.raises(DatasetError, match="no vidla dataset at s3://"):
        Dataset(f"{bucket.uri}/nothing").delta("clips")


@pytest.mark.long
def test_a_server_that_accepts_a_connection_and_never_answers(s3_server: S3Server) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(100)
        begun = time.monotonic()
        said = refusal(
            "s3://b/x", s3_server.environment | {"AWS_ENDPOINT": f"http://127.0.0.1:{mute.getsockname()[1]}"}
        )
    assert "it does not answer" in said
    assert time.monotonic() - begun < 270


@pytest.mark.long
def test_a_process_ends_cleanly_during_a_scan(bucket: Bucket, tmp_path: Path, vidla: Vidla) -> None:
    """Read-ahead continues while the process ends."""
    whole = make_dataset(tmp_path / "data", videos=20)
    assert whole.folder is not None
    bucket.upload(whole.folder)
    shown = vidla("inspect", bucket.uri, "clips", "--columns", "clip_id", "--limit", "1")
    assert shown.returncode == 0, shown.stderr


# --- a longer campaign ----------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again(seed: int, job: Bucket, on_disk: dict[str, list[str]], run_killed: RunKilled) -> None:
    chance, uri = random.Random(seed), f"{job.uri}/killed-{seed}"
    for _ in range(8):
        run_killed(str(chance.randint(1, 45)), chance.choice(("before", "after")), uri)
    assert run_killed(str(10**6), "before", uri) == 0
    assert contents(uri) == on_disk
    assert parts_on_disk(uri) == live_parts(uri)


@pytest.mark.long
def test_a_retry_makes_what_was_rejected(job: Bucket, vidla: Vidla, tmp_path: Path) -> None:
    uri = f"{job.uri}/retried"
    make_video(tmp_path / "video.mp4", 13)
    with WebServer(tmp_path) as server:
        once = ("--dataset", uri, PRIVATE, "--set=download.attempts=1")
        assert vidla("curate", server.url("/flaky500"), *once).returncode == 1
        assert Dataset(uri).sql("select retryable from rejects").to_pylist() == [{"retryable": True}]
        run = vidla("retry", *once)
    assert run.returncode == 0, run.stderr
    assert Dataset(uri).sql("select * from rejects").to_pylist() == []
    assert Dataset(uri).read("clips").num_rows


@pytest.fixture
def slow_video(tmp_path: Path) -> Path:
    return make_video(tmp_path / "long.mp4", 60, size="640x480", rate=25)


_READING = """
import sys, threading
from curation.dataset.dataset import Dataset
from vidla.cli import main
files = [Dataset(sys.argv[1]).arrow(table) for table in ("clips", "frames", "captions", "videos", "segments")]
for _ in range(4):
    threading.Thread(target=lambda: [each.to_table() for each in files], daemon=True).start()
print("reading", flush=True)
sys.stdin.readline()
sys.argv = ["vidla", "--version"]
main()
"""


@pytest.mark.long
def test_a_process_may_end_while_arrow_reads_from_the_bucket(tmp_path: Path) -> None:
    """Arrow reads ahead for queries that have ended. Without care, some of a dozen such processes abort."""
    make_dataset(tmp_path / "d", videos=5)
    with S3Server(tmp_path) as server:
        for attempt in range(12):
            bucket = server.bucket()
            bucket.upload(tmp_path / "d")
            environment = {**os.environ, **server.environment}
            command = [sys.executable, "-c", _READING, bucket.uri]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
            )
            assert process.stdout and process.stdout.readline() == "reading\n"
            time.sleep(0.01 * attempt)
            server.stop()
            threading.Timer(2.5, server.go_on).start()
            assert process.communicate("\n", timeout=60)[0].startswith("vidla ")
            assert process.returncode == 0


@pytest.mark.long
@pytest.mark.parametrize("away_s", [20, None])
def test_a_server_that_becomes_unreachable_during_a_run(away_s: float | None, slow_video: Path, tmp_path: Path) -> None:
    """For a while: the run continues. For good: it reports that, and where its log is."""
    with S3Server(tmp_path) as server:
        uri = f"{server.bucket().uri}/x"
        command = [VIDLA, "curate", slow_video, "--dataset", uri]
        run = subprocess.Popen(
            command, env={**os.environ, **server.environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 300
        while "/x/downloads/part-" not in server.log.read_text():
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        server.stop()
        if away_s is not None:
            time.sleep(away_s)
            server.go_on()
        _, said = run.communicate(timeout=840)
    assert "Traceback" not in said
    if away_s is not None:
        assert run.returncode == 0, said
    else:
        assert run.returncode == 1
        assert "it does not answer" in said
        assert "the log could not be put into" in said


@pytest.mark.long
def test_large_media_is_transferred_in_blocks(bucket: Bucket, tmp_path: Path) -> None:
    """400 MB are uploaded and downloaded by a process with far less memory."""
    code = """
        import sys
        from pathlib import Path
        from curation.dataset.dataset import Dataset
        from curation.dataset.object_store import put
        from tests.support.memory import peak_bytes
        dataset, folder = Dataset(sys.argv[1]), Path(sys.argv[2])
        put(dataset.store, "media/large", folder / "large")
        dataset.fetch("media/large", folder / "again")
        print(peak_bytes())
    """
    with (tmp_path / "large").open("wb") as file:
        for _ in range(50):
            file.write(random.randbytes(8 << 20))
    command = [sys.executable, "-c", textwrap.dedent(code), bucket.uri, tmp_path]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=840, cwd=ROOT)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "large").read_bytes()
    assert int(run.stdout) < 300 << 20  # of which imports take half
    assert len([m for m, path, _ in bucket.answers() if (m, path) == ("PUT", "media/large")]) == 80
