"""``%fanlight record`` and ``%fanlight replay``: recordings from the notebook."""

from __future__ import annotations

import html
import json
import os
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError
from IPython.display import display

from fanlight_kernel.options import Option, label, parse
from fanlight_kernel.widgets import render

REPLAY_OPTIONS: tuple[Option, ...] = (
    Option("--html", "value", "write a page that plays it, in place of showing it", "FILE", label),
)


def record(rest: str) -> None:
    """Begin a recording, or end those that go on."""
    import fanlight
    from fanlight import recordings

    if rest.strip() == "stop":
        try:
            ended = recordings.stop()
        except OSError as error:
            raise UsageError(f"%fanlight record: {error.strerror or error}") from None
        if not ended:
            print("Nothing is being recorded.")
        for recorder in ended:
            try:
                print(f"{fanlight.replay(recorder.path)!r}\nIt is in {shown(recorder.path)}.")
            except (OSError, recordings.RecordingError) as error:  # it was moved, say
                print(f"{shown(recorder.path)} cannot be played: {error}")
        return
    try:
        recorder = fanlight.record(label(rest) if rest else None)
    except (OSError, RuntimeError) as error:
        raise UsageError(f"%fanlight record: {error}") from None
    print(f"Recording into {shown(recorder.path)} until %fanlight record stop.")


def replay(rest: str) -> None:
    """Show a recording, or write the page that plays it."""
    import fanlight
    from fanlight import recordings

    file, given = _file_and_options(rest)
    try:
        opened = fanlight.replay(file)
        if given.get("html") is not None:
            page = fanlight.export_html(opened, given["html"])
            print(f"Saved to {shown(page)}: it plays in any browser.")
            return
    except (OSError, recordings.RecordingError) as error:
        raise UsageError(f"%fanlight replay: {error}") from None
    text = repr(opened)
    display({"text/plain": text, "text/html": _link(opened.path, text)}, raw=True)


def _file_and_options(rest: str) -> tuple[str, dict[str, Any]]:
    """``FILE --html OUT``, in any order."""
    file, dashes, options = rest.partition("--")
    file = file.strip()
    if dashes and not file:  # the options come first
        words = rest.split()
        file, dashes, options = " ".join(words[2:]), "--", " ".join(words[:2])[2:]
    if not file:
        raise UsageError("%fanlight replay: say which file, as in %fanlight replay run.fanlight")
    if len(file) > 1 and file[0] == file[-1] and file[0] in "\"'":
        file = file[1:-1]
    given = parse(f"--{options}", REPLAY_OPTIONS, "%fanlight replay").given if dashes else {}
    return file, given


def shown(path: Path) -> str:
    """A path as the notebook would name it."""
    try:
        return os.fspath(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return os.fspath(path)


def _link(path: Path, text: str) -> str:
    """The recording in a sentence; with a link that plays it where JupyterLab can find it."""
    name = shown(path.absolute())
    if os.path.isabs(name):
        return f'<div style="{render.FONT}">{html.escape(text)}</div>'
    arguments = html.escape(json.dumps({"path": name, "beside": True}))
    return (
        f'<div style="{render.FONT}">{html.escape(text)} '
        '<a href="#" data-commandlinker-command="fanlight:open-recording" '
        f'data-commandlinker-args="{arguments}" '
        'style="color:var(--jp-content-link-color,#1976d2)">Play it</a></div>'
    )
