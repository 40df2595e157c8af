"""Runs the subjects: one process per peer and round, one request per row, a cap on each."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .peers import Peer, environment
from .rows import OWN, Curve, Row

START_CAP = 90.0  # seconds for a peer to start and run its first task


MEMORY_FLOOR = 0.03  # of the machine's memory: below it a subject is stopped


def memory_left() -> float:
    """The share of the machine's memory that is free to use; 1 where that is not told."""
    facts = {}
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, amount = line.partition(":")
            facts[name] = int(amount.split()[0])
        return facts["MemAvailable"] / facts["MemTotal"]
    except (OSError, ValueError, LookupError):
        return 1.0


class NoAnswer(Exception):
    """The subject ended, or took longer than its cap; ``stacks`` then says where it was."""

    stacks = ""


class Subject:
    """One running peer. Leaves no process and no file behind, however it ended."""

    def __init__(self, peer: Peer, cpus: int) -> None:
        self.mark = uuid.uuid4().hex
        # Short: the paths of unix sockets are bounded.
        self.temp = tempfile.mkdtemp(prefix="flb-", dir="/tmp" if os.path.isdir("/tmp") else None)
        self.log = open(os.path.join(self.temp, "log"), "w+")  # noqa: SIM115
        self._buffer = b""
        mine, theirs = os.pipe()
        self._replies = mine
        env = environment(peer, self.mark, self.temp)
        env["BENCH_REPLY_FD"] = str(theirs)
        try:
            self.process = subprocess.Popen(
                peer.command(cpus),
                stdin=subprocess.PIPE,
                stdout=self.log,
                stderr=self.log,
                env=env,
                cwd=self.temp,
                pass_fds=(theirs,),
                start_new_session=True,
                text=True,
            )
        except OSError:
            self._remove()
            raise
        finally:
            os.close(theirs)

    def answer(self, cap: float) -> dict[str, Any]:
        """The next answer. Raises NoAnswer when ``cap`` seconds pass or the subject ends."""
        deadline = time.monotonic() + cap
        with selectors.DefaultSelector() as selector:
            selector.register(self._replies, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                left = deadline - time.monotonic()
                if left <= 0:
                    late = NoAnswer(f"no answer within {cap:.0f} s")
                    late.stacks = self._stacks()
                    raise late
                if selector.select(min(left, 0.5)):
                    data = os.read(self._replies, 1 << 16)
                    if not data:
                        raise NoAnswer(f"it ended: {self.last_words()}")
                    self._buffer += data
                elif self.process.poll() is not None:
                    raise NoAnswer(f"it ended: {self.last_words()}")
                elif memory_left() < MEMORY_FLOOR:
                    raise NoAnswer("it was stopped: it had taken nearly all of the memory")
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, request: dict[str, Any], cap: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except OSError as e:
            raise NoAnswer(f"it ended: {self.last_words()}") from e
        return self.answer(cap)

    def last_words(self) -> str:
        self.log.flush()
        lines = Path(self.log.name).read_text(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else f"exit status {self.process.poll()}"

    def _stacks(self) -> str:
        """Python's stacks in the subject, which writes them to its log when asked."""
        log = Path(self.log.name)
        before = log.stat().st_size
        self.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + 1.0
        while log.stat().st_size == before and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.05)
        return log.read_bytes()[before:].decode(errors="replace")

    def close(self, grace: float = 20.0) -> int:
        """End it; gives how many of its processes had to be killed."""
        try:
            if self.process.stdin is not None:
                self.process.stdin.close()
        except OSError:
            pass
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        deadline = time.monotonic() + min(grace, 5.0)
        while (left := self._processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._remove()
        return len(left)

    def _processes(self) -> list[int]:
        """What this subject started and still runs: marked in its environment, or in its session."""
        mark = f"BENCH_MARK={self.mark}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                marked = mark in (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if fields[0] != "Z" and (marked or fields[3] == str(self.process.pid)):
                found.append(int(entry.name))
        return found

    def _remove(self) -> None:
        self.log.close()
        os.close(self._replies)
        shutil.rmtree(self.temp, ignore_errors=True)


class Plan:
    """What to run: the settings that go with every request, and the rounds."""

    def __init__(
        self,
        rows: Sequence[Row | Curve],
        cpus: int,
        rounds: int,
        quick: bool,
        full: bool = False,
    ) -> None:
        self.rows = rows
        self.cpus = cpus
        self.rounds = rounds
        self.quick = quick
        self.settings: dict[str, Any] = {
            "seconds": 0.3 if quick else 1.5,
            "settle": 0.5 if quick else 3.0,
            "large_mb": 64 if quick else 256,
            "get_mb": 256 if quick else 1000,
            "queued": 1_000_000,
            "chain": 200 if quick else 1000,
            "graph": 1_110 if quick else 100_000 if full else 22_200,
            "tree": 128 if quick else 1024,
            "args": 1000 if quick else 10_000,
            "returns": 300 if quick else 3000,
            "nested": 500 if quick else 4000,
            "huge_gb": 8.0,
            "actors": 1000,
            "actors_seconds": 240,
            "finished": 10_000_000,
            "finished_seconds": 900,
            "curve_tasks": 1000 if quick else 100_000 if full else 10_000,
            "curve_mb": 2 if quick else 128,
        }

    def cap(self, row: Row | Curve) -> float:
        return max(15.0, row.cap / 4) if self.quick else row.cap


Samples = dict[str, dict[str, list[dict[str, Any]]]]  # row's request -> peer -> answers


def run(plan: Plan, peers: Sequence[Peer], say: Callable[[str], None]) -> tuple[Samples, dict]:
    """Measure; gives the answers and each peer's version.

    The peers take turns, round by round, so that a change in the machine's load meets all of them.
    """
    samples: Samples = {}
    versions: dict[str, str] = {}
    for number in range(plan.rounds):
        for peer in peers:
            say(f"round {number + 1}/{plan.rounds}: {peer.title}")
            _one_session(plan, peer, number, samples, versions, say)
    return samples, versions


def _one_session(
    plan: Plan,
    peer: Peer,
    number: int,
    samples: Samples,
    versions: dict[str, str],
    say: Callable[[str], None],
) -> None:
    def note(request: str, answer: dict[str, Any]) -> None:
        samples.setdefault(request, {}).setdefault(peer.name, []).append(answer)
        if "error" in answer:
            say(f"  {request}: {answer['error']}")

    requests = list(dict.fromkeys(row.asks for row in plan.rows))
    caps = {row.asks: plan.cap(row) for row in plan.rows}
    once = {row.asks for row in plan.rows if row.full_only or row.once}
    waiting = [r for r in requests if r != "startup" and not (r in once and number > 0)]
    if peer.name == "raw":  # its start is a fork, which nobody is compared with
        requests = waiting
    subject = None
    try:
        while True:
            if subject is None:
                subject = Subject(peer, plan.cpus)
                try:
                    hello = subject.answer(START_CAP)
                except NoAnswer as e:
                    for request in dict.fromkeys([*requests[:1], *waiting]):
                        note(request, {"error": f"did not start: {e}"})
                    return
                versions[peer.name] = hello["version"]
                if "startup" in requests:
                    note("startup", {"value": hello["startup"]})
                    requests = waiting
            if not waiting:
                return
            request = waiting.pop(0)
            begin = time.monotonic()
            try:
                answer = subject.ask({"row": request, **plan.settings}, caps[request])
                answer["took"] = round(time.monotonic() - begin, 3)
                note(request, answer)
            except NoAnswer as e:
                note(request, {"error": str(e)} | ({"stacks": e.stacks} if e.stacks else {}))
                if e.stacks:
                    say(e.stacks)
                subject.close(grace=2.0)
                subject = None
                if not waiting:
                    return
    finally:
        if subject is not None:
            killed = subject.close()
            if killed and peer.name == OWN:
                say(f"  {killed} processes were left over and had to be killed")
                note("leftovers", {"value": killed})
