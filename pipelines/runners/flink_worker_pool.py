"""Starts and ends the workers of a Flink task manager on this machine.

    vidla-worker-pool --service_port=50000

Beam's own pool (apache_beam.runners.worker.worker_pool_main) ends workers by an id that every job counts from 1-1: of
two concurrent jobs, the first to end kills the other's worker. Here a worker ends by itself, or when its endpoint, from
which it gets its work, stops answering; and all of them end with the pool.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.utils import thread_pool_executor

from curation import guard

log = logging.getLogger(__name__)

LOOK_S = 1.0
SILENT = 3  # failed looks at its endpoint in a row, after which a worker is ended
GRACE_S = 2.0
WORKER = (
    "import sys; from apache_beam.runners.worker.sdk_worker import SdkHarness; "
    "SdkHarness(sys.argv[1], worker_id=sys.argv[2], state_cache_size=0, data_buffer_time_limit_ms=-1).run()"
)


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):  # type: ignore[misc]
    """The service that a task manager asks for workers."""

    def StartWorker(self, request: Any, _: Any) -> Any:
        endpoint = request.control_endpoint.url
        command = [sys.executable, "-c", WORKER, endpoint, request.worker_id]
        stderr = sys.stderr.fileno()
        worker = guard.Process(command, 0, stdout=stderr, stderr=stderr, environment=dict(os.environ), grace_s=GRACE_S)
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
    host, _, port = endpoint.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5 * LOOK_S).close()
    except OSError:
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "vidla-worker-pool", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--service_port", type=int, required=True, help="port on which task managers request workers")
    port = parser.parse_args(arguments).service_port
    logging.basicConfig(level=logging.INFO)
    server = grpc.server(thread_pool_executor.shared_unbounded_instance())
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(WorkerPool(), server)
    server.add_insecure_port(f"[::]:{port}")
    server.start()
    log.info("listening for task managers on port %d", port)
    signal.pause()


if __name__ == "__main__":
    main()
