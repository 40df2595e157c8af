"""The kernel's end of ``fanlight.panel()``: serves the pages that show one widget.

Each page has a :class:`Follower <fanlight_lab.follow.Follower>`, as each browser has on the server.
Until the first page has said something there is one for all of them, since a page without subshells
is heard only when the kernel has time; it begins anew every few seconds, for pages that come later.

Nobody tells a kernel that a page was closed. So a page is asked now and then whether it is there, and
one that is silent although the kernel had time to hear it is dropped; it may come again.

Jupyter servers drop what a kernel sends faster than 1 MB a second. So what is large is compressed, cut,
and sent no faster than :data:`PACE`; the follower waits for that, and gives a page that is too slow a
snapshot in place of what it missed. Messages are numbered: a page that misses one begins anew.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import threading
import time
import weakref
import zlib
from collections.abc import Callable
from typing import Any

from fanlight import session, standalone
from fanlight_lab.follow import Follower
from fanlight_lab.messages import MESSAGE_LIMIT, Follow
from fanlight_lab.watch import RuntimeWatcher

ALL = ""  # the name of all pages
PAGES = 8  # of one widget; the one that was silent longest goes
SMALL = 2048  # bytes that are not worth compressing
PART = 256 << 10  # bytes of one message
BURST = 2 << 20  # bytes that may go at once …
PACE = 400_000  # … and bytes a second after that
ASK = 100  # messages after which a page is asked whether it is there
RENEW = 3.0  # seconds after which what is for all pages begins anew
PATIENCE = 15.0  # seconds of an idle kernel in which it has to answer

Push = Callable[..., None]  # (content, buffers)
pause = asyncio.sleep


class Idleness:
    """Since when the kernel has run no cell, and so hears what pages say."""

    def __init__(self, shell: Any) -> None:
        self._busy = True  # the cell that shows the panel
        self._since = time.monotonic()
        events = getattr(shell, "events", None)
        if events is not None:
            here = weakref.ref(self)

            def before(*_: Any) -> None:
                if (self := here()) is not None:
                    self._busy = True

            def after(*_: Any) -> None:
                if (self := here()) is not None:
                    self._busy, self._since = False, time.monotonic()

            events.register("pre_run_cell", before)
            events.register("post_run_cell", after)
            weakref.finalize(self, _unregister, events, before, after).atexit = False

    def since(self) -> float:
        """``time.monotonic()`` of the end of the last cell; infinity while one runs."""
        return float("inf") if self._busy else self._since


def _unregister(events: Any, before: Any, after: Any) -> None:
    for name, callback in (("pre_run_cell", before), ("post_run_cell", after)):
        try:
            events.unregister(name, callback)
        except ValueError:
            pass  # the shell was reset


class _Loop:
    """One thread with an event loop for all links of this process; it ends with the last one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._users = 0

    def enter(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            self._users += 1
            if self._loop is None:
                loop = self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._run, args=(loop,), name="fanlight-panel", daemon=True
                )
                self._thread.start()
            return self._loop

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users or self._loop is None:
                return
            loop, self._loop = self._loop, None
            thread = self._thread
        loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join(2.0)

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


_LOOP = _Loop()


class _Page:
    """One page and its follower. All of it belongs to the loop's thread."""

    def __init__(self, name: str, link: Link, watcher: RuntimeWatcher) -> None:
        self.name = name
        self._link = link
        self.heard = self._began = time.monotonic()
        self._asked = link.opened if name == ALL else 0.0  # all pages are to say something
        self._unheard = 0
        self._number = 0
        self.follower = Follower(watcher, self._send)
        self.follower.handle(_own())
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await self.follower.run()
        except _Silent:
            if self._link.serves(self):  # not one that has taken its place just now
                self._link.drop(self.name, "")
        except _Again:
            if self._link.serves(self):
                self._link.join(self.name)

    def take(self, said: dict[str, Any]) -> None:
        self.heard, self._unheard, self._asked = time.monotonic(), 0, 0.0
        text = said.get("text")
        if not isinstance(text, str):
            return
        if len(text) > MESSAGE_LIMIT:
            raise ValueError("too long")
        message = json.loads(text)
        if isinstance(message, dict) and message == {"type": "follow"}:
            self.follower.handle(_own())  # its own kernel's, which a page cannot name
        else:
            self.follower.receive(text)

    async def _send(self, payload: bytes) -> None:
        now = time.monotonic()
        self._unheard += 1
        if self._asked and now - max(self._asked, self._link.idleness.since()) > PATIENCE:
            raise _Silent
        if self._unheard >= ASK and not self._asked:
            self._asked = now
        if self.name == ALL and now - self._began > RENEW:
            raise _Again
        content = {"page": self.name, "kind": "said", "alive": bool(self._asked)}
        await self._link.send(self.count, content, payload)

    def count(self) -> int:
        """The number of the next message."""
        self._number += 1
        return self._number

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.follower.desk.close()


