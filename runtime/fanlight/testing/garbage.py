"""Messages that are well formed and make no sense: unknown ids, ids of others, repeated messages,
wrong order. Whoever sends them may be dropped; the core must stay sound, and other clients' work too.

Left out is what anybody who knows the token may do by right, and what nobody but the real sender of
a value can know (a worker's results of its own tasks are believed).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from fanlight import ids
from fanlight import messages as m
from fanlight.testing.actions import ACTOR_SPECS, METHOD_SPECS, SPECS, action
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.workers import SimulatedWorker
from fanlight.testing.world import Draw, World
from fanlight.wire import codec
from fanlight.wire.failures import BadMessage


@action(2)
def stranger(world: World, draw: Draw) -> None:
    """Somebody connects who never says anything sensible."""
    if len(world.mad) < 3:
        role = draw.one(("driver", "driver", "observer", "worker"))
        info = {} if role != "worker" else {"number": "77"}
        world.stranger(role, info)


@action(1)
def go_mad(world: World, draw: Draw) -> None:
    """A client that was all right until now."""
    clients = world.sane()
    if len(world.mad) < 3 and len(clients) > 2:
        client = draw.one(clients)
        if isinstance(client, SimulatedWorker) or len(world.drivers()) > 1:
            world.go_mad(client)


@action(6)
def rave(world: World, draw: Draw) -> None:
    """Mad clients say something."""
    if world.mad:
        client = draw.one(list(world.mad.values()))
        kinds = _FROM_OBSERVER if client.peer in world.observers else _FROM_CLIENT
        for _ in range(1 + draw.below(3)):
            if client.peer not in world.clients:
                return
            world.flush()  # of what there is now
            message = kinds[draw.below(len(kinds))](_Pool(world, client, draw))
            try:
                [message] = codec.decode_from_client(codec.encode([message]))
            except BadMessage:
                continue  # it does not get so far
            client.send(message)
            world.flush()  # else the next one is made of what it would have been told
            if draw.once_in(4):
                client.send(message)


@action(2)
def silence(world: World, draw: Draw) -> None:
    """A mad client ends."""
    if world.mad:
        client = draw.one(list(world.mad.values()))
        world.end(client, "killed by SIGKILL", connection_first=draw.below(2) == 0)


class _Pool:
    """Ids to name: of things that exist, that existed, and that never did."""

    def __init__(self, world: World, client: SimulatedClient, draw: Draw) -> None:
        self.world = world
        self.client = client
        self.draw = draw

    def _of(self, known: Any, unknown: bytes) -> bytes:
        some = list(known)[-20:]
        return self.draw.one([*some, unknown])

    def task(self) -> bytes:
        own = self.client.id + self.draw.below(4).to_bytes(8, "big")
        return self._of(self.world.core.tasks.table, own)

    def own_task(self) -> bytes:
        marks = (b"\0", b"\0", ids.OWN)
        return self.client.id + self.draw.one(marks) + self.draw.below(9).to_bytes(7, "big")

    def fresh(self) -> bytes:
        """A task id that nobody has named before."""
        self.world.fresh += 1
        return self.client.id + b"\x20" + self.world.fresh.to_bytes(7, "big")

    def new_oid(self) -> bytes:
        """To be made: one that exists, or one that nobody has named before."""
        return self._of(self.world.core.objects.table, ids.object_id(self.fresh(), 0))

    def oid(self) -> bytes:
        own = ids.object_id(self.own_task(), self.draw.below(3))
        return self._of(self.world.core.objects.table, own)

    def oids(self) -> list[bytes]:
        return [self.oid() for _ in range(self.draw.below(3))]

    def actor(self) -> bytes:
        return self._of(self.world.core.actors.table, b"no actor".ljust(16, b"x"))

    def group(self) -> bytes:
        return self._of(self.world.core.placement.table, b"no group".ljust(16, b"x"))

    def segment(self) -> str:
        names = [*self.world.core.objects.segments][-10:]
        name = self.draw.one([*names, f"{self.client.peer}-x{self.draw.below(3)}"])
        self.world.files.add(name)
        return name

    def spec(self) -> int:
        known = list(self.world.core.clients[self.client.peer].specs) if self.known else []
        return self.draw.one([*known, 1, 999])

    @property
    def known(self) -> bool:
        return self.client.peer in self.world.core.clients

    def value(self, oid: bytes) -> m.Value:
        inside = self.oids() or None
        kind = self.draw.below(6) - 1
        if kind == m.STORED:
            return m.Value(oid, kind, self.segment().encode(), 300, inside)
        return m.Value(oid, kind, b"12345678", 8, inside)

    def text(self) -> str:
        return self.draw.one(("", "a", "g", "<b>", "\0"))

    def where(self) -> m.Where | None:
        return self.draw.one(
            (None, m.Where(self.group(), self.draw.below(4) - 2), m.Where(node="x"))
        )


def _spec(p: _Pool) -> m.DefineSpec:
    spec = p.draw.one((*SPECS, *ACTOR_SPECS, *METHOD_SPECS))
    spec = msgspec.structs.replace(spec, where=p.where(), function=p.draw.one((b"f", b"", b"?")))
    odd = p.draw.below(9)
    if odd == 8:
        spec.resources = {"CPU": p.draw.one((-10_000, 0, 10**15))}
    elif odd == 7:
        spec.num_returns = p.draw.one((-3, -(10**9)))
    elif odd == 6:
        spec.max_concurrency = p.draw.one((0, -1))
    elif odd == 5:
        spec.kind = p.draw.one((-1, 3, m.ACTOR_CREATE))
    elif odd == 4:
        spec.env = p.text()
    elif odd == 3:
        spec.groups = {"io": p.draw.one((0, -5))}
    elif odd == 2:
        spec.where = m.Where(labels={"zone": p.draw.one(([], ["?"], ["in"]))})
    return m.DefineSpec(1 + p.draw.below(3), spec)


def _create_actor(p: _Pool) -> m.CreateActor:
    name = p.text()
    return m.CreateActor(
        p.draw.one((*p.world.core.actors.table, p.fresh()[-16:])),
        p.draw.one((p.fresh(), p.task())), p.spec(), b"", p.oids(), p.oids(), b"", name, "", p.draw.below(2) == 1,
        p.draw.below(3) - 1, p.draw.below(2), b"", p.draw.below(2), p.draw.below(2) == 1,
    )  # fmt: skip


def _bundles(p: _Pool) -> list[dict[str, int]]:
    return [
        {"CPU": p.draw.one((10_000, 5000, 0, -10_000)), "GPU": p.draw.one((0, 5000, 10_000, -1))}
        for _ in range(p.draw.below(3))
    ]


def _submit(p: _Pool) -> m.Submit:
    actor = p.draw.one((b"", b"", p.actor()))
    return m.Submit(
        p.draw.one((p.fresh(), p.task())), p.spec(), b"", p.oids(), p.oids(),
        p.draw.one((b"", p.task())), actor, p.draw.below(3), p.draw.below(2),
    )  # fmt: skip


def _metrics(p: _Pool) -> m.Metrics:
    bounds, counts = p.draw.one((([], []), ([1.0], [1, 2]), ([1.0], []), ([], [1])))
    return m.Metrics([m.MetricChange(p.text(), p.draw.below(5) - 1, "", {}, 1.0, bounds, counts)])


def _calls(p: _Pool) -> m.Calls:
    record = m.CallRecord(
        p.draw.one((p.own_task(), p.task())), p.spec(), b"", p.draw.below(7) - 1, 1.0, 0.1
    )
    total = m.CallSum(p.draw.one((p.client.id, b"?")), p.spec(), p.draw.below(3), 0.1)
    return m.Calls([record], [total])


_Maker = Callable[[_Pool], Any]
_FROM_OBSERVER: tuple[_Maker, ...] = (
    lambda p: m.Cancel(p.task(), p.draw.below(2) == 1, p.draw.below(2) == 1),
    lambda p: m.KillActor(p.actor(), p.draw.below(2) == 1),
    lambda p: m.Query(p.draw.below(3), p.text(), {}),
    lambda p: m.CancelGroups(p.draw.below(3), [p.draw.below(9)], p.draw.below(2) == 1),
    lambda p: m.Scale(p.draw.below(3), p.draw.one((0.0, 1.5, 3.0, -1.0, 1e300, float("nan")))),
)
_FROM_CLIENT: tuple[_Maker, ...] = (
    *_FROM_OBSERVER,
    lambda p: m.DefineFunction(p.draw.one((b"f", b"g")), b"code"),
    _spec,
    _spec,
    _spec,
    _submit,
    _submit,
    _submit,
    _create_actor,
    lambda p: m.Put(p.value(p.new_oid())),
    lambda p: m.Put(p.value(p.new_oid())),
    lambda p: m.AddRefs(p.oids()),
    lambda p: m.DropRefs(p.oids()),
    lambda p: m.Subscribe(p.oids()),
    lambda p: m.Reserve(p.draw.below(3), p.draw.one((0, 100, -100, 10**18, -(10**18)))),
    lambda p: m.CallSite(p.oids(), p.text()),
    lambda p: m.RefFacts([m.RefFact(oid, [p.text()]) for oid in p.oids()]),
    lambda p: m.Forget([p.spec()], [p.draw.one((b"f", b"?"))]),
    lambda p: m.Unmapped([p.segment()]),
    lambda p: m.DefineEnvironment(p.draw.one(("x", "vars", "")), b"{}", "", p.draw.below(2) == 1),
    lambda p: m.CreateGroup(
        p.draw.one((*p.world.core.placement.table, p.fresh()[-16:])),
        _bundles(p),
        p.draw.one(("PACK", "PACK", "?")),
        p.text(),
    ),
    lambda p: m.CreateGroup(p.fresh()[-16:], _bundles(p), "PACK", p.text(), "", True, 1),
    lambda p: m.RemoveGroup(p.group()),
    lambda p: m.GroupReady(p.group(), p.new_oid(), b"ready"),
    _metrics,
    lambda p: m.Connect(p.actor(), p.draw.below(3)),
    lambda p: m.Declare([p.new_oid()]),
    lambda p: m.LostCall(
        p.draw.one((p.fresh(), p.task())), p.spec(), p.actor(), p.draw.below(2), [p.new_oid()]
    ),
    lambda p: m.Done(p.task(), p.draw.below(2) == 1, [], 1.0),
    lambda p: m.Blocked(p.task(), [p.task()]),
    lambda p: m.Unblocked(p.task()),
    lambda p: m.Returned([p.task()]),
    lambda p: m.Output(p.task(), "stdout", b"text", "", 0, "", p.draw.below(3)),
    lambda p: m.ActorExit(p.actor(), p.text()),
    lambda p: m.EnvironmentEntered(p.text()),
    lambda p: m.Yield(p.task(), [], p.draw.below(2) == 1),
    lambda p: m.Consumed(p.task(), p.draw.below(9) - 2, p.draw.below(2) == 1),
    lambda p: m.Listening("nowhere"),
    lambda p: m.Fetch(p.draw.below(3), p.oid()),
    lambda p: m.Withdraw(p.draw.below(4)),
    lambda p: m.GaveUp(p.draw.below(4)),
    lambda p: m.LostObject(p.draw.one((p.oid(), b"")), p.segment(), p.text(), p.draw.below(2) == 1),
    lambda p: m.Deliver(p.spec(), [p.value(ids.object_id(p.fresh(), 0))]),
    _calls,
)
