"""``max_pending_calls``: a handle refuses calls while too many of its earlier ones are unanswered."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from fanlight import errors, refs
from fanlight.generators import ObjectRefGenerator


class OutstandingCalls:
    """The unanswered calls of one handle; used only for actors that have the limit.

    A ref to each call's first result is kept, so that the answer is seen also when the caller
    dropped its own; it is let go at the first call of the handle after the answer came. Calls
    without results (``num_returns=0``) are not answered, and not counted.
    """

    __slots__ = ("_lock", "_refs")

    def __init__(self) -> None:
        self._refs: deque[Any] = deque()
        self._lock = threading.RLock()  # a finalizer may call within a call

    def limited(self, call: Callable[..., Any], limit: int, label: str) -> Callable[..., Any]:
        """``call`` with the limit; raises PendingCallsLimitExceeded instead of submitting."""

        def submit(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            with self._lock:
                if len(self._refs) >= limit:
                    self._forget_answered()
                if len(self._refs) >= limit:
                    raise errors.PendingCallsLimitExceeded(
                        f"{label} was not called: {len(self._refs)} calls of this handle are "
                        f"unanswered, and the actor's max_pending_calls is {limit}. Wait for some "
                        "of them, or raise the limit."
                    )
                made = call(args, kwargs)
                if isinstance(made, ObjectRefGenerator):
                    self._refs.append(made.completed())
                elif made is not None:
                    self._refs.append(made[0] if isinstance(made, list | tuple) else made)
            return made

        return submit

    def count(self) -> int:
        """How many there are now."""
        with self._lock:
            self._forget_answered()
            return len(self._refs)

    def _forget_answered(self) -> None:
        client = refs._client
        if client is None:
            return
        entries = client.entries
        self._refs = deque(ref for ref in self._refs if entries.get(ref._id) is None)
