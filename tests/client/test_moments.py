"""Two threads of a client that act in the same moment, in the order that is the worst."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fanlight
from fanlight import messages as m
from fanlight.client import fetching, put_notes
from fanlight.client.channels import Channels
from fanlight.wire import peers
from fanlight_kernel.namespaces.registry import RemoteNamespace


def test_a_channel_to_an_actor_that_nobody_has_any_more_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last handle is dropped while the thread that reads connects to the actor's process."""
    client: Any = SimpleNamespace(
        id=b"c" * 16, link=None, definitions=SimpleNamespace(on_forget=None), handlers={}
    )
    channels = Channels(client, m.Hello(1, "token", "driver", 1, client.id))
    line = channels.line(b"a" * 16)
    monkeypatch.setattr(peers, "check", lambda sock: channels._forget_line(line))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "actor"))
        listener.listen()
        channels._reach(m.Reach(line.actor, str(tmp_path / "actor"), 0, 0, 0, True))
        actor, _ = listener.accept()
        with actor:
            assert actor.recv(1) == b""
    assert (channels._open, line.channel) == (0, None)


def test_what_is_brought_back_as_the_wait_for_it_is_interrupted_is_let_go() -> None:
    """The thread that reads may not be between its look whether somebody waits and what it does
    then, while the one that waits is interrupted: nobody would release what came."""
    lock, held = threading.RLock(), []
    client: Any = SimpleNamespace(
        _lock=lock, answers={}, next_request=lambda: 1, link=SimpleNamespace(send=lambda _: None)
    )

    def trace(frame: Any, event: str, arg: Any) -> Any:
        if frame.f_code.co_name == "store" and event == "line":
            held.append(lock._is_owned())  # type: ignore[attr-defined]
        return trace

    def wait(done: Any) -> None:
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            client.answers.pop(1)(None)
        finally:
            sys.settrace(before)
        raise KeyboardInterrupt

    client.link.wait = wait
    with (
        pytest.raises(KeyboardInterrupt),
        fetching.fetched(client, [m.Value(b"o" * 28, m.AWAY, b"", 1)]),
    ):
        raise AssertionError
    assert held[0] is False and set(held[1:-1]) == {True}


def test_notes_of_puts_are_forgotten_while_others_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    class Notes(dict[bytes, Any]):
        """Another thread puts while the oldest is looked for."""

        def __iter__(self) -> Iterator[bytes]:
            found = super().__iter__()
            self[b"%d" % len(self)] = None
            return found

    notes = Notes({b"first": None, b"second": None})
    monkeypatch.setattr(put_notes, "notes", notes)
    monkeypatch.setattr(put_notes, "_KEPT", 1)
    put_notes.note(b"mine")
    assert b"mine" in notes


def test_what_a_cell_of_a_namespace_waits_for_ends_meanwhile() -> None:
    class Run:
        def __eq__(self, other: object) -> bool:
            space.running.clear()  # another thread hears of the end
            return self is other

        __hash__ = object.__hash__

    space = RemoteNamespace(None, "a", {})  # type: ignore[arg-type]
    space.running = {Run(): "In[3]"}
    assert space.ahead_of([Run()]) == "In[3]"
    assert space.ahead_of([Run()]) == ""


def test_a_thread_that_submits_while_another_tells_of_drops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To a node in this process: neither waits for what the other one holds."""
    fanlight.init(engine="inproc", num_cpus=1)
    try:
        client = fanlight.session.current().client
        refs = [fanlight.put(1), fanlight.put(2)]
        other = threading.Thread(target=lambda: fanlight.put(3), daemon=True)
        telling, stepping = threading.current_thread(), threading.Event()
        flush, send = client.flush_drops, client.link.send

        def flush_drops() -> None:
            if threading.current_thread() is other:
                stepping.set()  # in a step of the node, which asks for drops first
            flush()

        def sends(messages: Any) -> None:
            if threading.current_thread() is telling and not other.ident:
                refs.clear()
                other.start()
                stepping.wait(0.5)  # it cannot come there while this one tells
            send(messages)

        monkeypatch.setattr(client, "flush_drops", flush_drops)
        monkeypatch.setattr(client.link, "send", sends)
        refs.pop()
        client.flush_drops()
        other.join(60)
        assert not other.is_alive()
    finally:
        fanlight.shutdown()