class _Silent(Exception):
    """Nobody is there."""


class _Again(Exception):
    """Time to begin anew."""


class Link:
    """Serves the pages of one widget. ``push`` sends to all of them; called on the loop's thread.

    ``open`` and ``close`` are called on the kernel's main thread, ``receive`` on any.
    """

    def __init__(self, push: Push, idleness: Idleness, at_exit: Callable[[], None]) -> None:
        self.idleness = idleness
        self._push = push
        self._at_exit = at_exit
        self._pages: dict[str, _Page] = {}
        self._watcher = RuntimeWatcher()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.opened = 0.0  # time.monotonic()
        self._budget, self._filled = float(BURST), time.monotonic()
        self._turn = asyncio.Lock()
        self._jobs: set[asyncio.Task[None]] = set()

    @property
    def pages(self) -> list[str]:
        """Who is served now."""
        return list(self._pages)

    def open(self) -> None:
        """Begin, for all pages at first."""
        self._loop, self.opened = _LOOP.enter(), time.monotonic()
        atexit.register(self._at_exit)
        self._loop.call_soon_threadsafe(self.join, ALL)

    def close(self) -> None:
        """End; when it returns nothing is sent any more, unless the loop is stuck."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        atexit.unregister(self._at_exit)
        ended = asyncio.run_coroutine_threadsafe(self._end(), loop)
        try:
            ended.result(2.0)
        except TimeoutError:
            pass
        finally:  # Ctrl-C, too
            _LOOP.leave()

    async def _end(self) -> None:
        pages, self._pages = list(self._pages.values()), {}
        for page in pages:
            await page.close()
        jobs = list(self._jobs)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    def receive(self, said: Any) -> None:
        """What a page says, on either comm; on any thread."""
        loop = self._loop
        if loop is not None and isinstance(said, dict) and isinstance(said.get("page"), str):
            with contextlib.suppress(RuntimeError):  # closed in this moment, on another thread
                loop.call_soon_threadsafe(self._take, said)

    def _take(self, said: dict[str, Any]) -> None:
        name, kind = said["page"][:64], said.get("type")
        if not name or self._loop is None:
            return
        if kind == "opened":
            return  # of the comm itself
        elif kind == "hello":
            self.join(name)
        elif kind == "bye":
            self.drop(name, "")
        elif kind == "charts":
            self._do(self._send_charts(name))
        elif name in self._pages:
            try:
                self._pages[name].take(said)
            except (ValueError, RecursionError) as error:
                self.drop(name, f"The kernel refused a message: {error}")
        else:
            self._tell(name, "closed", reason="The kernel did not know this page any more.")

    def join(self, name: str) -> None:
        """Serve this page, from the beginning."""
        for old in {name, ALL}:
            self.drop(old, "")
        if len(self._pages) >= PAGES:
            longest = min(self._pages.values(), key=lambda page: page.heard)
            self.drop(longest.name, "Too many pages show this panel.")
        self._pages[name] = _Page(name, self, self._watcher)

    def serves(self, page: _Page) -> bool:
        """Whether it has not been dropped; its task hears of that a moment later."""
        return self._pages.get(page.name) is page

    def drop(self, name: str, reason: str) -> None:
        """Serve this page no more; with a reason, tell it."""
        page = self._pages.pop(name, None)
        if page is not None:
            self._do(page.close())
            if reason:
                self._tell(name, "closed", reason=reason)

    def _do(self, work: Any) -> None:
        job = asyncio.get_running_loop().create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _send_charts(self, name: str) -> None:
        charts = await asyncio.to_thread(standalone.charts)
        await self.send(lambda: 0, {"page": name, "kind": "charts"}, charts, packed="gzip")

    def _tell(self, name: str, kind: str, **more: str) -> None:
        self._push({"page": name, "kind": kind, **more}, [])

    async def send(
        self, count: Callable[[], int], content: dict[str, Any], payload: bytes, packed: str = ""
    ) -> None:
        """To one page, or to all: in parts, in order, and not faster than the server lets pass."""
        if not packed and len(payload) > SMALL:
            payload, packed = zlib.compress(payload, 1), "deflate"
        content["packed"] = packed
        async with self._turn:
            for start in range(0, max(1, len(payload)), PART):
                part = payload[start : start + PART]
                await self._pay(len(part) + 500)
                last = start + PART >= len(payload)
                self._push({**content, "n": count(), "last": last}, [part])

    async def _pay(self, size: int) -> None:
        now = time.monotonic()
        self._budget = min(BURST, self._budget + (now - self._filled) * PACE) - size
        self._filled = now
        if self._budget < 0:
            await pause(-self._budget / PACE)


def _own() -> Follow:
    """The runtime of this process: found by the kernel, else by its name."""
    kernel = session.kernel_id()
    if kernel:
        return Follow(kernel_id=kernel)
    current = session.current()
    return Follow(runtime_id=current.runtime_id if current is not None else None)
