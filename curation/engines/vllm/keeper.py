"""The process that keeps a vLLM server for all processes of this machine that use it.

Started by the first of them (`start`), it has a connection with each. One that dies, however it dies, is disconnected
by the kernel; when nobody is left, the server is stopped, and this process ends. It tells its users when the server is
well, how many of them have requests for it, what there is to log, and why there will be no server any more.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curation import guard
from curation.engines.vllm.rendezvous import listening
from curation.engines.vllm.server_process import Launch, ServerProcess
from curation.errors import EngineError

log = logging.getLogger(__name__)

MESSAGE_BYTES = 1 << 16
TICK_S = 0.5
BEAT_S = 10.0  # after which users are told something, be there news or not
SAID = "keeper.log"  # what this process itself has to say, beside the server's log


@dataclass(frozen=True)
class KeeperConfig:
    """What is kept, in which folder, and how long after its last user has left. `deaths` are those of an earlier one.

    Users with the same `launch` share a server.
    """

    launch: Launch
    folder: str
    linger_s: float
    deaths: int = 0


def start(kept: KeeperConfig, lock: int, link: socket.socket) -> subprocess.Popen[bytes]:
    """Start the keeper, with its first user at the other end of `link`. `lock` is its right to listen."""
    code = f"import curation.engines.vllm.keeper; curation.engines.vllm.keeper.main({lock}, {link.fileno()})"
    with Path(kept.folder, SAID).open("wb") as said:
        return guard.start_apart(code, json.dumps(asdict(kept)).encode(), said, (lock, link.fileno()))


def tell(link: socket.socket, **news: Any) -> None:
    """Send a message, to one who hears it by and by; who hears nothing for long is disconnected."""
    with suppress(OSError):  # it is gone
        try:
            link.send(json.dumps(news).encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            link.shutdown(socket.SHUT_RDWR)


# --- in the keeper --------------------------------------------------------------------------------------------------


def main(lock: int, link: int) -> None:
    os.set_inheritable(lock, False)
    given = json.load(sys.stdin)
    kept = KeeperConfig(**{**given, "launch": Launch(**given["launch"])})
    server = ServerProcess(kept.launch, Path(kept.folder), kept.deaths, (lock,))
    users = _Users()
    logging.basicConfig(level=logging.INFO, handlers=[logging.StreamHandler(), _Relay(users)])
    with listening(Path(kept.folder)) as listener:
        users.enter(socket.socket(fileno=link))
        last = users.serve(listener, server, kept.linger_s)
    # Nobody finds the socket any more; who comes now waits until this process and its server are gone.
    users.tell(over=server.over)
    server.close()
    for user in last:  # who waits for that
        user.close()


class _Users:
    """Those connected, and whether each has requests for the server."""

    def __init__(self) -> None:
        self._asking: dict[socket.socket, bool] = {}
        self._told = (0, 0)
        self._told_at = 0.0
        self._lock = threading.Lock()

    def serve(self, listener: socket.socket, server: ServerProcess, linger_s: float) -> list[socket.socket]:
        """Answer users until the server is over, or nobody has been there for `linger_s`; the last ones' sockets."""
        left_at = time.monotonic()
        gone: list[socket.socket] = []
        with selectors.DefaultSelector() as selector:
            for link in (listener, *self._asking):
                selector.register(link, selectors.EVENT_READ, link)
            while not server.over and (self._asking or time.monotonic() - left_at < linger_s):
                while gone:
                    gone.pop().close()
                self._say_how_many(server.deaths)
                for key, _ in selector.select(TICK_S):
                    if key.data is listener:
                        user, _ = listener.accept()
                        selector.register(user, selectors.EVENT_READ, user)
                        self.enter(user)
                    elif not self._hear(key.data, server):
                        selector.unregister(key.data)
                        self._leave(key.data)
                        gone.append(key.data)  # the last one's is open until all is over: it waits for that
                        left_at = time.monotonic()
        return gone

    def enter(self, user: socket.socket) -> None:
        with self._lock:
            self._asking[user] = False
        self._told_at = 0.0

    def _leave(self, user: socket.socket) -> None:
        with self._lock:
            del self._asking[user]

    def _hear(self, user: socket.socket, server: ServerProcess) -> bool:
        """Whether that user is still there."""
        try:
            message = user.recv(MESSAGE_BYTES)
        except OSError:
            return False
        if not message:
            return False
        said = json.loads(message)
        if "asking" in said:
            self._asking[user] = said["asking"]
        if "ready" in said:
            threading.Thread(target=self._answer, args=(user, said["ready"], server), daemon=True).start()
        return True

    @staticmethod
    def _answer(user: socket.socket, number: int, server: ServerProcess) -> None:
        with suppress(EngineError):  # everyone will be told
            tell(user, well=number, urls=server.ready())

    def _say_how_many(self, deaths: int) -> None:
        """Tell everyone how many have requests for the server, and how often it has died, where that is news."""
        news = sum(self._asking.values()), deaths
        if news != self._told or time.monotonic() - self._told_at > BEAT_S:
            self._told, self._told_at = news, time.monotonic()
            self.tell(asking=news[0], deaths=deaths)

    def tell(self, **news: Any) -> None:
        with self._lock:
            users = tuple(self._asking)
        for user in users:
            tell(user, **news)


class _Relay(logging.Handler):
    """What is logged here goes to the users, whose logs people read."""

    def __init__(self, users: _Users) -> None:
        super().__init__()
        self._users = users

    def emit(self, record: logging.LogRecord) -> None:
        self._users.tell(level=record.levelno, log=record.getMessage()[:4000])
