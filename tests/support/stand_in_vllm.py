"""A stand-in for vLLM's server that misbehaves on demand; it loads no model and answers no prompts.

    python stand_in_vllm.py --uds PATH --served-model-name NAME [--fail] [--slow SECONDS] [--stubborn] …

Like vLLM it listens on a Unix socket, has a child and a grandchild, shares memory, and ends when its child dies. GET
/health answers 200, /v1/models the name to those who know VLLM_API_KEY, /pids the process ids, /memory the name of the
shared memory, /environment and /arguments those of the server, /asked the paths and headers of all requests; /fail
makes it end with an error, /sick makes /health answer 503. Each start adds a line to the file STAND_IN_STARTS.

As an impostor it answers /health like the others: `--serves NAME` has another model, `--stranger` another key,
`--models TEXT` answers that.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import ClassVar

SLEEP = "import signal, sys, time; [signal.signal(15, signal.SIG_IGN) for _ in sys.argv[1:]]; time.sleep(1000)"
PARENT = f"""import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", {SLEEP!r}, *sys.argv[1:]]).pid, flush=True)
{SLEEP}
"""


class Handler(BaseHTTPRequestHandler):
    family: list[int]
    memory: SharedMemory
    health = 200
    key: str
    models: str
    asked: ClassVar[list[list[str]]] = []

    def do_GET(self) -> None:
        Handler.asked.append([self.path, str(self.headers)])
        if self.path == "/fail":
            fail()
        elif self.path == "/sick":
            Handler.health = 503
        if self.path == "/v1/models":
            known = self.headers["Authorization"] == f"Bearer {Handler.key}"
            self.send_response(200 if known else 401)
            self.end_headers()
            self.wfile.write(Handler.models.encode() if known else b"{}")
            return
        answers = {
            "/pids": Handler.family,
            "/memory": Handler.memory.name,
            "/environment": dict(os.environ),
            "/arguments": sys.argv[1:],
            "/asked": Handler.asked,
        }
        self.send_response(Handler.health if self.path == "/health" else 200)
        self.end_headers()
        self.wfile.write(json.dumps(answers.get(self.path)).encode())

    def address_string(self) -> str:
        return "a Unix socket"

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def fail() -> None:
    say("(EngineCore pid=7) ERROR 11-25 02:18:34 [core.py:402] torch.AcceleratorError: CUDA error: an illegal access")
    say("RuntimeError: Engine core initialization failed. See root cause above.")
    os._exit(1)


def fail_with(child: subprocess.Popen[bytes]) -> None:
    child.wait()
    fail()


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--uds", required=True)
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--serves")
    parser.add_argument("--models")
    parser.add_argument("--stranger", action="store_true")
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--fail", action="store_true")
    parser.add_argument("--stubborn", action="store_true")
    options, _ = parser.parse_known_args()
    with Path(os.environ["STAND_IN_STARTS"]).open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    say("(APIServer pid=7) INFO 11-25 02:18:34 [x.py:1] Loading it all")
    if options.fail:
        fail()
    deaf = ["deaf"] if options.stubborn else []
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", PARENT, *deaf], stdout=subprocess.PIPE)
    assert child.stdout is not None
    Handler.family = [os.getpid(), child.pid, int(child.stdout.readline())]
    Handler.memory = SharedMemory(create=True, size=1)
    Handler.key = "another" if options.stranger else os.environ["VLLM_API_KEY"]
    name = options.serves or options.served_model_name
    Handler.models = options.models or json.dumps({"object": "list", "data": [{"id": name}]})
    threading.Thread(target=fail_with, args=(child,), daemon=True).start()
    time.sleep(options.slow)
    Server(options.uds, Handler).serve_forever()


if __name__ == "__main__":
    main()
