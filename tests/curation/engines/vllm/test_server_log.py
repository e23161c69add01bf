"""What is told of a server's log: excerpts of what vLLM 0.32 really said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from curation.engines.vllm.server_log import FILE_BYTES, ServerLog

ENDS = {
    "an argument that it does not know": (
        "usage: api_server.py [-h] [--headless]\n"
        "                     [model_tag]\n"
        "api_server.py: error: unrecognized arguments: --frobnicate\n",
        "api_server.py: error: unrecognized arguments: --frobnicate",
    ),
    "settings that do not go with the model": (
        "    s.__pydantic_validator__.validate_python(ArgsKwargs(args, kwargs), self_instance=s)\n"
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, User-specified max_model_len (100000) is greater than the derived max_model_len "
        "[type=value_error, input_value=ArgsKwargs(()), input_type=ArgsKwargs]\n"
        "    For further information visit https://errors.pydantic.dev/2.14/v/value_error\n",
        "User-specified max_model_len (100000) is greater than the derived max_model_len",
    ),
    "weights that are cut off": (
        "(Worker pid=7200) ERROR 11-25 02:28:02 [multiproc_executor.py:953] safetensors._safetensors_rust."
        "SafetensorError: Error while deserializing header: incomplete metadata, file not fully covered\n"
        "(EngineCore pid=7187) ERROR 11-25 02:28:05 [core.py:1510] Exception: WorkerProc initialization failed due to "
        "an exception in a background process. See stack trace for root cause.\n"
        "Exception: WorkerProc initialization failed due to an exception in a background process. See stack trace for "
        "root cause.\n"
        "    raise RuntimeError(\n"
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n",
        "safetensors._safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata, file "
        "not fully covered",
    ),
    "a worker killed": (
        "(EngineCore pid=3) ERROR 11-25 03:28:50 [multiproc_executor.py:315] Worker proc VllmWorker-0 died "
        "unexpectedly (exit code: -9), shutting down executor.\n"
        "(APIServer pid=1) ERROR 11-25 03:28:50 [async_llm.py:906] vllm.v1.engine.exceptions.EngineDeadError: "
        "EngineCore encountered an issue. See stack trace (above) for the root cause.\n"
        "INFO:     Application shutdown complete.\n",
        "Worker proc VllmWorker-0 died unexpectedly (exit code: -9), shutting down executor.",
    ),
    "the engine killed": (
        "(APIServer pid=4282) WARNING 11-25 02:21:10 [core_client.py:817] [shutdown] MPClient: engine core exited "
        "unexpectedly; starting cleanup\n"
        "(APIServer pid=4282) ERROR 11-25 02:21:10 [async_llm.py:906] vllm.v1.engine.exceptions.EngineDeadError: "
        "EngineCore encountered an issue. See stack trace (above) for the root cause.\n",
        "[shutdown] MPClient: engine core exited unexpectedly; starting cleanup",
    ),
    "no module": (
        "/usr/bin/python3: Error while finding module specification for 'vllm.entrypoints.openai.api_server' "
        "(ModuleNotFoundError: No module named 'vllm')\n",
        "/usr/bin/python3: Error while finding module specification for 'vllm.entrypoints.openai.api_server' "
        "(ModuleNotFoundError: No module named 'vllm')",
    ),
    "not a word": ("", ""),
    "no end of the line": ("Killed", "Killed"),
}


def hear(log: ServerLog, said: str | bytes) -> None:
    """Let `log` follow a pipe that says so."""
    reading, writing = os.pipe()
    thread = log.follow(reading)
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(said.encode() if isinstance(said, str) else said)
    thread.join(60)
    os.close(reading)


@pytest.mark.parametrize("end", ENDS)
def test_the_reason_is_the_first_cause(tmp_path: Path, end: str) -> None:
    said, reason = ENDS[end]
    log = ServerLog(tmp_path / "server.log")
    hear(log, "RuntimeError: of another server, before this one\n")
    hear(log, said)
    assert log.reason() == reason


def test_the_step_is_the_last_that_tells_one(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "server.log")
    hear(log, "(Worker pid=2) INFO 11-25 02:18:38 [cpu_model_runner.py:68] Starting to load model x...\nSome library")
    assert log.step == "Starting to load model x..."
    hear(log, "\rLoading safetensors checkpoint shards:  50% Completed | 1/2 [00:00<?, ?it/s]\nno matter\n")
    assert log.step.startswith("Loading safetensors checkpoint shards:  50%")
    hear(log, "(APIServer pid=1) INFO 11-25 02:18:38 [x.py:6] non-default args: {'api_key': 'secret'}\n")
    assert log.step == ""


def test_all_is_kept_until_it_is_too_much(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "server.log")
    hear(log, b"first\n\xff not UTF-8\n")
    hear(log, "second\n")
    assert log.path.read_bytes() == b"first\n\xff not UTF-8\nsecond\n"
    for _ in range(40):
        hear(log, "x" * (FILE_BYTES // 8))  # never an end of a line
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert FILE_BYTES < sum(sizes) < 3 * FILE_BYTES
