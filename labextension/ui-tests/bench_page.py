"""A panel in a bare page that is fed a recorded run: for frame times and memory, without a cluster.

:class:`Run` makes the stream of a run of any size: events, and the columns with which the runtime
would answer the graph's questions. :func:`show` draws the panel in a page and answers its questions
from that; :func:`frames` measures how long frames take while something goes on. All of it is
deterministic. Timings depend on the machine, so compare them with those of an empty page, times
:func:`slowness`: an empty page waits for the screen, which is as fast on a slow machine.
"""

from __future__ import annotations

import base64
from array import array
from dataclasses import dataclass, field
from typing import Any

import msgspec
from playwright.sync_api import Page

from fanlight import events as ev
from fanlight import standalone
from tests.labextension.fake_node import Simulation

STATES = ("PENDING_ARGS", "PENDING_RESOURCES", "SUBMITTED", "RUNNING", "FINISHED", "FAILED",
          "CANCELLED")  # fmt: skip
RUNNING, FINISHED, FAILED = 3, 4, 5
START = 1_800_000_000.0
YARDSTICK = 9.0  # milliseconds, where the limits of frame times were set

# A socket that is fed by the test, and answers questions from `bench.answers`.
_SHOW = """
([status, snapshot, title, paged]) => {
    const bench = window.bench = { answers: {}, asked: [], paged };
    for (const what of Object.keys(paged))
        bench.answers[what] = query => bench.paged[what].find(page => page.next > query.after)
            ?? { ...bench.paged[what].at(-1), records: '', next: query.after };
    const socket = {
        close: () => {},
        send: text => {
            const { type, id, query } = JSON.parse(text);
            if (type !== 'ask') return;
            bench.asked.push(query);
            const data = bench.answers[query.what]?.(query);
            if (data !== undefined)
                setTimeout(() => bench.feed(JSON.stringify({ type: 'answer', id, data })));
        }
    };
    bench.feed = text => socket.onmessage({ data: text });
    const session = new FanlightStandalone.Session({
        connect: () => socket,
        diagnose: async () => '',
        schedule: run => requestAnimationFrame(run)
    });
    bench.shown = FanlightStandalone.show(
        document.getElementById('fanlight-host'), session, { title });
    return new Promise(done => {
        const open = () => {
            if (!socket.onopen) return requestAnimationFrame(open);
            socket.onopen();
            bench.feed(status);
            bench.feed(snapshot);
            done();
        };
        open();
    });
}
"""

# Milliseconds from frame to frame, while `step` (JavaScript) is done in each.
_FRAMES = """
count => new Promise(done => {
    const each = STEP;
    const times = [];
    let last = 0;
    const frame = now => {
        if (last) times.push(now - last);
        last = now;
        if (times.length >= count) return done(times);
        each(times.length);
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
})
"""

# Milliseconds of a loop that is all arithmetic, the middle one of some: what others take shows, too.
_LOOP = """() => {
    const times = [];
    for (let k = 0; k < 7; k++) {
        const begin = performance.now();
        const table = new Float64Array(1024);
        for (let i = 0; i < 4e6; i++) table[i & 1023] += Math.sqrt(i);
        times.push(performance.now() - begin);
    }
    return times.sort((a, b) => a - b)[3];
}"""


