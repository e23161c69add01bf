"""The vLLM server that the command starts: up, watched, started again, and gone with the command."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from PIL import Image

from curation.engines.vllm.server_process import served_models
from curation.engines.vllm.shared_server import VllmServer, server_command, server_environment
from curation.errors import EngineError
from curation.settings import EngineSettings
from tests.conftest import SERVED_MODEL
from tests.support.own_servers import (
    Serve,
    assert_nothing_left,
    get,
    key_of,
    name_of,
    post,
    provoke,
    settings,
    socket_of,
    start_command,
    starts,
    tell,
    url_of,
)
from tests.support.watching import is_gone, wait_until

pytestmark = pytest.mark.slow

# --- up and down ----------------------------------------------------------------------------------------------------


def test_all_threads_get_one_server_and_closing_leaves_nothing(serve: Serve, stand_in: Path) -> None:
    server = serve()
    with ThreadPoolExecutor(8) as pool:
        urls = {url for urls in pool.map(lambda _: server.ready(), range(8)) for url in urls}
    assert len(urls) == 1
    assert starts(stand_in) == 1
    url = urls.pop()
    family = get(url, "/pids")
    assert not any(map(is_gone, family))
    server.close()
    assert_nothing_left(family, url)
    with pytest.raises(EngineError, match="stopped"):
        server.ready()


def test_nothing_starts_before_it_is_wanted(serve: Serve, stand_in: Path) -> None:
    server = serve()
    server.close()
    with pytest.raises(EngineError, match="stopped"):
        server.ready()
    assert not (stand_in.parent / "starts").exists()


def test_closing_does_not_wait_for_a_server_to_come_up(serve: Serve) -> None:
    server = serve("--slow", "1000")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.ready)
        time.sleep(1.0)
        server.close()
        with pytest.raises(EngineError, match="stopped"):
            waiting.result(60)


@pytest.mark.parametrize("stubborn", [(), ("--stubborn",)], ids=["willing", "stubborn"])
def test_no_shared_memory_is_left(serve: Serve, stubborn: tuple[str, ...]) -> None:
    server = serve(*stubborn)
    (url,) = server.ready()
    family, memory = get(url, "/pids"), Path("/dev/shm", get(url, "/memory"))
    assert memory.exists()
    server.close()
    assert_nothing_left(family, url)
    wait_until(lambda: not memory.exists())


def test_what_it_is_started_with(serve: Serve, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (url,) = serve("--max-num-seqs", "7", dtype="float16", max_model_len=512, tensor_parallel_size=2).ready()
    arguments = " ".join(get(url, "/arguments"))
    for pair in (
        "--model nobody/nothing",
        "--served-model-name nobody/nothing",
        "--uds /proc/",
        "--dtype float16",
        "--max-model-len 512",
        "--tensor-parallel-size 2",
        "--max-num-seqs 7",
    ):
        assert pair in arguments
    assert '"disable_any_whitespace": true' in arguments
    assert "--data-parallel-size" not in arguments
    assert "--port" not in arguments
    environment = get(url, "/environment")
    assert environment["HF_HUB_OFFLINE"] == environment["VLLM_NO_USAGE_STATS"] == "1"

    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    mine = settings(stand_in, "--structured_outputs_config={}", data_parallel_size=2)
    server = VllmServer(mine.model_copy(update={"model": str(folder)}), revision=lambda: "a digest")
    try:
        arguments = " ".join(get(server.ready()[0], "/arguments"))
    finally:
        server.close()
    assert f"--model {folder} --served-model-name mine " in arguments
    assert "--data-parallel-size 2" in arguments
    assert "disable_any_whitespace" not in arguments
    assert "--revision" not in arguments


def test_several_front_ends_are_started_by_the_command_that_has_them() -> None:
    vllm = {"python": "/opt/python", "api_servers": 3}
    settings = EngineSettings(kind="vllm", model="org/model", vllm=vllm)  # type: ignore[arg-type]
    command = server_command(settings, "unresolved")
    assert command[:5] == ["/opt/python", "-m", "vllm.entrypoints.cli.main", "serve", "org/model"]
    assert command[command.index("--api-server-count") + 1] == "3" and "--model" not in command
    one = server_command(settings.model_copy(update={"vllm": settings.vllm.model_copy(update={"api_servers": 1})}), "")
    assert one[1:3] == ["-m", "vllm.entrypoints.openai.api_server"] and one[one.index("--model") + 1] == "org/model"


def test_a_hub_model_is_pinned_to_the_commit_that_is_recorded(stand_in: Path) -> None:
    for resolved, configured, passed in (
        ("c0ffee", "main", "--revision c0ffee"),
        ("unresolved", "main", "--revision main"),
        ("unresolved", None, None),
    ):
        named = settings(stand_in).model_copy(update={"revision": configured})
        server = VllmServer(named, revision=lambda resolved=resolved: resolved)
        try:
            arguments = " ".join(get(server.ready()[0], "/arguments"))
        finally:
            server.close()
        assert passed in arguments if passed else "--revision" not in arguments


# --- neighbours -----------------------------------------------------------------------------------------------------

SECRETS = (
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_AUTH_ACCESS_TOKEN"),
    *("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GITHUB_TOKEN", "DATABASE_URL", "SSH_AUTH_SOCK", "VIDLA_ANYTHING"),
)


@pytest.mark.hostile("neighbours")
@pytest.mark.parametrize("name", SECRETS)
def test_no_key_of_another_service_reaches_it(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "a canary")
    monkeypatch.setenv("HF_TOKEN", "the hub's")
    environment = server_environment(tmp_path)
    assert "a canary" not in environment.values()
    assert (environment["HF_TOKEN"], environment["PATH"]) == ("the hub's", os.environ["PATH"])


@pytest.mark.hostile("neighbours")
def test_its_key_is_written_nowhere_and_new_in_each_life(
    serve: Serve, stand_in: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "a key for another server")
    monkeypatch.setenv("OPENAI_API_KEY", "a canary")
    caplog.set_level(logging.DEBUG)
    server, urls, keys = serve(), [""], []
    for _ in range(2):
        wait_until(lambda: server.ready()[0] not in urls)
        (url,) = server.ready()
        urls.append(url)
        environment = get(url, "/environment")
        assert "a canary" not in environment.values()
        keys.append(environment["VLLM_API_KEY"])
        family = get(url, "/pids")
        launcher = psutil.Process(family[0]).parent()
        assert launcher is not None
        keeper = launcher.parent()
        assert keeper is not None
        processes = [keeper, launcher, *(psutil.Process(pid) for pid in family)]
        assert keys[-1] not in str([process.cmdline() for process in processes])
        assert "a canary" not in str(keeper.environ())
        provoke(url, "/fail")
    assert len({*keys, "a key for another server"}) == 3
    assert all(len(key) >= 40 for key in keys)
    server.close()
    files = [path for path in stand_in.parent.rglob("*") if path.is_file()]
    assert any(path.name == "server.log" for path in files)
    written = caplog.text + "".join(path.read_text(errors="replace") for path in files)
    assert not any(key in written for key in keys)


IMPOSTORS = {
    "another key": (("--stranger",), r"does not know its key \(status 401\)"),
    "another model": (("--serves", "theirs"), "serves theirs, and not nobody/nothing"),
    "nonsense": (("--models", "[" * 100_000), "serves no model, and not nobody/nothing"),
    "names of many lines": (("--models", json.dumps({"data": [{"id": "x\n" * 9999}]})), "serves x x x"),
}


@pytest.mark.hostile("neighbours")
@pytest.mark.parametrize("impostor", IMPOSTORS)
def test_a_server_that_is_not_ours_is_recognised(serve: Serve, stand_in: Path, impostor: str) -> None:
    arguments, said = IMPOSTORS[impostor]
    assert re.search(f"did not come up: what answers at its socket {said}", reason(serve(*arguments)))
    assert starts(stand_in) == 1


@pytest.mark.hostile("neighbours")
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"\xff", b"[", b"1e999", b'"ours"', b"{}", b'{"data": 1}', b'{"data": [1, null]}', b'{"data": [{}]}'),
        *(b'{"data": [{"id": ["ours"]}]}', b'{"data": {"id": "ours"}}', b'{"data": [{"id": "ours"}', b"[" * 100_000),
    ],
)
def test_a_list_of_models_that_is_none_names_none(body: bytes) -> None:
    assert served_models(body) == []
    assert served_models(b'{"data": [{"id": "ours"}]}') == ["ours"]


@pytest.mark.hostile("neighbours")
@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
def test_another_user_can_neither_reach_it_nor_take_its_place(serve: Serve, stand_in: Path) -> None:
    for folder in (stand_in.parent, *stand_in.parent.parents[:-1]):
        if folder.stat().st_uid == os.getuid() and folder != Path("/tmp"):
            folder.chmod(0o755)  # pytest's are private, people's TMPDIR is not
    (url,) = serve().ready()
    path = socket_of(name_of(url))
    assert path is not None
    keeper = psutil.Process(get(url, "/pids")[0]).parent()
    assert keeper is not None
    attempts = f"""
