"""The worker pool starts workers for task managers of its own user, and for nobody else."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import grpc
import psutil
import pytest
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc, endpoints_pb2

from pipelines.runners import flink_worker_pool
from pipelines.runners.flink_worker_pool import Refused, check, main
from pipelines.runners.socket_owners import plain
from tests.support.watching import free_port, is_closed, wait_until

NOBODY = 65534
OURS = frozenset({os.getuid()})
NEIGHBOUR = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
link = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print(listener.getsockname()[1], link.getsockname()[1], flush=True)
sys.stdin.read()
"""

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def peer(listener: socket.socket) -> Iterator[str]:
    """The caller as gRPC names it: a connection of this process."""
    with socket.create_connection(listener.getsockname()) as link:
        yield f"ipv4:127.0.0.1:{link.getsockname()[1]}"


@contextmanager
def neighbour(port: int) -> Iterator[tuple[int, int]]:
    """Another user's process: the port on which it listens, and its port of a connection to `port`."""
    command = ["/usr/bin/env", "python3", "-I", "-c", NEIGHBOUR, str(port)]
    with subprocess.Popen(command, user=NOBODY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        listening, connected = map(int, process.stdout.readline().split())
        yield listening, connected
        assert process.stdin is not None
        process.stdin.close()


def test_a_task_manager_of_ours_is_served(listener: socket.socket, peer: str) -> None:
    port = listener.getsockname()[1]
    for host in ("localhost", "127.0.0.1"):
        check(peer, f"{host}:{port}", OURS)


@pytest.mark.hostile("neighbours")
@pytest.mark.parametrize(
    "endpoint",
    [
        *("", "localhost", "localhost:", "localhost:0", "localhost:99999", "localhost:٣", ":5000", "unix:/tmp/socket"),
        *("http://localhost:5000/", "[::1]5000", "not an address:5000", "localhost:80\n", "\0:80"),
    ],
)
def test_an_endpoint_that_is_no_address_is_refused(peer: str, endpoint: str) -> None:
    with pytest.raises(Refused, match="not the address of a task manager"):
        check(peer, endpoint, OURS)


@pytest.mark.hostile("neighbours")
@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "[2001:db8::1]"])
def test_an_endpoint_where_nobody_of_this_machine_listens_is_refused(peer: str, host: str) -> None:
    with pytest.raises(Refused, match="nobody on this machine listens"):
        check(peer, f"{host}:{free_port()}", OURS)


@pytest.mark.hostile("neighbours")
@pytest.mark.parametrize("sender", ["", "unix:", "ipv4:", "ipv4:127.0.0.1", "ipv4:localhost:5000", "ipv6:%5B::1%5D"])
def test_a_sender_that_is_unknown_is_refused(listener: socket.socket, sender: str) -> None:
    with pytest.raises(Refused, match="sender is unknown"):
        check(sender, f"127.0.0.1:{listener.getsockname()[1]}", OURS)


@pytest.mark.hostile("neighbours")
def test_a_sender_that_has_closed_its_connection_is_refused(listener: socket.socket) -> None:
    link = socket.create_connection(listener.getsockname())
    port = link.getsockname()[1]
    link.close()  # the kernel now counts it as root's
    with pytest.raises(Refused, match="a process that has ended asks for it"):
        check(f"ipv4:127.0.0.1:{port}", f"127.0.0.1:{listener.getsockname()[1]}", OURS | {0})


@pytest.mark.hostile("neighbours")
def test_a_sender_elsewhere_must_name_an_endpoint_at_its_own_address(listener: socket.socket) -> None:
    check("ipv4:192.0.2.7:5000", "192.0.2.7:6000", OURS)
    with pytest.raises(Refused, match=r"not at 192\.0\.2\.7"):
        check("ipv4:192.0.2.7:5000", f"127.0.0.1:{listener.getsockname()[1]}", OURS)


