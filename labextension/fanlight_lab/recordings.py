"""Recordings that the panel's button makes: files beside the notebook, inside the server's root.

============================ ====== ===========================================================
``recordings``               POST   ``{"runtime_id"}``: begin one
``recordings/<id>``          DELETE end it
``recordings/export``        POST   ``{"path"}``: write the page that plays a recording beside it,
                                    under a name that is free; the answer has it
============================ ====== ===========================================================

Which there are is said on every browser's socket, whenever one begins or ends, in whatever way: so the
buttons of all pages tell the truth. The answers of these routes only come earlier.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import filecmp
import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized
from jupyter_server.services.contents.fileio import FileManagerMixin
from msgspec import Meta, Struct
from tornado import web

import fanlight
from fanlight import observe as wire
from fanlight.observe.discover import ConnectionInfo
from fanlight.observe.recorder import Recorder, SocketFeed
from fanlight.observe.recording import SUFFIX, RecordingError, is_recording
from fanlight_lab.handler import FanlightHandler
from fanlight_lab.messages import Name

AT_ONCE = 8  # recordings that go on
KEPT = 32  # of those that have ended, to be told of


class Begin(Struct, forbid_unknown_fields=True):
    runtime_id: Name


class Export(Struct, forbid_unknown_fields=True):
    path: Annotated[str, Meta(min_length=1, max_length=2000)]


_begin = msgspec.json.Decoder(Begin)
_export = msgspec.json.Decoder(Export)


class Recordings:
    """The recorders of this server. Used from the event loop."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[Recorder, str, str]] = {}  # recorder, runtime, path for people
        self._listeners: set[Callable[[], None]] = set()
        self.beginning = asyncio.Lock()  # one at a time: no runtime is recorded twice
        self.exporting = asyncio.Lock()  # a page is made in memory

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this after each change of the rows, from the event loop."""
        self._listeners.add(listener)

    def forget(self, listener: Callable[[], None]) -> None:
        self._listeners.discard(listener)

    def changed(self) -> None:
        for listener in list(self._listeners):
            listener()

    def add(self, recorder: Recorder, runtime_id: str, path: str) -> str:
        if not self._made:
            atexit.register(self.close)
        key = uuid.uuid4().hex[:12]
        ended = [k for k, (r, _, _) in self._made.items() if not r.active]
        for old in ended[: max(0, len(ended) - KEPT)]:
            del self._made[old]
        self._made[key] = (recorder, runtime_id, path)
        self.changed()
        return key

    @property
    def active(self) -> int:
        return sum(r.active for r, _, _ in self._made.values())

    def of(self, runtime_id: str) -> bool:
        """Whether a recording of this runtime goes on."""
        return any(r.active and runtime == runtime_id for r, runtime, _ in self._made.values())

    def get(self, key: str) -> Recorder | None:
        found = self._made.get(key)
        return found[0] if found is not None else None

    def rows(self) -> list[dict[str, Any]]:
        return [self.row(key) for key in self._made]

    def row(self, key: str) -> dict[str, Any]:
        recorder, runtime_id, path = self._made[key]
        return {
            "id": key,
            "runtime_id": runtime_id,
            "path": path,
            "started": recorder.started,
            "size": recorder.size,
            "active": recorder.active,
            "reason": recorder.reason,
            "failed": recorder.error is not None,
        }

    def close(self) -> None:
        """The server ends: what is recorded is brought to its end."""
        for recorder, _, _ in self._made.values():
            with contextlib.suppress(OSError):
                recorder.stop("the Jupyter server ended")


class _Handler(FanlightHandler):
    """What these routes share."""

    def initialize(self, recordings: Recordings) -> None:
        self.recordings = recordings

    @property
    def root(self) -> Path:
        """The folder that this server serves, as it is on disk."""
        if not isinstance(self.contents_manager, FileManagerMixin):
            raise web.HTTPError(
                400, "This server keeps its files elsewhere: use %fanlight record in the notebook."
            )
        return Path(self.contents_manager.root_dir).resolve()

    def inside(self, path: str) -> Path:
        """A path of the server as one on disk. Refuses what lies outside, and what is hidden."""
        root = self.root
        try:
            found = (root / path.lstrip("/")).resolve()
        except (OSError, ValueError, RuntimeError):  # a NUL in it, or links in a circle
            raise web.HTTPError(404, "There is no such file.") from None
        if not found.is_relative_to(root):
            raise web.HTTPError(403, "This is outside of what the server serves.")
        hidden = any(part.startswith(".") for part in found.relative_to(root).parts)
        if hidden and not self.contents_manager.allow_hidden:
            raise web.HTTPError(404, "There is no such file.")
        return found


class RecordingsHandler(_Handler):
    @web.authenticated
    @authorized
    async def post(self) -> None:
        request: Begin = self.decode(_begin)
        info = self.find(request.runtime_id)
        async with self.recordings.beginning:
            key = await self._made(info)
        self.finish(msgspec.json.encode(self.recordings.row(key)))

    async def _made(self, info: ConnectionInfo) -> str:
        if self.recordings.of(info.runtime_id):
            raise web.HTTPError(409, "This runtime is being recorded already.")
        if self.recordings.active >= AT_ONCE:
            raise web.HTTPError(409, f"{AT_ONCE} recordings go on already: end one first.")
        notebook = await self._notebook(info)
        folder = self.inside(Path(notebook).parent.as_posix())
        stem = Path(notebook).stem if notebook else Path(info.name).name or "run"
        ended = _in_loop(self.recordings.changed)
        recorder = await asyncio.to_thread(self._begin, info, folder, stem, ended)
        path = recorder.path.relative_to(self.root).as_posix()
        return self.recordings.add(recorder, info.runtime_id, path)

    async def _notebook(self, info: ConnectionInfo) -> str:
        """The notebook of the runtime's kernel, as the server names it; "" without one."""
        sessions: Any = await ensure_async(self.session_manager.list_sessions())
        for session in sessions:
            kernel = session.get("kernel") or {}
            if kernel.get("id") in info.kernel_ids and session.get("type") == "notebook":
                return self._on_disk(session.get("path", ""))
        return ""

    def _on_disk(self, path: str) -> str:
        """Without the name of a drive: with shared editing JupyterLab says "RTC:notebooks/a.ipynb".

        A folder or a notebook may have a ":" in its own name.
        """
        first, _, below = path.partition("/")
        _, colon, rest = first.partition(":")
        if not colon or (self.inside(first).is_dir() if below else self.inside(path).is_file()):
            return path
        return f"{rest}/{below}" if below else rest

    @staticmethod
    def _begin(
        info: ConnectionInfo, folder: Path, stem: str, ended: Callable[[Recorder], None]
    ) -> Recorder:
        for name in _names(stem):
            try:
                feed = SocketFeed(info)
            except (wire.WireError, OSError) as error:
                raise web.HTTPError(502, f"The runtime does not answer: {error}") from None
            try:
                return Recorder(feed, folder / name, replace=False, title=stem, on_end=ended)
            except FileExistsError:
                continue
            except OSError as error:
                why = error.strerror or str(error)
                raise web.HTTPError(500, f"The recording could not be made: {why}.") from None
        raise AssertionError  # names never end


