"""The one way to a child process: `run` a command, `call` a function of ours, bounded and never left behind."""

from curation.guard.pool import (
    Child,
    Crashed,
    GuardError,
    Limits,
    OutOfMemory,
    Overflowed,
    Process,
    Stopped,
    TimedOut,
    call,
    processor_s,
    resume,
    run,
    start_apart,
    start_server,
    stop_all,
)

__all__ = [
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
    "processor_s",
    "resume",
    "run",
    "start_apart",
    "start_server",
    "stop_all",
]
