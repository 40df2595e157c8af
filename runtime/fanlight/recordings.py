"""``fanlight.record()`` and ``fanlight.replay()``: what a runtime did, in a file, to look at again."""

from __future__ import annotations

import atexit
import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from fanlight import session as sessions
from fanlight import words
from fanlight.engines import make
from fanlight.observe.recorder import LIMIT, EngineFeed, Feed, Recorder, SocketFeed
from fanlight.observe.recording import SUFFIX, Recording, RecordingError

__all__ = [
    "Recorder",
    "Recording",
    "RecordingError",
    "Replay",
    "export_html",
    "record",
    "replay",
    "stop",
]

_active: list[Recorder] = []
_own: list[Recorder] = []  # of those: the ones of this process's runtime, which end with it


def record(
    path: str | os.PathLike[str] | None = None,
    *,
    address: str | None = None,
    limit: int = LIMIT,
    title: str = "",
) -> Recorder:
    """Record what the runtime does into a file, until ``stop()`` or its end.

    Everything that the panel shows is in it: tasks, their times and errors, workers, actors, the
    object store, GPUs. A recorder is one more observer, so the runtime does not wait for it. A file
    whose recorder was killed can be read as far as it got.

    In a notebook, ``%fanlight record`` does the same, and the panel has a button for it. JupyterLab
    opens the file with a double click; ``fanlight.replay`` shows it.

    Args:
        path: the file; ``.fanlight`` is added where there is no suffix. An earlier recording of that
            name is replaced. Without it, a name made of the date, in the working directory.
        address: record another runtime of this user: its name, its id, or ``"auto"`` for the newest.
        limit: bytes of the file. The fuller it is, the coarser the steps; when it is full, the
            recording ends.
        title: what the recording is called where it is shown.

    Returns:
        The recorder: ``stop()`` ends it, and so does leaving its ``with`` block.

    Raises:
        OSError: the file cannot be made, or something else than a recording has that name.
        ConnectionError: there is no runtime at that address.

    >>> import fanlight, tempfile
    >>> @fanlight.remote
    ... def double(x):
    ...     return 2 * x
    >>> folder = tempfile.mkdtemp()
    >>> with fanlight.init(num_cpus=2, engine="inproc"):
    ...     with fanlight.record(f"{folder}/run") as recording:
    ...         fanlight.get([double.remote(i) for i in range(3)])
    [0, 2, 4]
    >>> fanlight.replay(recording.path).counts
    {'FINISHED': 3}
    """
    target = _target(path)
    if limit < 1 << 16:
        raise ValueError(f"limit={limit}: a recording needs 65536 bytes at least.")
    if any(r.active and _same(r.path, target) for r in _active):
        raise FileExistsError(f"{target} is being recorded just now: choose another name.")
    session = None if address is not None else sessions.ensure()
    recorder = Recorder(
        _feed(session, address), target, limit=limit, title=title, on_end=_ended(session)
    )
    recorder.wait_begun()
    _active[:] = [r for r in _active if r.active] + [recorder]
    if session is not None:
        _own[:] = [r for r in _own if r.active] + [recorder]
        if _end_own not in session.at_end:
            session.at_end.append(_end_own)
    return recorder


def stop() -> list[Recorder]:
    """End the recordings that this process makes; those that were ended.

    Raises OSError where one could not be written, after all have ended.
    """
    ended, problem = [], None
    while _active:
        recorder = _active.pop()
        if recorder.active or not recorder.reason:
            ended.append(recorder)
        try:
            recorder.stop()
        except OSError as error:
            problem = error
    if problem is not None:
        raise problem
    return ended


def active() -> list[Recorder]:
    """The recordings that this process makes now."""
    return [r for r in _active if r.active]


def _target(path: str | os.PathLike[str] | None) -> Path:
    if path is None:
        base = time.strftime("run-%Y%m%d-%H%M%S")
        numbered = (f"{base}{'-' * (n > 0)}{n or ''}{SUFFIX}" for n in range(10_000))
        return next(p for p in map(Path.cwd().joinpath, numbered) if not p.exists())
    target = Path(os.path.expanduser(path)).absolute()
    if not target.suffix:
        target = target.with_name(target.name + SUFFIX)
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a directory: name a file in it.")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"There is no directory {target.parent}.")
    return target


