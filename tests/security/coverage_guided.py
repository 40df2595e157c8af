"""Coverage-guided fuzzing of all that reads bytes of a peer: frames, messages, handshake, core.

    python -m tests.security.coverage_guided [SECONDS]

Needs Atheris (``pip install --group fuzz``); ``make test-long`` runs it where that is there. It starts
from one message of each type, and mutates towards code that was not reached yet. Fails on any
exception but those that refuse, on an input that takes ten seconds, and beyond 2 GB of memory.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["fanlight.wire", "fanlight.core", "fanlight.node"]):
    from fanlight.core import effects as fx
    from fanlight.node import admission
    from fanlight.testing.builders import make_core, task_spec
    from fanlight.wire import codec, handshake
    from fanlight.wire.failures import WireError
    from fanlight.wire.framing import HANDSHAKE_LIMIT, FrameReader

from fanlight import messages as m
from tests.security.fuzzing import Maker
from tests.security.shell import TYPES

_CLIENT = b"client".ljust(16, b"\0")
_DECODERS = (
    codec.decode_handshake, codec.decode_from_client, codec.decode_from_node,
    codec.decode_from_caller, codec.decode_from_actor,
)  # fmt: skip


def decoders(data: bytes) -> None:
    for decode in _DECODERS:
        try:
            messages = decode(data)
        except WireError:
            continue
        codec.encode(messages)


def stranger(data: bytes) -> None:
    """What a node does with the bytes of who has proved nothing, in pieces of odd sizes."""
    reader = FrameReader(HANDSHAKE_LIMIT)
    step = 1 + data[0] % 50 if data else 1
    for start in range(0, len(data), step):
        try:
            for frame in reader.feed(data[start : start + step]):
                (hello,) = codec.decode_handshake(frame)
                if isinstance(hello, m.Hello):
                    assert handshake.refusal(hello, "right", admission.ROLES)
        except (WireError, ValueError):
            return
        assert reader.pending <= HANDSHAKE_LIMIT + 4


def clients(data: bytes) -> None:
    """What a core does with the messages of a driver and of a worker that have the token."""
    core = make_core(2, 1, channels=True, forgiving=True)
    gone: set[int] = set()

    def step(stimuli: list[tuple[int, Any]]) -> None:
        effects = core.handle(stimuli, 1.0)
        for messages in effects.out.values():
            codec.encode(messages)
        for action in effects.actions:
            if isinstance(action, fx.DropClient) and action.peer not in gone:
                gone.add(action.peer)
                step([(action.peer, fx.Disconnected())])

    core.start()
    step([(1, fx.Connected("driver", _CLIENT, 1, {}))])
    step([(2, fx.Connected("worker", b"w" * 16, 2, {}, 1))])
    spec = task_spec("f")
    step([(1, m.DefineFunction(spec.function, b"")), (1, m.DefineSpec(1, spec))])
    reader = FrameReader(1 << 16)
    try:
        for number, frame in enumerate(reader.feed(data)):
            peer = 1 + number % 2
            for message in codec.decode_from_client(frame):
                if isinstance(message, m.DefineSpec) and message.spec.num_returns > 1000:
                    continue  # allowed, and slow
                if peer not in gone:
                    step([(peer, message)])
    except WireError:
        pass
    step([(0, fx.Tick())])


def one(data: bytes) -> None:
    if data:
        (decoders, stranger, clients, clients)[data[0] % 4](data[1:])


def corpus(folder: Path) -> None:
    """One message of each type, and pairs of them."""
    make = Maker(1)
    make.known = {
        16: [_CLIENT, b"a" * 16], 24: [_CLIENT + bytes(8)], 28: [_CLIENT + bytes(12), b"a" * 16 + bytes(12)],
    }  # fmt: skip
    make.numbers = [1]
    hello = m.Hello(m.PROTOCOL_VERSION, "wrong", "driver", 1, _CLIENT)
    (folder / "hello").write_bytes(b"\1" + codec.encode([hello]))
    for number, cls in enumerate([*TYPES] * 4):
        try:
            frames = codec.encode([make.struct(cls)]) + codec.encode([make.message(TYPES)])
        except (OverflowError, UnicodeEncodeError):
            continue
        (folder / f"{number}-decode").write_bytes(b"\0" + frames[4:])
        (folder / f"{number}-core").write_bytes(b"\2" + frames)


def fuzz(seconds: str, folder: str) -> None:
    """Does not return: libFuzzer ends the process."""
    options = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}/", folder], one)
    atheris.Fuzz()


def main(seconds: str = "60") -> int:
    with tempfile.TemporaryDirectory(prefix="flt-fuzz-") as folder:
        corpus(Path(folder))
        command = [sys.executable, "-m", "tests.security.coverage_guided", seconds, folder]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    if len(sys.argv) > 2:
        fuzz(*sys.argv[1:])
    sys.exit(main(*sys.argv[1:]))
