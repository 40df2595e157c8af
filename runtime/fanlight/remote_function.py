"""``@remote`` on functions: what ``f.remote()`` does."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from fanlight import context, options
from fanlight import session as sessions
from fanlight.engines.base import FunctionSpec


class SignatureCheck:
    """Checks a call against a signature; quick for the plain cases."""

    __slots__ = ("_least", "_most", "_signature", "_skip")

    def __init__(self, function: Callable[..., Any], skip_first: bool = False) -> None:
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # some C functions have none
            signature = inspect.Signature(
                [
                    inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
                    inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
                ]
            )
        if skip_first:
            signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        self._signature = signature
        kinds = [p.kind for p in signature.parameters.values()]
        plain = {*kinds} <= {
            inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
        }  # fmt: skip
        required = [
            p for p in signature.parameters.values() if p.default is inspect.Parameter.empty
        ]
        # With plain parameters and positional arguments, counting is enough.
        self._least = len(required) if plain else 1 << 30
        self._most = len(kinds) if plain else -1

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raises TypeError as the call itself would."""
        if kwargs or not self._least <= len(args) <= self._most:
            self._signature.bind(*args, **kwargs)


_UNBOUND = (object(), "", -1, None)


class Bindable:
    """What functions and actor methods share: a call is prepared once for each session and cell.

    In a notebook, once for each *run* of a cell: a function is pickled with the globals that it
    uses, and those may have been redefined since.
    """

    __slots__ = ("_bound", "_calls", "_check")

    def __init__(self, check: Callable[[tuple[Any, ...], dict[str, Any]], None]) -> None:
        self._check = check
        self._bound: tuple[Any, str, int, Any] = _UNBOUND  # session, origin, generation, call
        self._calls: dict[str, tuple[Any, int]] = {}  # of that session, by origin; and generation

    def submit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Submit one call; ``.remote()`` of a function or method."""
        session, origin, made, call = self._bound
        if (
            session is not sessions._current
            or origin != context.origin()
            or made != context.generation
        ):
            call = self._bind()
        self._check(args, kwargs)
        return call(args, kwargs)

    def _bind(self) -> Any:
        session = sessions.ensure()
        origin = context.origin()
        if self._bound[0] is not session:
            self._calls.clear()
        now = context.generation
        call, made = self._calls.get(origin, (None, -1))
        if made != now:
            call = self._prepare(session, origin)
            self._calls[origin] = (call, now)
        self._bound = (session, origin, now, call)
        return call

    def _prepare(self, session: sessions.Session, origin: str) -> Any:
        """Define the call to the engine; returns what takes args and kwargs."""
        raise TypeError("only functions and methods can be called")


class RemoteFunction(Bindable):
    """A function that runs in the runtime: ``f.remote(...)`` returns at once with a ref."""

    def __init__(self, function: Callable[..., Any], opts: dict[str, Any]) -> None:
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise ValueError(
                f"{function.__name__} is an async function: those cannot be tasks. Make it a "
                "method of an actor, or call asyncio.run() inside a plain function."
            )
        self._function = function
        self._options = opts
        self._name = getattr(function, "__qualname__", repr(function)).split("<locals>.")[-1]
        super().__init__(SignatureCheck(function))
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Remote functions cannot be called directly. Instead of {self._name}(), use "
            f"{self._name}.remote()."
        )

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submit one call. Returns an ObjectRef, a list of them, or None (``num_returns``); an
        ObjectRefGenerator when the function is a generator."""
        return self.submit(args, kwargs)

    def _prepare(self, session: sessions.Session, origin: str) -> Any:
        return session.engine.bind_task(
            FunctionSpec(self._function, self._name, self._options, origin, session.task_namespace)
        )

    def options(self, **opts: Any) -> RemoteFunction:
        """A copy with other options; those not named stay as they are."""
        if "max_calls" in opts:
            raise ValueError("max_calls cannot be changed in .options().")
        merged = {**self._options, **options.check(opts, "task")}
        for name, value in opts.items():
            if value is None:
                merged.pop(name, None)  # None means: the default
        return RemoteFunction(self._function, merged)

    def __reduce__(self) -> Any:
        return RemoteFunction, (self._function, self._options)

    def __repr__(self) -> str:
        return f"<remote function {self._name}>"