import os, pathlib, socket
def tried(act):
    try:
        act()
    except OSError as error:
        print(type(error).__name__)
    else:
        print("done")
folder = pathlib.Path({str(path.parent)!r})
os.chdir({str(stand_in.parent)!r})  # a socket's path may have 107 characters
tried(lambda: socket.socket(socket.AF_UNIX).connect({str(path.relative_to(stand_in.parent))!r}))
tried(lambda: socket.socket(socket.AF_UNIX).bind({str(path.with_name("vllm-mine").relative_to(stand_in.parent))!r}))
tried(lambda: os.listdir(folder))
tried(lambda: os.rename(folder, folder.with_name("moved")))
tried(lambda: os.listdir("/proc/{keeper.ppid()}/fd"))
tried(lambda: open("/proc/{keeper.pid}/environ").read())
"""
    command = ["/usr/bin/env", "python3", "-I", "-c", attempts]
    done = subprocess.run(command, user=65534, capture_output=True, text=True, check=False, timeout=60)
    assert not done.stderr, done.stderr
    assert done.stdout.split() == ["PermissionError"] * 6


# --- it does not come up --------------------------------------------------------------------------------------------


def reason(server: VllmServer) -> str:
    """The one line that says why there is no server."""
    with pytest.raises(EngineError) as caught:
        server.ready()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_error_in_its_log_is_told_and_the_log_kept(
    serve: Serve, stand_in: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "curation.engines.vllm.shared_server"):
        said = reason(serve("--fail"))
    assert "is up" not in caplog.text
    assert "did not come up: torch.AcceleratorError: CUDA error: an illegal access (exit status 1)" in said
    kept = re.search(r"\S+\.log", said)
    assert kept and "Engine core initialization failed" in Path(kept[0]).read_text()
    assert starts(stand_in) == 1  # it would fail again


def test_a_server_that_takes_too_long(serve: Serve) -> None:
    said = reason(serve("--slow", "1000", start_timeout_s=2))
    assert "not up after 2 s (the setting vllm.start_timeout_s)" in said
    assert "Loading it all" in said


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    assert "captions.engine.vllm.python" in reason(VllmServer(settings(tmp_path / "nothing")))


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed beside vidla")
def test_an_interpreter_without_vllm() -> None:
    said = reason(VllmServer(settings(sys.executable)))
    assert "No module named 'vllm'" in said
    assert "pip install 'vidla[vllm]'" in said


@pytest.mark.parametrize("argument", ["--port", "--host=0.0.0.0", "--served_model_name", "--api-key"])
def test_arguments_that_are_not_the_users(serve: Serve, argument: str) -> None:
    assert "vllm.extra_args must not have --" in reason(serve(argument))


def test_progress_is_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "curation.engines.vllm.shared_server"):
        serve("--slow", "3").ready()
    assert any("starting" in message and "Loading it all" in message for message in caplog.messages)
    assert any("is up after" in message for message in caplog.messages)


# --- it dies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provocation", ["/fail", "/sick"])
def test_one_that_dies_is_started_again(serve: Serve, stand_in: Path, provocation: str) -> None:
    server = serve(hung_s=5.0)
    (old,) = server.ready()
    family = get(old, "/pids")
    provoke(old, provocation)
    wait_until(lambda: server.ready() != (old,))
    assert get(server.ready()[0], "/health") is None
    assert starts(stand_in) == 2
    assert_nothing_left(family, old)


def test_one_that_hangs_is_killed_and_started_again(serve: Serve, stand_in: Path) -> None:
    server = serve(hung_s=3.0)
    (old,) = server.ready()
    family = get(old, "/pids")
    os.kill(family[0], signal.SIGSTOP)
    assert server.ready() != (old,)
    assert starts(stand_in) == 2
    assert_nothing_left(family, old)


def test_one_that_is_slow_to_answer_lives_on(serve: Serve, stand_in: Path) -> None:
    server = serve(hung_s=30.0)
    (url,) = server.ready()
    (pid, *_) = get(url, "/pids")
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(4.0, os.kill, (pid, signal.SIGCONT)).start()
    assert server.ready() == (url,)
    assert starts(stand_in) == 1


@pytest.mark.parametrize("victim", ["server", "its child", "launcher", "second watcher", "keeper"])
def test_any_of_its_processes_killed(serve: Serve, stand_in: Path, victim: str) -> None:
    server = serve()
    (old,) = server.ready()
    family = get(old, "/pids")
    launcher = psutil.Process(family[0]).parent()
    assert launcher is not None
    (watcher,) = {process.pid for process in launcher.children()}.difference(family)
    pids = {"server": family[0], "its child": family[1], "launcher": launcher.pid, "second watcher": watcher}
    os.kill(pids.get(victim, launcher.ppid()), signal.SIGKILL)
    if victim == "second watcher":  # it matters only where the launcher is killed as well
        assert server.ready() == (old,)
        server.close()
    else:
        wait_until(lambda: server.ready() != (old,))
        assert starts(stand_in) == 2
    assert_nothing_left([*family, launcher.pid, watcher], old)


def test_it_is_not_started_again_for_ever(serve: Serve, stand_in: Path) -> None:
    server = serve(restarts=1)
    provoke(server.ready()[0], "/fail")
    with pytest.raises(EngineError, match=r"died 2 times; the last time: torch\.AcceleratorError: CUDA error"):
        while True:
            provoke(server.ready()[0], "/fail")
    assert starts(stand_in) == 2


# --- the command dies -----------------------------------------------------------------------------------------------


WAYS = ["end", "raise", "exit", signal.SIGINT, signal.SIGTERM, signal.SIGKILL]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: getattr(way, "name", way))
def test_the_server_ends_with_the_command(stand_in: Path, way: str | signal.Signals) -> None:
    with start_command(settings(stand_in)) as command:
        url = url_of(command)
        family = [child.pid for child in psutil.Process(command.pid).children(recursive=True)]
        assert set(get(url, "/pids")) < set(family)
        if isinstance(way, signal.Signals):
            os.killpg(command.pid, way)  # as a terminal does
        else:
            tell(command, way)
        command.wait(90)
    assert_nothing_left(family, url)


def test_the_server_ends_with_the_command_and_those_who_watch_over_it(stand_in: Path) -> None:
    with start_command(settings(stand_in)) as command:
        url = url_of(command)
        (keeper,) = psutil.Process(command.pid).children()
        (launcher,) = keeper.children()
        family = [child.pid for child in keeper.children(recursive=True)]
        for process in (launcher, keeper, command):
            process.kill()
    assert_nothing_left(family, url)


# --- the real one ---------------------------------------------------------------------------------------------------


def ask(base_url: str, words: str, *images: bytes, key: str = "") -> str:
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(image).decode()}"}}
        for image in images
    ]
    content = [*parts, {"type": "text", "text": words}]
    body = {
        "model": SERVED_MODEL,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 16,
        "temperature": 0,
    }
    if key:  # a server of our own
        return str(post(base_url, "/v1/chat/completions", key, body)["choices"][0]["message"]["content"])
    request = urllib.request.Request(
        f"{base_url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=360) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])


def test_a_real_server_answers(text_server: str) -> None:
    assert "Paris" in ask(text_server, "What is the capital of France?")


def test_a_real_server_looks_at_images(text_server: str) -> None:
    noise = [io.BytesIO(), io.BytesIO()]
    for file in noise:
        Image.frombytes("RGB", (64, 64), os.urandom(64 * 64 * 3)).save(file, "PNG")
    one, other = (ask(text_server, "What is this?", file.getvalue()) for file in noise)
    assert one != other


@pytest.mark.long  # in short runs test_server_log.py reads the log of a real one
def test_a_real_server_says_why_it_does_not_come_up(vllm_settings: EngineSettings) -> None:
    vllm = vllm_settings.vllm.model_copy(update={"max_model_len": 1_000_000})
    said = reason(VllmServer(vllm_settings.model_copy(update={"vllm": vllm})))
    assert "max_model_len (1000000) is greater than the derived max_model_len" in said


def shared_memory(pids: list[int]) -> set[str]:
    maps = [Path(f"/proc/{pid}/maps").read_text() for pid in pids]
    return {path for text in maps for path in re.findall(r"/dev/shm/\S+", text)}


@pytest.mark.timeout(2700)
@pytest.mark.long  # in short runs tests/pipelines/driver/test_served_runs.py has one that dies in the middle of a run
@pytest.mark.parametrize("victim", ["VLLM::EngineCore", "-m", "VLLM::Worker"])
def test_a_real_server_is_started_again_and_ends_with_the_command(vllm_settings: EngineSettings, victim: str) -> None:
    with start_command(vllm_settings) as command:
        old = url_of(command)
        (keeper,) = psutil.Process(command.pid).children()
        (launcher,) = keeper.children()
        family = launcher.children(recursive=True)
        (killed,) = (process for process in family if victim in process.cmdline()[:2])
        killed.kill()
        wait_until(lambda: url_of(command) != old, 900)
        url = url_of(command)
        assert_nothing_left([process.pid for process in family], old)
        assert "Paris" in ask(url, "What is the capital of France?", key=key_of(command))
        with pytest.raises(KeyError):
            ask(url, "What is the capital of France?", key="another")
        family = psutil.Process(command.pid).children(recursive=True)
        assert len(family) >= 6  # keeper, launcher, its watcher, three of vLLM's
        shared = shared_memory([process.pid for process in family])
        command.kill()
    assert_nothing_left([process.pid for process in family], url)
    assert not [path for path in shared if Path(path).exists()]
