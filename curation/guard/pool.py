"""Idle children kept for the next call, and `stop_all`, which ends everything that the guard has started."""

from __future__ import annotations

import atexit
import os
import subprocess
from typing import Any

from curation.guard.child import Child
from curation.guard.process import Limits, Stopped, running

_idle: list[Child] = []


def call(function: str, argument: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """`Child.call` on an idle child, or a new one if all are busy. Raises as `Child.call` does."""
    with running.lock:
        if running.stopped:
            raise Stopped(f"{function}: stopped")
        child = _idle.pop() if _idle else Child()
    try:
        return child.call(function, argument, limits)
    finally:
        with running.lock:
            _idle.append(child)


def stop_all() -> None:
    """Kill every child and command. Calls under way in other threads raise Stopped, and so do later ones."""
    with running.lock:
        running.stopped = True
        idle, processes = list(_idle), list(running.processes)
        _idle.clear()
    for process in processes:
        process.kill()
    for child in idle:
        child.close()
    for process in processes:
        try:
            process.popen.wait(process.end_s)
        except subprocess.TimeoutExpired:
            process.popen.kill()


def resume() -> None:
    """Allow calls again after `stop_all`."""
    with running.lock:
        running.stopped = False


def _forget() -> None:
    running.forget()
    _idle.clear()


atexit.register(stop_all)
os.register_at_fork(after_in_child=_forget)
