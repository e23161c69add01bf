"""One vLLM server for all processes of a machine that use it, whoever of them comes, goes or is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from curation.engines.vllm.shared_server import VllmServer
from curation.errors import EngineError
from curation.settings import EngineSettings
from tests.support.own_servers import (
    Serve,
    assert_nothing_left,
    get,
    provoke,
    settings,
    start_command,
    starts,
    tell,
    url_of,
)
from tests.support.shared_engine import ask
from tests.support.watching import is_gone, wait_until

pytestmark = pytest.mark.slow

Command = subprocess.Popen[str]
Use = Callable[[EngineSettings, int], list[Command]]


@pytest.fixture
def use() -> Iterator[Use]:
    """Starts commands that use a server."""
    started: list[Command] = []

    def use(settings: EngineSettings, count: int) -> list[Command]:
        commands = [start_command(settings) for _ in range(count)]
        started.extend(commands)
        return commands

    yield use
    for command in started:
        kill(command)


def kill(command: Command) -> None:
    with command:
        command.kill()


def close(command: Command) -> None:
    tell(command, "close")
    assert command.stdout is not None and command.stdout.readline() == "closed\n"


def urls_of(commands: list[Command]) -> list[str]:
    """What each says when all want the server at once."""
    with ThreadPoolExecutor(len(commands)) as pool:
        return list(pool.map(url_of, commands))


def url_of_all(commands: list[Command]) -> str:
    (url,) = set(urls_of(commands))
    return url


def keeper_of(url: str) -> int:
    """The number of the process that keeps the stand-in at `url`."""
    launcher = psutil.Process(get(url, "/pids")[0]).parent()
    assert launcher is not None
    return launcher.ppid()


# --- one for all ----------------------------------------------------------------------------------------------------


def test_all_get_one_and_the_last_to_die_takes_it_along(use: Use, stand_in: Path) -> None:
    commands = use(settings(stand_in), 4)
    url = url_of_all(commands)
    assert starts(stand_in) == 1
    everyone = [keeper_of(url), *get(url, "/pids")]
    *others, last = commands
    for command in others:
        kill(command)
        assert url_of(last) == url, "found well after that"
    tell(last, "fork")
    assert last.stdout is not None
    copy = int(last.stdout.readline())
    try:
        kill(last)
        assert_nothing_left(everyone, url)
        assert not is_gone(copy), "a copy of a user is none"
    finally:
        os.kill(copy, signal.SIGKILL)
    assert starts(stand_in) == 1


def test_who_closes_leaves_it_to_the_others(use: Use, stand_in: Path) -> None:
    command, other = use(settings(stand_in), 2)
    url = url_of_all([command, other])
    close(other)
    assert url_of(other) == "the vLLM server was stopped"
    assert url_of(command) == url
    everyone = [keeper_of(url), *get(url, "/pids")]
    close(command)
    assert all(map(is_gone, everyone[1:])), "closing waits for the server's end where nobody else uses it"
    wait_until(lambda: not psutil.Process(command.pid).children())
    assert_nothing_left(everyone, url)


def test_who_comes_while_it_ends_gets_a_new_one(serve: Serve, stand_in: Path) -> None:
    (old,) = (server := serve()).ready()
    family, (socket,) = get(old, "/pids"), stand_in.parent.glob("vidla-vllm-*/*/socket")
    os.kill(family[0], signal.SIGSTOP)  # so that its end takes until we say so
    with ThreadPoolExecutor(2) as pool:
        closed = pool.submit(server.close)
        wait_until(lambda: not socket.exists())
        coming = pool.submit(serve().ready)
        with pytest.raises(TimeoutError):
            coming.result(1.0)
        assert starts(stand_in) == 1 or is_gone(family[0]), "never two at a time: a card may have room for one"
        with suppress(ProcessLookupError):  # a machine that is slow enough has killed it by now
            os.kill(family[0], signal.SIGCONT)
        assert coming.result() != (old,)
        closed.result()
    assert_nothing_left(family, old)
    assert starts(stand_in) == 2


def test_it_lingers_for_who_comes_next(serve: Serve, stand_in: Path) -> None:
    first, second = serve(linger_s=2.0), serve(linger_s=2.0)
    (url,) = first.ready()
    family = get(url, "/pids")
    first.close()
    assert second.ready() == (url,)
    second.close()
    assert not any(map(is_gone, family))
    assert_nothing_left(family, url)
    assert starts(stand_in) == 1


@pytest.mark.long
def test_other_cards_are_another_server(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = serve().ready()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert serve().ready() != ours


# --- what is in flight ----------------------------------------------------------------------------------------------


def test_those_who_have_requests_know_how_many_they_are(serve: Serve) -> None:
    one, other = serve(), serve()
    assert one.ready() == other.ready()
    assert one.active_processes == other.active_processes == 1
    one.set_active(True)
    other.set_active(True)
    wait_until(lambda: one.active_processes == other.active_processes == 2)
    one.set_active(False)
    wait_until(lambda: other.active_processes == 1)
    one.set_active(True)
    wait_until(lambda: other.active_processes == 2)
    one.close()
    wait_until(lambda: other.active_processes == 1)


# --- it fails -------------------------------------------------------------------------------------------------------


def whys(servers: Iterable[VllmServer]) -> list[str]:
    """What each says when all want a server that will never be there."""

    def why(server: VllmServer) -> str:
        with pytest.raises(EngineError) as caught:
            server.ready()
        return str(caught.value)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(why, servers))


def test_everyone_hears_why_it_does_not_come_up(serve: Serve, stand_in: Path) -> None:
    for why in whys(serve("--slow", "1000", start_timeout_s=2) for _ in range(3)):
        assert "the vLLM server did not come up: it was not up after 2 s" in why
    assert starts(stand_in) == 1


@pytest.mark.long
def test_everyone_gets_the_new_one_when_it_dies(serve: Serve, stand_in: Path) -> None:
    servers = one, other = serve(restarts=1), serve(restarts=1)
    old = one.ready()
    assert other.ready() == old
    provoke(old[0], "/fail")
    wait_until(lambda: one.ready() != old)
    assert other.ready() == one.ready()
    assert starts(stand_in) == 2
    provoke(one.ready()[0], "/fail")
    for why in whys(servers):
        assert "died 2 times; the last time: torch.AcceleratorError: CUDA error" in why


def test_its_keeper_is_killed(use: Use, stand_in: Path) -> None:
    commands = use(settings(stand_in, restarts=1), 2)
    old = url_of_all(commands)
    family = get(old, "/pids")
    os.kill(keeper_of(old), signal.SIGKILL)
    wait_until(lambda: url_of(commands[0]) != old)
    assert_nothing_left(family, old)
    new = url_of_all(commands)
    assert starts(stand_in) == 2
    family = get(new, "/pids")
    os.kill(keeper_of(new), signal.SIGKILL)
    wait_until(lambda: not url_of(commands[0]).startswith("http"))
    for said in urls_of(commands):
        assert "died 2 times; the last time: its keeper was killed" in said
    assert_nothing_left(family, new)


def test_a_new_one_waits_for_the_end_of_one_whose_keeper_is_killed(serve: Serve, stand_in: Path) -> None:
    server = serve()
    (old,) = server.ready()
    family, keeper = get(old, "/pids"), keeper_of(old)
    os.kill(family[0], signal.SIGSTOP)  # so that its end takes until we say so
    os.kill(keeper, signal.SIGKILL)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(server.ready)
        with pytest.raises(TimeoutError):
            coming.result(2.0)
        assert starts(stand_in) == 1, "a card may have room for one"
        os.kill(family[0], signal.SIGCONT)
        wait_until(lambda: server.ready() != (old,))
    assert_nothing_left(family, old)
    assert starts(stand_in) == 2


def test_a_keeper_that_cannot_start(serve: Serve, stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (stand_in.parent / "selectors.py").write_text("raise RuntimeError('broken')")
    monkeypatch.syspath_prepend(stand_in.parent)
    assert whys([serve()]) == ["the keeper of the vLLM server did not start: RuntimeError: broken (exit status 1)"]


@pytest.mark.hostile("neighbours")
def test_a_folder_that_others_can_write_to_is_not_used(serve: Serve, stand_in: Path) -> None:
    folder = stand_in.parent / f"vidla-vllm-{os.geteuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    assert whys([serve()]) == [f"{folder} is not private to you; remove it, or set TMPDIR to another place"]
    assert not (stand_in.parent / "starts").exists()


# --- the real one ---------------------------------------------------------------------------------------------------


def ours(folder: Path) -> list[psutil.Process]:
    """Processes that were started with `folder` for their temporary files, and have not given themselves a title."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it is gone by now, or the kernel's
            if process.environ().get("TMPDIR") == str(folder):
                found.append(process)
    return found


