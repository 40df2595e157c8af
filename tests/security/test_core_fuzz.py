"""Clients that know the protocol and keep none of it: the core refuses them, and goes on.

Everything that a client could send with the right types, in any order, with ids of things that are
there and of things that are not. The core never raises, its answers can always be encoded, and in the
end a client that keeps the rules gets its work done.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fanlight import ids
from fanlight import messages as m
from fanlight.core import checks
from fanlight.core import effects as fx
from fanlight.core.model import ProtocolViolation
from fanlight.testing.builders import make_core, task_spec
from tests import longrun
from tests.security.shell import Shell

ROOT = Path(__file__).resolve().parents[2]
STEPS = 300  # messages of one core's life, about; then a fresh one, so that none is worn out
CLIENT = b"honest".ljust(16, b"\0")


def live(seed: int) -> Shell:
    shell = Shell(seed, forgiving=True)
    for _ in range(STEPS):
        shell.step()
    return shell


def honest_work(shell: Shell) -> None:
    """A driver that comes afterwards: its task is run, and its result delivered."""
    core = shell.core
    for peer in list(shell.roles):  # those who hold resources, and will not say that they are done
        if peer in shell.roles:
            shell.handle(shell.leave(peer))
    core.handle([(900, fx.Connected("driver", CLIENT, 1, {}))], shell.now)
    # Detached groups and actors hold what they hold until somebody ends them.
    for group in list(core.placement.table):
        shell.handle([(900, m.RemoveGroup(group))])
    for actor in list(core.actors.table):
        shell.handle([(900, m.KillActor(actor))])
    shell.handle([(900, m.Scale(1, 4.0))])  # somebody may have left no CPU
    spec, task = task_spec("honest"), CLIENT + bytes(8)
    function = m.DefineFunction(spec.function, b"code")
    submit = m.Submit(task, 1, b"", [], [])
    effects = core.handle([(900, function), (900, m.DefineSpec(1, spec)), (900, submit)], shell.now)
    for _ in range(100):
        for peer, messages in effects.out.items():
            for x in messages:
                if isinstance(x, m.Execute) and x.task == task:
                    value = m.Value(ids.object_id(task, 0), m.INLINE, b"result")
                    done = core.handle([(peer, m.Done(task, True, [value]))], shell.now)
                    (answer,) = [x for x in done.out[900] if isinstance(x, m.Objects)]
                    assert answer.values[0].data == b"result"
                    return
        stimuli = []
        for action in effects.actions:
            if isinstance(action, fx.SpawnWorker):
                peer = shell.peers()
                client = b"w".ljust(12, b"\0") + peer.to_bytes(4, "big")
                stimuli.append((peer, fx.Connected("worker", client, peer, {}, action.number)))
            elif isinstance(action, fx.KillWorker):
                stimuli += shell.end(action.number)
        shell.now += 1.0
        effects = core.handle(stimuli or [(0, fx.Tick())], shell.now)
    raise AssertionError("an honest task was not run: " + str(core.tasks.table.get(task)))


@pytest.mark.parametrize("seed", range(4))
def test_what_clients_make_up(seed: int) -> None:
    shell = live(seed)
    assert shell.sent > STEPS / 2, "most of it has the right types"
    honest_work(shell)


@pytest.mark.long
def test_what_clients_make_up_for_long() -> None:
    end, seed = time.monotonic() + 300, longrun.seed()
    while time.monotonic() < end:
        try:
            honest_work(live(seed))
        except Exception as e:
            raise AssertionError(f"FANLIGHT_SEED={seed}") from e
        seed += 1


@pytest.mark.long
def test_guided_by_coverage() -> None:
    """The decoders, the handshake and the core, by bytes that reach ever more of their code."""
    pytest.importorskip("atheris")
    command = [sys.executable, "-m", "tests.security.coverage_guided", "300"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=420, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]


def test_unforeseen_errors_end_their_sender_only() -> None:
    core = make_core(forgiving=True)
    core.start()
    for peer in (1, 2):
        core.handle([(peer, fx.Connected("driver", bytes([peer]) * 16, peer, {}))], 0.0)
    core._handlers[m.Subscribe] = lambda peer, x: {}["nothing"]
    effects = core.handle([(1, m.Subscribe([])), (2, m.Query(1, "drivers"))], 0.0)
    (drop,) = effects.actions
    assert isinstance(drop, fx.DropClient)
    assert drop.peer == 1
    assert "Subscribe could not be handled" in drop.reason
    assert "KeyError: 'nothing'" in drop.reason
    assert isinstance(effects.out[2][0], m.Reply)


def test_unforeseen_errors_of_nobody_are_not_hidden() -> None:
    core = make_core(forgiving=True)
    core._handlers[fx.Tick] = lambda peer, x: {}["nothing"]
    with pytest.raises(KeyError):
        core.handle([(0, fx.Tick())], 0.0)
    core = make_core()  # a simulation
    core.start()
    core.handle([(1, fx.Connected("driver", bytes(16), 1, {}))], 0.0)
    core._handlers[m.Subscribe] = lambda peer, x: {}["nothing"]
    with pytest.raises(KeyError):
        core.handle([(1, m.Subscribe([]))], 0.0)


@pytest.mark.parametrize(
    "name", [b"", b"../x", b"/etc/passwd", b"a/b", b"a\0b", b".", b"..", b"\xff", b"x" * 256]
)
def test_a_segment_is_a_file_in_its_directory(name: bytes) -> None:
    """Clients name segments; the node deletes the files of those names."""
    with pytest.raises(ProtocolViolation):
        checks.segment_name(m.Value(bytes(28), m.STORED, name))
    core = make_core()
    core.start()
    core.handle([(1, fx.Connected("driver", bytes(16), 1, {}))], 0.0)
    effects = core.handle([(1, m.Put(m.Value(b"o" * 28, m.STORED, name, 10)))], 0.0)
    assert [type(a) for a in effects.actions] == [fx.DropClient]
    assert not core.objects.segments