class RecordingHandler(_Handler):
    @web.authenticated
    @authorized
    async def delete(self, key: str) -> None:
        recorder = self.recordings.get(key)
        if recorder is None:
            raise web.HTTPError(404, "There is no such recording.")
        try:
            with contextlib.suppress(OSError):  # the row says what went wrong
                await asyncio.to_thread(recorder.stop)
        finally:
            self.recordings.changed()
        self.finish(msgspec.json.encode(self.recordings.row(key)))


class ExportHandler(_Handler):
    @web.authenticated
    @authorized
    async def post(self) -> None:
        request: Export = self.decode(_export)
        path = self.inside(request.path)
        if not is_recording(path):
            raise web.HTTPError(400, f"{path.name} is not a recording of Fanlight.")
        try:
            async with self.recordings.exporting:
                page = await asyncio.to_thread(_write_page, path)
        except RecordingError as error:
            raise web.HTTPError(400, str(error)) from None
        except OSError as error:
            raise web.HTTPError(500, error.strerror or str(error)) from None
        answer = {"path": page.relative_to(self.root).as_posix()}
        self.finish(msgspec.json.encode(answer))


def _in_loop(changed: Callable[[], None]) -> Callable[[Recorder], None]:
    """For a recorder's thread, to say that it ended by itself."""
    loop = asyncio.get_running_loop()

    def ended(recorder: Recorder) -> None:
        with contextlib.suppress(RuntimeError):  # the server has ended
            loop.call_soon_threadsafe(changed)

    return ended


def _write_page(recording: Path) -> Path:
    """Export it beside itself. Replaces nothing; an export that is there already is not made twice."""
    taken = []
    for name in _numbered(recording.stem, ".html"):
        page = recording.with_name(name)
        try:
            page.touch(exist_ok=False)
            break
        except FileExistsError:
            taken.append(page)
    try:
        fanlight.export_html(recording, page)
        for other in taken:
            with contextlib.suppress(OSError):
                if filecmp.cmp(other, page, shallow=False):
                    page.unlink()
                    return other
    except BaseException:
        page.unlink(missing_ok=True)
        raise
    return page


def _names(stem: str) -> Iterator[str]:
    return _numbered(f"{stem[:100]}-{time.strftime('%Y%m%d-%H%M%S')}", SUFFIX)


def _numbered(base: str, suffix: str) -> Iterator[str]:
    yield f"{base}{suffix}"
    for number in itertools.count(2):
        yield f"{base}-{number}{suffix}"