def _same(one: Path, other: Path) -> bool:
    with contextlib.suppress(OSError):
        return one.samefile(other)
    return one == other


def _feed(session: sessions.Session | None, address: str | None) -> Feed:
    if session is not None and session.connection is None:
        if not hasattr(session.engine, "node"):
            raise RuntimeError("record() works in the driver, not in a task.")
        return EngineFeed(session.engine)
    info = session.connection if session is not None else make.find(address or "auto")
    assert info is not None
    return SocketFeed(info)


def _ended(session: sessions.Session | None) -> Callable[[Recorder], None]:
    """Tells the user that a recording ended by itself, unless the runtime did."""

    def tell(recorder: Recorder) -> None:
        full = recorder.size >= recorder._limit
        if session is not None and (recorder.error is not None or full):
            text = recorder.reason
            session.log.notice(text if recorder.error else f"{text} It is in {recorder.path}.")

    return tell


def _end_own() -> None:
    while _own:
        _quietly(_own.pop())


@atexit.register
def _at_exit() -> None:
    for recorder in _active:
        _quietly(recorder)


def _quietly(recorder: Recorder) -> None:
    with contextlib.suppress(OSError):
        recorder.stop("the runtime ended")


class Replay:
    """A recording to look at: what ``fanlight.replay(path)`` returns."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    @property
    def path(self) -> Path:
        return self.recording.path

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.recording.seconds

    @property
    def counts(self) -> dict[str, int]:
        """Tasks by state, at the end."""
        counts: Counter[str] = Counter()
        for part in self.recording.parts:
            if part.kind in ("key", "delta") and isinstance(part.meta.get("counts"), dict):
                counts = Counter(part.meta["counts"])
        return {state: n for state, n in counts.items() if n}

    def to_html(self, out: str | os.PathLike[str] | None = None) -> Path:
        """Write a page that plays it; see :func:`export_html`."""
        return export_html(self, out)

    def __repr__(self) -> str:
        recording = self.recording
        parts = [words.seconds(recording.seconds)]
        parts += [f"{n:,} {state.lower().replace('_', ' ')}" for state, n in self.counts.items()]
        note = ""
        if recording.lost:
            note = " Its end is damaged, and left out."
        elif not recording.whole:
            note = " It was not ended in order: the recorder was killed."
        return f"Recording {recording.path.name}: {', '.join(parts)}.{note}"


def replay(path: str | os.PathLike[str]) -> Replay:
    """Open a recording, of this or any other day; it needs no runtime.

    Raises:
        RecordingError: it is no recording, is empty, or was made by a newer Fanlight.
        OSError: it cannot be read.
    """
    target = Path(os.path.expanduser(path))
    if not target.exists() and not target.suffix:
        target = target.with_name(target.name + SUFFIX)
    return Replay(Recording(target))


PAGE_LIMIT = 100_000_000  # bytes of a recording in a page: browsers give up on much longer ones


def export_html(
    recording: Replay | str | os.PathLike[str], out: str | os.PathLike[str] | None = None
) -> Path:
    """Write one HTML file that plays a recording, to hand to others.

    It needs neither Fanlight nor a network: a browser opens it with a double click.

    Args:
        recording: a recording's file, or what ``replay`` returned.
        out: the page; without it, the recording's name with ``.html``. It is replaced.

    Returns:
        Where the page is.

    Raises:
        RecordingError: it is no recording that can be played, or is too long for a page.
        OSError: it cannot be read, or the page not written.
    """
    from fanlight import standalone

    opened = recording if isinstance(recording, Replay) else replay(recording)
    path = opened.path
    if not any(part.kind == "key" for part in opened.recording.parts):
        raise RecordingError(f"{path.name} holds nothing to show: it ends before the first event.")
    content = path.read_bytes()[: opened.recording.good]
    if len(content) > PAGE_LIMIT:
        raise RecordingError(
            f"{path.name} has {words.size(len(content))}, too much for one page "
            f"({words.size(PAGE_LIMIT)}): hand out the file itself."
        )
    target = Path(os.path.expanduser(out)) if out is not None else path.with_suffix(".html")
    if target.is_dir():
        target = target / f"{path.stem}.html"
    title = opened.recording.head.get("title") or path.stem
    page = standalone.page(str(title), "replay", {"name": path.name}, blob=content)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.write_text(page, "utf-8")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target
