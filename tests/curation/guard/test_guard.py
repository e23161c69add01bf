"""Children that crash, hang, swell, babble or are left alone: each costs its own call and nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curation import guard
from curation.guard import Child, Crashed, Limits, OutOfMemory, Overflowed, Stopped, TimedOut
from curation.rejects import MESSAGE_CHARS, Kind, Rejected

LIMITS = Limits(wall_s=120, memory_bytes=1 << 30)
HERE = __name__


# --- functions for the child ----------------------------------------------------------------------------------------


def echo(argument: dict[str, Any]) -> dict[str, Any]:
    sys.stdout.write("a library that prints")
    sys.stdout.flush()
    return argument | {"pid": os.getpid()}


def secrets(argument: dict[str, Any]) -> dict[str, Any]:
    return {"environment": sorted(os.environ)}


def toil(argument: dict[str, Any]) -> dict[str, Any]:
    until = time.process_time() + argument["seconds"]
    while time.process_time() < until:
        pass
    return {}


def reject(argument: dict[str, Any]) -> dict[str, Any]:
    raise Rejected(Kind.CORRUPT, "half of it is missing")


def reject_in_halves(argument: dict[str, Any]) -> dict[str, Any]:
    raise Rejected(Kind.CORRUPT, "half \ud83d " + "x" * 5000)


def fail(argument: dict[str, Any]) -> dict[str, Any]:
    raise ValueError("nobody\nforesaw this")


def segfault(argument: dict[str, Any]) -> dict[str, Any]:
    ctypes.string_at(0)
    return {}


def hang(argument: dict[str, Any]) -> dict[str, Any]:
    time.sleep(1000)
    return {}


def hang_holding_the_gil(argument: dict[str, Any]) -> dict[str, Any]:
    Path(argument["started"]).touch()
    ctypes.PyDLL(None).sleep(1000)
    return {}


def swell(argument: dict[str, Any]) -> dict[str, Any]:
    hoard = [bytearray(1 << 26)]
    while True:
        hoard.append(bytearray(1 << 26))


def babble(argument: dict[str, Any]) -> dict[str, Any]:
    return {"text": "x" * (2 << 20)}


def spoof(argument: dict[str, Any]) -> dict[str, Any]:
    """As a subverted child would: write to every pipe that it holds."""
    for fd in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208
        with contextlib.suppress(OSError):
            os.write(fd, argument["text"].encode() + b"\n")
    return {}


def grandchild(argument: dict[str, Any]) -> dict[str, Any]:
    subprocess.Popen(["sleep", "1000"])
    Path(argument["started"]).touch()
    time.sleep(1000)
    return {}


# --- tests ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.close()


def test_a_healthy_child_is_used_again_and_may_print(child: Child) -> None:
    first = child.call(f"{HERE}:echo", {"a": [1, 2.5, "ä"]}, LIMITS)
    assert first["a"] == [1, 2.5, "ä"]
    assert child.call(f"{HERE}:echo", {}, LIMITS)["pid"] == first["pid"] != os.getpid()


def test_the_processor_seconds_of_an_answer_count_for_the_thread_that_asked(child: Child) -> None:
    child.call(f"{HERE}:echo", {}, LIMITS)
    begun = guard.processor_s()
    child.call(f"{HERE}:toil", {"seconds": 0.3}, LIMITS)
    assert 0.25 <= guard.processor_s() - begun < 2.0  # measured in hundredths of a second
    of_others: list[float] = []
    thread = threading.Thread(target=lambda: of_others.append(guard.processor_s()))
    thread.start()
    thread.join()
    assert of_others[0] < 0.2


def test_a_large_argument_arrives(child: Child) -> None:
    text = "x" * (3 << 20)
    assert child.call(f"{HERE}:echo", {"text": text}, Limits(20, 1 << 30, 8 << 20))["text"] == text


def test_rejected_arrives_as_rejected_and_spares_the_child(child: Child) -> None:
    pid = child.call(f"{HERE}:echo", {}, LIMITS)["pid"]
    with pytest.raises(Rejected) as caught:
        child.call(f"{HERE}:reject", {}, LIMITS)
    assert caught.value.kind is Kind.CORRUPT and caught.value.message == "half of it is missing"
    assert child.call(f"{HERE}:echo", {}, LIMITS)["pid"] == pid


@pytest.mark.parametrize(
    ("function", "error", "says"),
    [
        ("fail", Crashed, "ValueError: nobody"),
        ("segfault", Crashed, "SIGSEGV"),
        ("hang", TimedOut, "no end after 1 s"),
        ("swell", OutOfMemory, "MemoryError"),
        ("babble", Overflowed, "bytes of output"),
        ("no_such_function", Crashed, "no_such_function"),
    ],
)
def test_what_goes_wrong_costs_the_call(child: Child, function: str, error: type[Exception], says: str) -> None:
    pid = child.call(f"{HERE}:echo", {}, LIMITS)["pid"]
    begun = time.monotonic()
    with pytest.raises(error, match=says):
        child.call(f"{HERE}:{function}", {}, Limits(1 if function == "hang" else 120, 1 << 30))
    assert time.monotonic() - begun < 60
    assert has_ended(pid)
    assert child.call(f"{HERE}:echo", {"next": 1}, LIMITS)["next"] == 1


def say(argument: dict[str, Any]) -> dict[str, Any]:
    return {"said": eval(argument["code"])}  # noqa: S307


NONSENSE = (
    '{"result": {"a": NaN}, "processor_s": 0}',
    '{"result": {"a": 1e999}, "processor_s": 0}',
    f'{{"result": {{"a": {2**63}}}, "processor_s": 0}}',
    f'{{"result": {{"a": {"[" * 200}{"]" * 200}}}, "processor_s": 0}}',
    f'{{"result": {{"a": {"9" * 5000}}}, "processor_s": 0}}',
    '{"result": null, "kind": "no kind", "message": "", "processor_s": 0}',
    "{",
    "[" * 100_000,
    "7",
    '{"result": 3, "processor_s": 0}',
    '{"result": null, "kind": [], "processor_s": 0}',
    '{"result": {}}',
    '{"result": {}, "processor_s": -1}',
    '{"result": {}, "processor_s": NaN}',
    '{"result": {}, "processor_s": "1"}',
    "\xff",
)


@pytest.mark.hostile("media")
@pytest.mark.parametrize("text", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_from_a_subverted_child_is_a_crash(child: Child, text: str) -> None:
    with pytest.raises(Crashed):
        child.call(f"{HERE}:spoof", {"text": text}, LIMITS)
    assert child.call(f"{HERE}:echo", {"next": 1}, LIMITS)["next"] == 1


@pytest.mark.hostile("text")
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (r"'cut \ud83d'", "cut \ufffd"),
        (r"{'\udc00': ['\ud83d']}", {"\ufffd": ["\ufffd"]}),
        (r"'\ud83d' + '\ude00'", "\U0001f600"),
        ("b'caf\\xe9'.decode(errors='surrogateescape')", "caf\ufffd"),
    ],
)
def test_texts_of_a_child_can_be_stored(child: Child, code: str, said: Any) -> None:
    assert child.call(f"{HERE}:say", {"code": code}, LIMITS)["said"] == said


@pytest.mark.hostile("text")
def test_the_message_of_a_reject_can_be_stored(child: Child) -> None:
    with pytest.raises(Rejected) as caught:
        child.call(f"{HERE}:reject_in_halves", {}, LIMITS)
    assert caught.value.message == "half \ufffd " + "x" * (MESSAGE_CHARS - 7)


def test_a_child_sees_no_keys(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    assert "AWS_SECRET_ACCESS_KEY" not in child.call(f"{HERE}:secrets", {}, LIMITS)["environment"]
    assert b"hush" not in guard.run(["env"], LIMITS)


def test_a_child_is_renewed_after_enough_calls(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.guard.child.CALLS_PER_CHILD", 2)
    pids = [child.call(f"{HERE}:echo", {}, LIMITS)["pid"] for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_a_child_that_has_grown_is_renewed(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.guard.child.RESIDENT_BYTES_PER_CHILD", 1 << 20)
    pids = {child.call(f"{HERE}:echo", {}, LIMITS)["pid"] for _ in range(2)}
    assert len(pids) == 2


def test_the_pool_serves_several_threads() -> None:
    answers: dict[int, dict[str, Any]] = {}

    def work(i: int) -> None:
        answers[i] = guard.call(f"{HERE}:echo", {"i": i}, LIMITS)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {i: answer["i"] for i, answer in answers.items()} == {i: i for i in range(4)}


def test_a_command_gives_its_output() -> None:
    assert guard.run(["echo", "hello"], LIMITS) == b"hello\n"
    assert guard.run(["cat"], LIMITS) == b""  # there is no standard input


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        ("import sys; sys.exit('broken')", Crashed, "exit code 1: broken"),
        ("import os; os.kill(os.getpid(), 11)", Crashed, "SIGSEGV"),
        ("import time; time.sleep(1000)", TimedOut, "no end after 1 s"),
        ("import os; os.close(1); os.close(2); import time; time.sleep(1000)", TimedOut, "no end after 1 s"),
        ("x = bytearray(4 << 30)", OutOfMemory, "MemoryError"),
        ("while True: print('x' * 10000)", Overflowed, "bytes of output"),
    ],
)
def test_a_command_that_goes_wrong(code: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        guard.run([sys.executable, "-c", code], Limits(1 if error is TimedOut else 20, 1 << 30))


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(Crashed, match="cannot start no-such-command"):
        guard.run(["no-such-command"], LIMITS)


def test_what_a_command_left_running_is_ended() -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '1000'], stdout=-3, stderr=-3).pid)"
    assert has_ended(int(guard.run([sys.executable, "-c", code], LIMITS)))


@pytest.mark.parametrize("function", ["hang_holding_the_gil", "grandchild"])
def test_a_parent_killed_leaves_no_process(tmp_path: Path, function: str) -> None:
    started = tmp_path / "started"
    code = f"""
        import sys, threading
        sys.path[:0] = {sys.path!r}
        from curation import guard
        limits = guard.Limits(1000, 1 << 30)
        threading.Thread(target=guard.run, args=(["sleep", "1000"], limits), daemon=True).start()
        guard.call("{HERE}:{function}", {{"started": {str(started)!r}}}, limits)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    wait_until(started.exists)
    family = descendants(parent.pid)
    assert len(family) >= 4  # two launchers, the child, sleep
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for pid in family:
        assert has_ended(pid)


