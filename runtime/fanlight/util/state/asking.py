"""Asks a runtime's node: through this process's connection, or through an observer's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanlight import errors
from fanlight import session as sessions
from fanlight.util.state.exception import BadQuestion, ServerUnavailable

if TYPE_CHECKING:
    from fanlight.observe.discover import ConnectionInfo


def ask(what: str, args: dict[str, Any], address: str | None, timeout: float) -> Any:
    """The node's answer to one query. Raises RayStateApiException.

    ``address`` None is this process's runtime, if it has one; "auto" and None without one are the
    newest runtime of this user; else a runtime's name or id. ``timeout``: seconds, for those.
    """
    session = sessions.current()
    own = session is not None and address in (None, "auto", session.runtime_id)
    try:
        if own:
            assert session is not None
            return session.engine.query(what, **args)
        return _ask_other(what, args, address, timeout)
    except LookupError as e:
        raise BadQuestion(str(e.args[0] if e.args else e)) from None
    except errors.RuntimeLostError as e:
        raise ServerUnavailable(str(e)) from None


def find_session_dir(address: str | None) -> str:
    """The directory of the runtime's files on this machine, "" if it has none."""
    session = sessions.current()
    if session is not None and address in (None, "auto", session.runtime_id):
        return str(session.info["session_dir"])
    return _find(address).session_dir


def _find(address: str | None) -> ConnectionInfo:
    from fanlight.observe import discover

    found = discover.runtimes()
    if address not in (None, "auto"):
        found = [r for r in found if address in (r.runtime_id, r.name, r.socket)]
    if not found:
        raise ServerUnavailable(
            "There is no runtime to ask: call fanlight.init() first, or name one that runs with "
            "address=."
        )
    return found[0]


def _ask_other(what: str, args: dict[str, Any], address: str | None, timeout: float) -> Any:
    from fanlight.observe.client import Observer
    from fanlight.wire.failures import ConnectionLost, HandshakeRefused

    runtime = _find(address)
    try:
        observer = Observer(runtime, timeout)
        try:
            return observer.query(what, args)
        finally:
            observer.close()
    except (OSError, ConnectionLost, HandshakeRefused) as e:
        raise ServerUnavailable(f"The runtime {runtime.name} does not answer: {e}") from None
