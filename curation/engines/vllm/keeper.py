"""The keeper: a process that runs one vLLM server for all processes of this machine that use it, its users.

The first user starts it (`start`), and each user has a connection to it. The kernel closes the connection of a user
that dies, however it dies. When the last one has left, the keeper stops the server and ends. It sends its users: that
the server is well, how many of them have requests for it, log lines, and why the server has ended for good.
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
HEARTBEAT_S = 10.0  # users receive a message at least this often
KEEPER_LOG = "keeper.log"  # the keeper's own output; the server has another log


@dataclass(frozen=True)
class KeeperConfig:
    """The server to run, its folder, and how long it outlives its last user. `deaths` are those under earlier keepers.

    Users with the same `launch` share a server.
    """

    launch: Launch
    folder: str
    linger_s: float
    deaths: int = 0


def start(config: KeeperConfig, lock: int, link: socket.socket) -> subprocess.Popen[bytes]:
    """Start the keeper, its first user at the other end of `link`. Descriptor `lock` is the right to listen."""
    code = f"import curation.engines.vllm.keeper; curation.engines.vllm.keeper.main({lock}, {link.fileno()})"
    with Path(config.folder, KEEPER_LOG).open("wb") as log_file:
        return guard.start_detached(code, json.dumps(asdict(config)).encode(), log_file, (lock, link.fileno()))


def send(link: socket.socket, **news: Any) -> None:
    """Send a message without blocking; a peer that stops reading is disconnected."""
    with suppress(OSError):  # the peer is gone
        try:
            link.send(json.dumps(news).encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            link.shutdown(socket.SHUT_RDWR)


# --- in the keeper --------------------------------------------------------------------------------------------------


def main(lock: int, link: int) -> None:
    os.set_inheritable(lock, False)
    fields = json.load(sys.stdin)
    config = KeeperConfig(**{**fields, "launch": Launch(**fields["launch"])})
    server = ServerProcess(config.launch, Path(config.folder), config.deaths, (lock,))
    users = _Users()
    logging.basicConfig(level=logging.INFO, handlers=[logging.StreamHandler(), _Relay(users)])
    with listening(Path(config.folder)) as listener:
        users.enter(socket.socket(fileno=link))
        last = users.serve(listener, server, config.linger_s)
    # The socket is gone: a new user waits until this process and its server have ended.
    users.broadcast(over=server.over)
    server.close()
    for user in last:  # they wait for the end
        user.close()


class _Users:
    """The connected processes, and whether each has requests for the server."""

    def __init__(self) -> None:
        self._asking: dict[socket.socket, bool] = {}
        self._sent = (0, 0)
        self._sent_at = 0.0
        self._lock = threading.Lock()

    def serve(self, listener: socket.socket, server: ServerProcess, linger_s: float) -> list[socket.socket]:
        """Answer users until the server has ended for good, or has had no users for `linger_s`.

        Returns the sockets of users that left last, still open: closing them signals the end.
        """
        left_at = time.monotonic()
        left: list[socket.socket] = []
        with selectors.DefaultSelector() as selector:
            for link in (listener, *self._asking):
                selector.register(link, selectors.EVENT_READ, link)
            while not server.over and (self._asking or time.monotonic() - left_at < linger_s):
                while left:
                    left.pop().close()
                self._broadcast_counts(server.deaths)
                for key, _ in selector.select(TICK_S):
                    if key.data is listener:
                        user, _ = listener.accept()
                        selector.register(user, selectors.EVENT_READ, user)
                        self.enter(user)
                    elif not self._receive(key.data, server):
                        selector.unregister(key.data)
                        self._leave(key.data)
                        left.append(key.data)  # stays open until the end if it is the last: that user waits for it
                        left_at = time.monotonic()
        return left

    def enter(self, user: socket.socket) -> None:
        with self._lock:
            self._asking[user] = False
        self._sent_at = 0.0

    def _leave(self, user: socket.socket) -> None:
        with self._lock:
            del self._asking[user]

    def _receive(self, user: socket.socket, server: ServerProcess) -> bool:
        """Read a message of `user`; False if it has left."""
        try:
            message = user.recv(MESSAGE_BYTES)
        except OSError:
            return False
        if not message:
            return False
        fields = json.loads(message)
        if "asking" in fields:
            self._asking[user] = fields["asking"]
        if "ready" in fields:
            threading.Thread(target=self._answer, args=(user, fields["ready"], server), daemon=True).start()
        return True

    @staticmethod
    def _answer(user: socket.socket, number: int, server: ServerProcess) -> None:
        with suppress(EngineError):  # it is broadcast anyway
            access = server.ready()
            send(user, well=number, socket=access.socket, key=access.key)

    def _broadcast_counts(self, deaths: int) -> None:
        """Send everyone how many have requests for the server and how often it has died, if changed or overdue."""
        news = sum(self._asking.values()), deaths
        if news != self._sent or time.monotonic() - self._sent_at > HEARTBEAT_S:
            self._sent, self._sent_at = news, time.monotonic()
            self.broadcast(asking=news[0], deaths=deaths)

    def broadcast(self, **news: Any) -> None:
        with self._lock:
            users = tuple(self._asking)
        for user in users:
            send(user, **news)


class _Relay(logging.Handler):
    """Forwards this process's log to its users, whose logs people read."""

    def __init__(self, users: _Users) -> None:
        super().__init__()
        self._users = users

    def emit(self, record: logging.LogRecord) -> None:
        self._users.broadcast(level=record.levelno, log=record.getMessage()[:4000])