def test_stop_all_ends_calls_in_other_threads() -> None:
    caught: list[BaseException] = []

    def work(target: Any, *args: Any) -> None:
        try:
            target(*args)
        except BaseException as error:
            caught.append(error)

    guard.stop_all()  # no idle child is left
    guard.resume()
    before = descendants(os.getpid())
    hanging = [
        threading.Thread(target=work, args=(guard.call, f"{HERE}:hang", {}, Limits(300, 1 << 30))),
        threading.Thread(target=work, args=(guard.run, ["sleep", "1000"], Limits(300, 1 << 30))),
    ]
    try:
        for thread in hanging:
            thread.start()
        wait_until(lambda: len(descendants(os.getpid()) - before) >= 4)
        begun = time.monotonic()
        guard.stop_all()
        for thread in hanging:
            thread.join()
        assert time.monotonic() - begun < 60
        assert [type(error) for error in caught] == [Stopped, Stopped]
        with pytest.raises(Stopped):
            guard.call(f"{HERE}:echo", {}, LIMITS)
        assert descendants(os.getpid()) <= before
    finally:
        guard.resume()
    assert guard.call(f"{HERE}:echo", {"i": 1}, LIMITS)["i"] == 1


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            for child in (task / "children").read_text().split():
                found |= {int(child)} | descendants(int(child))
        except OSError:
            continue
    return found


def has_ended(pid: int) -> bool:
    """Whether the process ends within seconds; one that is dead but not yet reaped has ended."""

    def ended() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    wait_until(ended)
    return True


def wait_until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
