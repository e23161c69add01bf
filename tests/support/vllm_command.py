"""A command that uses a vLLM server of its own, controlled by lines on its standard input.

    python -m tests.support.vllm_command SETTINGS

"ready" prints the server's URL once it answers, or why it never will; "key" prints its key; "fork" makes a copy
of this process and prints its pid; "close" closes the server and then prints "closed"; "end", "raise" and "exit" end
without closing.
"""

from __future__ import annotations

import os
import sys
import time

from curation.engines.vllm.shared_server import VllmServer
from curation.errors import EngineError
from curation.settings import EngineSettings


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


server = VllmServer(EngineSettings.model_validate_json(sys.argv[1]))
for word in map(str.strip, sys.stdin):
    if word == "ready":
        try:
            say(server.ready()[0])
        except EngineError as error:
            say(error)
    elif word == "key":
        say(server.access("").key)
    elif word == "fork":
        copy = os.fork()
        if copy == 0:
            time.sleep(1000)
        say(copy)
    elif word == "close":
        server.close()
        say("closed")
    elif word == "raise":
        raise RuntimeError("as told")
    elif word == "exit":
        os._exit(3)
    elif word == "end":
        break