def servers_among(processes: Iterable[psutil.Process]) -> Iterator[psutil.Process]:
    for process in processes:
        with suppress(psutil.Error):
            if process.cmdline()[1:3] == ["-m", "vllm.entrypoints.openai.api_server"]:
                yield process


@pytest.mark.long  # in short runs tests/pipelines/driver/test_served_runs.py has a real one with a keeper
@pytest.mark.timeout(1800)
def test_the_processes_of_a_pipeline_share_a_real_one(
    vllm_settings: EngineSettings, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("real")  # short, since vLLM makes sockets there
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)  # read again here, and once more afterwards
    servers: set[psutil.Process] = set()
    family: set[psutil.Process] = set()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, vllm_settings.model_copy(update={"max_in_flight": 16}), folder, 9, 3)
        while not asking.done():
            servers |= set(servers_among(ours(folder)))
            for server in servers:
                with suppress(psutil.Error):
                    family |= set(server.children(recursive=True))
            wait([asking], 0.5)
        asking.result()
    answered = [json.loads((folder / f"{batch}.json").read_text()) for batch in range(9)]
    assert len({process for process, _ in answered}) == 3
    for number, (asked, text) in enumerate(answer for _, answers in answered for answer in answers):
        assert asked == f"request {number}" and json.loads(text) == {"n": number}
    assert len(servers) == 1 and len(family) >= 2
    wait_until(lambda: not ours(folder) and all(is_gone(process.pid) for process in servers | family))
