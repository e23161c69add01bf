"""The runners, and the errors for those that cannot work."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation.dataset.parts import Part
from curation.errors import RunnerError, UsageError
from curation.records import VideoRequest
from curation.rejects import Stage
from curation.schema import TABLES
from curation.settings import resolve
from curation.sources.targets import FetchTarget
from pipelines.driver.state import State
from pipelines.runners.runner import Cluster, LocalRunner, runner_for
from pipelines.stages.download import DownloadVideos
from pipelines.worker.text_engines import shared, wanted_texts
from pipelines.worker.work_items import BY_VIDEO, DownloadItem
from tests.support.segmented import segment_videos


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--runner=DaskRunner"], "DaskRunner mixes up"),
        (["--runner", "apache_beam.runners.dask.dask_runner.DaskRunner"], "DaskRunner mixes up"),
        (["--runner=SparkRunner"], "use the local runner, or one of FlinkRunner"),
        (["--direct_running_mode=multi_processing"], "hangs forever"),
        (["--runner=FlinkRunner", "--s3_secret_access_key=x"], "would be written into the job's description"),
        (["--runner=DataflowRunner", "--s3_session_token", "x"], "would be written into the job's description"),
        (["--job_nam=x"], r"Beam has no option '--job_nam'; did you mean '--job_name'\?"),
        (["--runner=FlinkRunner", "--paralelism", "2"], r"no option '--paralelism'; did you mean '--parallelism'\?"),
        (["--runner=DataflowRunner", "--num_workers=many"], "--num_workers: invalid int value: 'many'"),
        (["x.csv"], "Beam has no option 'x.csv'"),
    ],
)
def test_a_runner_that_cannot_work_is_refused(arguments: list[str], hint: str) -> None:
    with pytest.raises(UsageError, match=hint) as refused:
        runner_for(arguments)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("arguments", [[], ["--runner=DirectRunner"], ["--runner=FnApiRunner"], ["--job_name=x"]])
def test_the_local_runner_is_the_default(arguments: list[str]) -> None:
    assert isinstance(runner_for(arguments), LocalRunner)


@pytest.mark.parametrize("name", ["FlinkRunner", "flinkrunner", "flink", "DataflowRunner"])
def test_a_cluster_is_named_as_beam_does(name: str) -> None:
    assert isinstance(runner_for([f"--runner={name}"]), Cluster)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ([], "name it with --flink_master=HOST:PORT"),
        (["--flink_master=localhost:1"], "no Flink answers at http://localhost:1: .*refused"),
    ],
)
def test_a_flink_that_is_not_there_is_told_in_a_line(arguments: list[str], hint: str) -> None:
    with pytest.raises(RunnerError, match=hint) as told, runner_for(["--runner=FlinkRunner", *arguments]):
        pass
    assert "\n" not in str(told.value)


# --- bounds over a whole cluster ------------------------------------------------------------------------------------


def item_of(url: str, asked: str | None = None) -> DownloadItem:
    request = VideoRequest(request_key=url, uri=url)
    return DownloadItem(request, FetchTarget.of(request, asked) if asked else None, "digest")


def test_a_host_has_as_many_lanes_as_downloads_are_allowed_from_it() -> None:
    work = DownloadVideos(resolve(None, ["download.per_host=3"]))
    urls = [f"https://{host}/{n}.mp4" for n in range(10) for host in ("a.example", "b.example")]
    lanes = [[item.key for item in lane] for lane in work.lanes([item_of(url) for url in urls])]
    assert sorted(map(len, lanes)) == [3, 3, 3, 3, 4, 4]
    assert all(len({url.split("/")[2] for url in lane}) == 1 for lane in lanes)
    assert all(lane == sorted(lane, key=urls.index) for lane in lanes)
    assert sorted(url for lane in lanes for url in lane) == sorted(urls)


def test_the_names_of_one_site_share_its_lanes() -> None:
    work = DownloadVideos(resolve(None, ["download.per_host=2"]))
    names = ("youtu.be/{}", "m.youtube.com/watch?v={}", "music.youtube.com/watch?v={}", "www.youtube-nocookie.com/{}")
    urls = [f"https://{name.format(n)}" for n in range(3) for name in (*names, "a.cdn.example", "b.cdn.example")]
    lanes = [
        [item.key for item in lane] for lane in work.lanes([item_of(url, "http://signed.example") for url in urls])
    ]
    assert sorted(map(len, lanes)) == [3, 3, 6, 6]


def test_files_need_not_wait_for_one_another() -> None:
    items = [item_of(Path(f"/videos/{n}.mp4").as_uri()) for n in range(5)]
    assert DownloadVideos(resolve()).lanes(items) == [[item] for item in items]


def test_the_requests_in_flight_are_divided_among_processes() -> None:
    engine = ["kind=openai", "model=m", 'base_urls=["http://a/v1"]', "max_in_flight=10"]
    settings = resolve(None, [f"{texts}.engine.{s}" for texts in ("captions", "summaries") for s in engine])
    assert shared(settings, 1) is settings
    for processes, share in ((2, 5), (3, 3), (20, 1)):
        each = shared(settings, processes)
        assert each.captions.engine.max_in_flight == each.summaries.engine.max_in_flight == share
        assert each.captions.engine.digest() == settings.captions.engine.digest()


def test_what_travels_for_a_video_is_small(tmp_path: Path) -> None:
    """All items and results of one video, encoded as Beam sends them, through all stages: 10 KB at most."""
    from apache_beam.coders import FastPrimitivesCoder

    from pipelines.stages.stage import BundleResult

    settings = resolve()
    dataset = segment_videos(tmp_path, settings, range(3))
    state = State.load(dataset, settings, wanted_texts(settings))
    state.locate(["list-v0"])
    request = item_of(f"https://videos.example/{'watch' * 40}.mp4")
    items = [[request], *([state.item("list-v0", stage)] for stage in tuple(Stage)[1:])]
    parts = tuple(Part(table, f"part-{0:020}-{0:032}.parquet", 1 << 20, 1000) for table in TABLES)
    replaced = tuple((table, ("video_id", "stage"), ("list-v0", "segment")) for table in BY_VIDEO)
    results = [BundleResult(parts[:5], replaced, {"done": 1, "clips": 7}, {}, (), None)] * len(
        tuple(Stage)
    )  # if each were alone in a bundle
    coder = FastPrimitivesCoder()
    sent = sum(len(coder.encode(element)) for element in [*items, *results])
    assert sent <= 10_000, sent
