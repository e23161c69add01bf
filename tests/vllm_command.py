"""A command that starts a vLLM of its own, and does what a line on its standard input says.

    python -m tests.vllm_command SETTINGS

"ready" prints the server's URL once that can be asked; "end", "raise" and "exit" are ways to end without stopping it.
"""

from __future__ import annotations

import os
import sys

from curation.config import EngineSettings
from curation.engines.vllm import VllmServer

server = VllmServer(EngineSettings.model_validate_json(sys.argv[1]))
for word in map(str.strip, sys.stdin):
    if word == "ready":
        sys.stdout.write(f"{server.ready()[0]}\n")
        sys.stdout.flush()
    elif word == "raise":
        raise RuntimeError("as told")
    elif word == "exit":
        os._exit(3)
    elif word == "end":
        break
