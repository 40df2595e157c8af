"""What cannot go to a worker: the message names the variable, the part, who uses it, and a way out."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest

from fanlight_kernel.capture.carry import Home
from fanlight_kernel.capture.inputs import CaptureError, gather

GPU_TENSOR = """
import types
on = types.SimpleNamespace(type="cuda")
x = {"weights": type("Tensor", (), {"__module__": "torch", "device": on})()}
"""

CASES = [
    ("import threading\nx = threading.RLock()", "x", ["`x` cannot", "make the lock inside"]),
    ("import threading\nx = {'a': [threading.Lock()]}", "x", ["in `x['a'][0]`, a lock"]),
    ("import threading\nx = threading.Thread()", "x", ["start the thread inside the cell"]),
    ("import threading\nx = threading.Event()", "x", ["an actor takes its place"]),
    ("import queue\nx = queue.Queue()", "x", ["fanlight.util.queue.Queue"]),
    ("x = (i for i in range(3))", "x", ["send a list of its items"]),
    ("import sqlite3\nx = sqlite3.connect(':memory:')", "x", ["connect inside the cell"]),
    (
        "import sqlite3\ndb = sqlite3.connect(':memory:')\ndef f(): return db\ndef x(): return f()",
        "x",
        ["`db`, which `f` uses,", "connect inside the cell"],
    ),
    (
        "import sqlite3\nclass C:\n    conn = sqlite3.connect(':memory:')\nx = C()",
        "x",
        ["in `C.conn`, a Connection", "connect inside the cell"],
    ),
    (
        "import functools, threading\nx = functools.partial(print, threading.Lock())",
        "x",
        ["in `x.args[0]`, a lock"],
    ),
    (
        "import threading\ndef mk():\n    lock = threading.Lock()\n    return lambda: lock\nx = mk()",
        "x",
        ["in `lock`, a lock"],
    ),
    ("import weakref\nclass C: pass\nx = weakref.ref(C)", "x", ["make it inside the cell"]),
    ("import types\nx = types.ModuleType('dyn')", "x", ["made at run time (dyn)"]),
    ("x = __import__('sys').modules['__main__']", "x", ["`x` is the notebook's own module"]),
    ("import io\nx = io.open('/dev/null')", "x", ["open file", "open the file inside the cell"]),
    ("import socket\nx = socket.socket()", "x", ["open the connection inside the cell"]),
    (
        "import concurrent.futures as c\nx = c.ThreadPoolExecutor(1)",
        "x",
        ["make the pool inside the cell, or use tasks"],
    ),
    (
        GPU_TENSOR,
        "x",
        ["in `x['weights']`, a Tensor", "use its .cpu()", "send a copy that .cpu() makes"],
    ),
]


@pytest.mark.parametrize(("setup", "name", "expected"), CASES, ids=range(len(CASES)))
def test_refusal(setup: str, name: str, expected: list[str]) -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(setup, space)
    try:
        with pytest.raises(CaptureError) as caught:
            gather([name], Home(space))
    finally:
        for value in [space.get(name), space.get("db"), vars(space.get("C", object)).get("conn")]:
            if hasattr(value, "close"):
                value.close()
    for words in expected:
        assert words in str(caught.value)


def test_the_streams_of_the_process_may_be_sent() -> None:
    """A class that keeps sys.stdout is common; the worker has its own."""
    with open(os.devnull, "w") as stream:
        with contextlib.redirect_stdout(stream):
            assert gather(["x"], Home({"x": [stream]})).values
        with pytest.raises(CaptureError):
            gather(["x"], Home({"x": [stream]}))
