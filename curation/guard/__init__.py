"""The only way to start child processes: `run` a command or `call` a function, bounded and never left behind."""

from curation.guard.child import Child, processor_s
from curation.guard.pool import call, resume, stop_all
from curation.guard.process import (
    Crashed,
    GuardError,
    Limits,
    OutOfMemory,
    Overflowed,
    Process,
    Stopped,
    TimedOut,
    run,
    start_detached,
    start_server,
)
from curation.guard.variables import CLOUD, MODELS, SYSTEM, environment

__all__ = [
    "CLOUD",
    "MODELS",
    "SYSTEM",
    "Child",
    "Crashed",
    "GuardError",
    "Limits",
    "OutOfMemory",
    "Overflowed",
    "Process",
    "Stopped",
    "TimedOut",
    "call",
    "environment",
    "processor_s",
    "resume",
    "run",
    "start_detached",
    "start_server",
    "stop_all",
]