@dataclass
class Run:
    """``tasks`` tasks of ``groups`` functions that hand results on, in the state of a run under way."""

    tasks: int
    groups: int = 8
    others: int = 300  # tasks of each function but the first, which has the rest
    ended: float = 0.6  # part of the tasks
    seq: int = 0
    changed: int = 0
    state: array[int] = field(default_factory=lambda: array("B"))
    cursor: int = 1
    now: float = START
    slots: list[int] = field(default_factory=list)  # that the last delta changed

    def __post_init__(self) -> None:
        self.first = self.tasks - self.others * (
            self.groups - 1
        )  # tasks of the large group, the first
        assert self.first > 0
        for i in range(self.first):
            done = i < self.ended * self.first
            self.state.append((FAILED if i % 97 == 5 else FINISHED) if done else 0)
        under_way = int(self.ended * self.first)
        for i in range(under_way, min(self.first, under_way + 64)):
            self.state[i] = RUNNING

    def group(self, number: int) -> ev.GroupView:
        counts = dict.fromkeys(STATES, 0)
        if number == 0:
            for code in self.state:
                counts[STATES[code]] += 1
        else:
            counts["FINISHED"] = self.others
        return ev.GroupView(
            id=number + 1,
            name=f"step_{number}" if number else "simulate",
            kind="task",
            origin=f"cell-{number % 3}",
            counts=counts,  # type: ignore[arg-type]
            duration=12.0,
            first=START + number,
            last=START + 10,
        )

    def snapshot(self) -> str:
        made = Simulation().snapshot()
        edges = [
            self._edge(source, target)
            for target in range(1, self.groups)
            for source in {0, target // 2}
        ]
        made.groups = [self.group(i) for i in range(self.groups)]
        made.edges = edges
        made.tasks = []
        self.seq = made.seq
        self.now = made.time
        return _json(made)

    def status(self) -> str:
        return _json({"type": "status", "state": "live", "reason": "", "runtime_id": "simulated"})

    def delta(self, change: int) -> str:
        """The next event: so many tasks of the large group end, and others start."""
        self._advance(change)
        return self._delta([self.group(0)], [])

    def more_groups(self, count: int) -> str:
        """The next event: there are more functions, which take results of the first."""
        new = range(self.groups, self.groups + count)
        self.groups += count
        return self._delta([self.group(i) for i in new], [self._edge(0, i) for i in new])

    def _edge(self, source: int, target: int) -> ev.EdgeView:
        return ev.EdgeView(
            source=source + 1, target=target + 1, count=self.others, kind="data", bytes=64_000_000
        )

    def _delta(self, groups: list[ev.GroupView], edges: list[ev.EdgeView]) -> str:
        self.seq += 1
        self.now += 0.5
        return _json(
            ev.Delta(
                seq=self.seq, time=self.now, runtime=None, groups=groups, edges=edges,
                tasks=[], workers=None, actors=[], gpus=None, store=None, objects=None, errors=[],
            )
        )  # fmt: skip

    def _advance(self, change: int) -> None:
        self.slots = []
        running = [i for i, code in enumerate(self.state) if code == RUNNING][:change]
        waiting = [i for i, code in enumerate(self.state) if code == 0][: len(running)]
        for slots, code in ((running, FINISHED), (waiting, RUNNING)):
            for i in slots:
                self.state[i] = code
            self.slots += slots
        self.cursor += 1

    def columns(self, whole: bool) -> dict[str, Any]:
        """The answer to `group_tasks` about the large group: all, or what the last delta changed."""
        slots = range(self.first) if whole else self.slots
        zeros = array("d", bytes(8 * len(slots)))
        return {
            "group": 1,
            "cursor": self.cursor,
            "reset": whole,
            "slots": self.first,
            "total": self.first,
            "slot": _packed(array("I", slots)),
            "ids": base64.b64encode(b"".join(i.to_bytes(24, "big") for i in slots)).decode(),
            "state": _packed(array("B", [self.state[i] for i in slots])),
            "depth": _packed(array("H", [i * 20 // self.first for i in slots])),
            "worker": _packed(array("I", [1 + i % 8 for i in slots])),
            "submitted": _packed(array("d", [START + i * 0.001 for i in slots])),
            "started": _packed(zeros),
            "finished": _packed(zeros),
        }


def show(
    page: Page, run: Run, title: str = "bench", paged: dict[str, list[Any]] | None = None
) -> None:
    """Draw the panel of this run in an empty page. Raises FileNotFoundError without a bundle.

    ``paged`` are answers that come page by page, of questions that are asked at once.
    """
    page.set_content(standalone.page(title, "nobody"))
    page.evaluate("() => document.getElementById('fanlight-host').replaceChildren()")
    page.evaluate(_SHOW, [run.status(), run.snapshot(), title, paged or {}])
    answer(page, "group_tasks", run.columns(whole=True))


def answer(page: Page, what: str, data: Any) -> None:
    """From now on, answer this question so."""
    page.evaluate("([what, data]) => { bench.answers[what] = () => data; }", [what, data])


def feed(page: Page, event: str) -> None:
    page.evaluate("text => bench.feed(text)", event)


def frames(page: Page, count: int, step: str = "() => {}") -> list[float]:
    """Milliseconds of so many frames; ``step`` is a JavaScript function that is called in each."""
    times: list[float] = page.evaluate(_FRAMES.replace("STEP", step), count)
    return times


def slowness(page: Page) -> float:
    """How many times as long as where the limits were set all takes now; 1 on a fast machine."""
    return max(1.0, float(page.evaluate(_LOOP)) / YARDSTICK)


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _packed(values: array[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
