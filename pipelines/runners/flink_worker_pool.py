"""Starts and ends the workers of a Flink task manager on this machine.

    vidla-worker-pool --service_port=50000

Beam's own pool (apache_beam.runners.worker.worker_pool_main) ends workers by an id that every job counts from 1-1: of
two concurrent jobs, the first to end kills the other's worker. Here a worker ends by itself, or when its endpoint, from
which it gets its work, stops answering; and all of them end with the pool.

A worker runs whatever code its endpoint sends. So the pool listens on loopback, and starts workers only for task
managers of its own user, of root, or of a user that --user names. Workers get the environment variables that a worker
may need (paths, proxies, GPUs, AWS_*, GOOGLE_*, OPENAI_API_KEY …), and those that --env names.
"""

from __future__ import annotations

import argparse
import logging
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.utils import thread_pool_executor

from curation import guard
from pipelines.runners import socket_owners
from pipelines.runners.socket_owners import Address, plain

log = logging.getLogger(__name__)

LOOK_S = 1.0
SILENT = 3  # failed looks at its endpoint in a row, after which a worker is ended
GRACE_S = 2.0
LOOPBACK = ("127.0.0.1", "::1")
ENVIRONMENT = (*guard.SYSTEM, *guard.MODELS, *guard.CLOUD, "OPENAI_API_KEY")
WORKER = (
    "import sys; from apache_beam.runners.worker.sdk_worker import SdkHarness; "
    "SdkHarness(sys.argv[1], worker_id=sys.argv[2], state_cache_size=0, data_buffer_time_limit_ms=-1).run()"
)


class Refused(Exception):
    """A request that no task manager of ours made; the message says why."""


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):  # type: ignore[misc]
    """The service that a task manager of one of `users` asks for workers, which get `environment`."""

    def __init__(self, users: frozenset[int], environment: Mapping[str, str]) -> None:
        self._users = users
        self._environment = environment

    def StartWorker(self, request: Any, context: Any) -> Any:
        endpoint = request.control_endpoint.url
        try:
            check(context.peer(), endpoint, self._users)
        except Refused as error:
            log.warning("refused to start a worker for %.100r: %s", endpoint, error)
            return beam_fn_api_pb2.StartWorkerResponse(error=f"vidla-worker-pool: {error}")
        command = [sys.executable, "-c", WORKER, endpoint, request.worker_id]
        stderr = sys.stderr.fileno()
        worker = guard.Process(command, 0, stdout=stderr, stderr=stderr, environment=self._environment, grace_s=GRACE_S)
        log.info("worker %s for %s is process %d", request.worker_id, endpoint, worker.popen.pid)
        threading.Thread(target=_keep, args=(worker, endpoint), name="worker", daemon=True).start()
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, _: Any) -> Any:
        """Does nothing: ids are not unique across jobs, so the request does not identify a worker."""
        return beam_fn_api_pb2.StopWorkerResponse()


def _keep(worker: guard.Process, endpoint: str) -> None:
    """Wait until a worker ends; end it if its endpoint stops answering."""
    silent = 0
    while silent < SILENT:
        try:
            worker.popen.wait(LOOK_S)
            break
        except subprocess.TimeoutExpired:
            silent = 0 if _answers(endpoint) else silent + 1
    log.info("process %d ended with %d", worker.popen.pid, worker.finish())


def _answers(endpoint: str) -> bool:
    host, port = _split(endpoint)
    try:
        socket.create_connection((host, port), timeout=5 * LOOK_S).close()
    except OSError:
        return False
    return True


# --- who asks -------------------------------------------------------------------------------------------------------


def check(peer: str, endpoint: str, users: frozenset[int]) -> None:
    """Check that the caller and its endpoint belong to a task manager of ours. Raises Refused.

    On this machine both must belong to one of `users`; a caller elsewhere must name an endpoint at its own address.
    """
    caller, caller_port = _parse_peer(peer)
    try:
        host, port = _split(endpoint)
        addresses = {plain(str(found[4][0])) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except (OSError, ValueError):
        raise Refused("its control endpoint is not the address of a task manager") from None
    if not socket_owners.is_ours(caller):
        if caller not in addresses:
            raise Refused(f"its control endpoint is not at {caller}, where the request came from")
        return
    by = socket_owners.connector(caller, caller_port)
    if by not in users:
        raise Refused(f"{_described(by)} asks for it, and --user does not name that user")
    owners = set().union(*(socket_owners.listeners(address, port) for address in addresses))
    if not owners:
        raise Refused("nobody on this machine listens at its control endpoint")
    if strangers := owners - users:
        raise Refused(f"{_described(min(strangers))} listens at its control endpoint, not a task manager of ours")


def _split(endpoint: str) -> tuple[str, int]:
    """Host and port. Raises ValueError."""
    host, _, port = endpoint.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ValueError(endpoint)
    return host, int(port)


def _parse_peer(peer: str) -> tuple[Address, int]:
    """The address in gRPC's form: ipv4:127.0.0.1:5000, ipv6:[::1]:5000, ipv6:%5B::1%5D:5000. Raises Refused."""
    try:
        host, port = _split(unquote(peer).partition(":")[2])
        return plain(host), port
    except ValueError:
        raise Refused("its sender is unknown") from None


def _described(uid: int | None) -> str:
    if uid is None:
        return "a process that has ended"
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


# --- the command ----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "vidla-worker-pool", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--service_port", type=int, required=True, help="port on which task managers request workers")
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        help="listen there instead of on loopback: whoever can reach the port can then run code as this user",
    )
    parser.add_argument(
        "--user", type=_uid, action="append", default=[], metavar="USER", help="of task managers; repeatable"
    )
    parser.add_argument(
        "--env", action="append", default=[], metavar="NAME", help="a variable that workers get as well; repeatable"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    for name in options.env:
        if name not in os.environ:
            parser.error(f"--env {name}: there is no such variable in the environment")
    users = frozenset({0, os.getuid(), *options.user})
    server = grpc.server(thread_pool_executor.shared_unbounded_instance(), options=[("grpc.so_reuseport", 0)])
    pool = WorkerPool(users, guard.environment(*ENVIRONMENT, *options.env))
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    if not _listen(server, options.host, options.service_port):
        parser.exit(1, f"vidla-worker-pool: cannot listen on port {options.service_port}: it is taken, or no address\n")
    server.start()
    if options.host:
        log.warning("whoever can reach port %d of %s can run code as this user", options.service_port, options.host)
    log.info("listening for task managers on port %d", options.service_port)
    signal.pause()


def _uid(user: str) -> int:
    try:
        return int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
    except KeyError:
        raise argparse.ArgumentTypeError(f"there is no user {user}") from None


def _listen(server: grpc.Server, host: str | None, port: int) -> bool:
    """Whether the server got the port at `host`, or at every loopback address of this machine."""
    hosts = [host] if host else [address for address in LOOPBACK if socket_owners.is_ours(plain(address))]
    try:
        return all(server.add_insecure_port(f"[{each}]:{port}" if ":" in each else f"{each}:{port}") for each in hosts)
    except RuntimeError:
        return False


if __name__ == "__main__":
    main()