@as_root
@pytest.mark.hostile("neighbours")
@pytest.mark.parametrize("whose", ["caller", "endpoint"])
def test_another_users_caller_or_endpoint_is_refused(listener: socket.socket, peer: str, whose: str) -> None:
    ours = listener.getsockname()[1]
    with neighbour(ours) as (listening, connected):
        sender, port = (f"ipv4:127.0.0.1:{connected}", ours) if whose == "caller" else (peer, listening)
        with pytest.raises(Refused, match=r"user nobody (asks for it|listens at its control endpoint)"):
            check(sender, f"127.0.0.1:{port}", OURS)
        check(sender, f"127.0.0.1:{port}", OURS | {NOBODY})


# --- the command ----------------------------------------------------------------------------------------------------


class Pool:
    """A worker pool as a process, started with a secret in its environment."""

    def __init__(self, port: int, log: Path) -> None:
        self.port, self.log = port, log
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "for the store",
            "MY_TEXT_KEY": "named",
            "OTHER_SECRET": "a canary",
            "GITHUB_TOKEN": "a canary",
        }
        command = [sys.executable, "-m", "pipelines.runners.flink_worker_pool", f"--service_port={port}"]
        with log.open("wb") as output:
            self.process = subprocess.Popen([*command, "--env=MY_TEXT_KEY"], stderr=output, env=environment)

    def start_worker(self, endpoint: str) -> str:
        """Ask for a worker as a task manager does; the error that is answered, or ""."""
        request = beam_fn_api_pb2.StartWorkerRequest(
            worker_id="1-1", control_endpoint=endpoints_pb2.ApiServiceDescriptor(url=endpoint)
        )
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
            return str(stub.StartWorker(request, timeout=60).error)

    def workers(self) -> list[psutil.Process]:
        """The workers, without what stands between them and the pool."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):  # it has ended
                found += [process] if process.cmdline()[1:2] == ["-c"] else []
        return found


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    pool = Pool(free_port(), tmp_path_factory.mktemp("pool") / "log")
    try:
        wait_until(lambda: not is_closed(pool.port))
        yield pool
    finally:
        pool.process.kill()
        pool.process.wait()


@pytest.mark.slow
@pytest.mark.hostile("neighbours")
def test_the_pool_listens_on_loopback_alone(pool: Pool) -> None:
    listening = [c for c in psutil.Process(pool.process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert {str(plain(c.laddr.ip)) for c in listening} <= {"127.0.0.1", "::1"}


@pytest.mark.slow
@pytest.mark.hostile("neighbours")
def test_a_worker_gets_the_variables_on_the_list_alone(pool: Pool, listener: socket.socket) -> None:
    assert pool.start_worker(f"localhost:{listener.getsockname()[1]}") == ""
    wait_until(lambda: len(pool.workers()) == 1)
    environment = pool.workers()[0].environ()
    assert environment["AWS_ACCESS_KEY_ID"] == "for the store"
    assert environment["MY_TEXT_KEY"] == "named"
    assert environment["PATH"] == os.environ["PATH"]
    assert "a canary" not in environment.values()
    listener.close()
    wait_until(lambda: not pool.workers())


@pytest.mark.slow
@pytest.mark.hostile("neighbours")
def test_a_refused_request_starts_nothing_and_is_logged_in_a_line(pool: Pool) -> None:
    error = pool.start_worker(f"localhost:{free_port()}")
    assert error == "vidla-worker-pool: nobody on this machine listens at its control endpoint"
    assert not pool.workers()
    (line,) = re.findall(r"^.*refused to start a worker.*$", pool.log.read_text(), re.M)
    assert line.endswith("nobody on this machine listens at its control endpoint")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--env=NO_SUCH_VARIABLE"], "--env NO_SUCH_VARIABLE: there is no such variable in the environment"),
        (["--user=no-such-user"], "there is no user no-such-user"),
        (["--host=192.0.2.1"], "cannot listen on port"),
    ],
)
def test_misuse_is_told(arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([f"--service_port={free_port()}", *arguments])
    assert said in capfd.readouterr().err


@pytest.mark.hostile("neighbours")
def test_a_port_of_another_process_is_not_shared(listener: socket.socket, capfd: pytest.CaptureFixture[str]) -> None:
    with closing(listener), pytest.raises(SystemExit):
        flink_worker_pool.main([f"--service_port={listener.getsockname()[1]}"])
    assert "it is taken" in capfd.readouterr().err
