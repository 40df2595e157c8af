"""■ and Ctrl-C: the work of a cell is asked to end, and then made to.

What is cancelled gets a KeyboardInterrupt. That does not end what holds the interpreter's lock in C
code, catches the exception, or unpickles its arguments: after :data:`GRACE` seconds the worker is
killed. Methods of actors are not, since that would be the end of the actor.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from fanlight_kernel.cells import Cell

GRACE = 1.0  # seconds that a cancelled cell has before its worker is killed
LAST = 5.0  # seconds to wait for a killed worker to be gone
_STAYS = 1.0  # seconds after which what is still there is said to stay
_EACH = 0.1  # seconds between two looks at what is left


def cancel(extension: Any, cell: Cell, refs: list[Any], force: bool = False) -> list[bytes]:
    """Cancel ``refs`` and all other unfinished work of the cell, nested tasks too; their ids.

    Says so under the cell if the node does not answer.
    """
    import fanlight
    from fanlight import session

    if session.current() is None:
        return []
    tasks: list[bytes] = []
    try:
        tasks = session.unfinished_of_origin(cell.origin)
        session.cancel_tasks(tasks, force=force)
    except fanlight.errors.FanlightError as error:  # the node is dead, or stopped
        extension.router.write(cell, "stderr", f"Its tasks were not cancelled. {error}\n")
    for ref in refs:
        try:
            fanlight.cancel(ref, force=force)
        except Exception:
            continue  # it has ended
    return tasks


def insist(extension: Any, cell: Cell, tasks: list[bytes]) -> None:
    """See to it, on a thread, that cancelled ``tasks`` of a cell end; tell the cell if they do not.

    The cell may be run again meanwhile: what that starts is left alone.
    """
    if not tasks:
        return
    thread = threading.Thread(
        target=_insist, args=(extension, cell, set(tasks)), name="fanlight-insist", daemon=True
    )
    thread.start()


def _insist(extension: Any, cell: Cell, tasks: set[bytes]) -> None:
    from fanlight import errors, session

    runtime = session.current()

    def left(seconds: float) -> set[bytes]:
        deadline = time.monotonic() + seconds
        while True:
            if session.current() is not runtime or extension.closed.is_set():
                return set()
            found = tasks & set(session.unfinished_of_origin(cell.origin))
            if not found or time.monotonic() >= deadline:
                return found
            extension.closed.wait(_EACH)

    try:
        stubborn = left(GRACE)
        if not stubborn:
            return
        session.cancel_tasks(stubborn, force=True)
        stay = left(_STAYS)
    except errors.FanlightError:  # the node does not answer, or is gone
        return
    killed = len(stubborn) - len(stay)
    text = ""
    if killed:
        text += f"{_count(killed)} did not stop when asked: {_its(killed)} killed.\n"
    if stay:
        text += (
            f"{_count(len(stay))} of actors {'runs' if len(stay) == 1 else 'run'} on until "
            f"{'it returns' if len(stay) == 1 else 'they return'}; fanlight.kill(actor) ends an actor.\n"
        )
    if text:
        extension.router.write(cell, "stderr", text)


def _count(number: int) -> str:
    return f"{number} task{'' if number == 1 else 's'}"


def _its(number: int) -> str:
    return "its worker was" if number == 1 else "their workers were"
