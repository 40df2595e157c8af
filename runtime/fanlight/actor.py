"""``@remote`` on classes: actors, their handles and methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fanlight import context, errors, interrupts, options, refs, serialization
from fanlight import session as sessions
from fanlight.engines.base import FunctionSpec
from fanlight.ids import handle_oid
from fanlight.pending_calls import OutstandingCalls
from fanlight.remote_function import Bindable, SignatureCheck

_BUILT_IN = ("__ray_ready__", "__ray_call__", "__ray_terminate__")


class ActorClass:
    """A class whose instances live in processes of their own: ``Counter.remote()`` makes one."""

    def __init__(self, cls: type, opts: dict[str, Any]) -> None:
        self._cls = cls
        self._options = opts
        self._name = cls.__qualname__.split("<locals>.")[-1]
        self._check = SignatureCheck(inspect.getattr_static(cls, "__init__"), skip_first=True)
        self._methods = describe_methods(cls)
        self.__name__ = cls.__name__
        self.__qualname__ = cls.__qualname__
        self.__module__ = cls.__module__
        self.__doc__ = cls.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Actors cannot be made directly. Instead of {self._name}(), use {self._name}.remote()."
        )

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        raise errors.ActorClassInheritanceException(
            f"{self._name} is an actor class, and those cannot be subclassed. Subclass the plain "
            "class, and decorate only the last one with @remote."
        )

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Create an actor; returns its handle at once."""
        session = sessions.ensure()
        self._check(args, kwargs)
        opts = dict(self._options)
        opts["_traits"] = self._traits()
        opts["namespace"] = opts.get("namespace") or session.task_namespace
        opts["_methods"] = self._methods
        opts["_is_async"] = any(facts["async"] for facts in self._methods.values())
        spec = FunctionSpec(self._cls, self._name, opts, context.origin(), session.task_namespace)
        with interrupts.held():  # an actor without a handle would live for ever
            found = session.engine.create_actor(spec, args, kwargs)
            return handle_of(found, True)

    def _traits(self) -> dict[str, Any]:
        """What handles know of the actor besides its methods. Raises ValueError."""
        opts = self._options
        groups = options.groups_of(opts.get("concurrency_groups"))
        for name, facts in self._methods.items():
            check_group(facts["options"].get("concurrency_group"), groups, f"{self._name}.{name}")
        concurrent = opts.get("max_concurrency", 1) > 1 or any(
            facts["async"] for facts in self._methods.values()
        )
        if opts.get("allow_out_of_order_execution") is False and (concurrent or groups):
            raise ValueError(
                "allow_out_of_order_execution=False is for actors that run one call at a time: "
                f"{self._name} is async, has concurrency groups, or has max_concurrency above 1."
            )
        return {"groups": groups, "max_pending_calls": opts.get("max_pending_calls", -1)}

    def options(self, **opts: Any) -> ActorClass:
        """A copy with other options; those not named stay as they are."""
        if "concurrency_groups" in opts:
            raise ValueError("concurrency_groups cannot be changed in .options().")
        merged = {**self._options, **options.check({**_named(self._options), **opts}, "actor")}
        for name, value in opts.items():
            if value is None:
                merged.pop(name, None)
        return ActorClass(self._cls, merged)

    def __reduce__(self) -> Any:
        return ActorClass, (self._cls, self._options)

    def __repr__(self) -> str:
        return f"<actor class {self._name}>"


def _named(opts: dict[str, Any]) -> dict[str, Any]:
    """The part of earlier options that later ones are checked against."""
    return {"name": opts["name"]} if "name" in opts else {}


def describe_methods(cls: type) -> dict[str, dict[str, Any]]:
    """What handles need to know of a class: its methods, their signatures and options."""
    methods: dict[str, dict[str, Any]] = {}
    for name, member in inspect.getmembers(cls, callable):
        if (name.startswith("__") and name.endswith("__")) or inspect.isclass(member):
            continue
        static = isinstance(inspect.getattr_static(cls, name), staticmethod | classmethod)
        try:
            parameters = list(inspect.signature(member).parameters.values())
        except (TypeError, ValueError):
            parameters = []
        own = parameters if static else parameters[1:]
        methods[name] = {
            "parameters": [(p.name, int(p.kind), p.default is not p.empty) for p in own],
            "options": _generator_default(member) | getattr(member, "__fanlight_method__", {}),
            "async": inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member),
        }
    return methods


def check_group(group: str | None, groups: dict[str, int], label: str) -> None:
    """Raises ValueError when the actor has no such concurrency group."""
    if group is not None and group not in groups:
        known = ", ".join(map(repr, groups)) or "none"
        raise ValueError(
            f"{label} is to run in the concurrency group {group!r}; the groups of its class are: "
            f"{known} (concurrency_groups= of @remote)."
        )


def _generator_default(member: Any) -> dict[str, Any]:
    generator = inspect.isgeneratorfunction(member) or inspect.isasyncgenfunction(member)
    return {"num_returns": "streaming"} if generator else {}


def method(**opts: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a method of an actor class with defaults, such as ``num_returns=2``."""
    unknown = set(opts) - set(options.METHOD_OPTIONS)
    assert opts and not unknown, (
        f"@method takes {', '.join(options.METHOD_OPTIONS)}; not {', '.join(unknown)}."
    )
    checked = options.check_method(opts)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__fanlight_method__ = checked  # type: ignore[attr-defined]
        return function

    return decorate


class MethodCalls(Bindable):
    """Calls of one method through one handle. It does not keep the handle: that would be a cycle,
    and the actor is to end when its last handle goes, not when the collector runs."""

    __slots__ = ("_counted", "_id", "_label", "_options", "_outstanding", "_traits")

    def __init__(self, handle: ActorHandle, name: str, opts: dict[str, Any], check: Any) -> None:
        self._id = handle._id
        self._counted = handle._counted
        self._traits = handle._traits
        self._outstanding = handle._outstanding
        self._label = (handle._class_name, name)
        self._options = opts
        super().__init__(check)

    def _prepare(self, session: sessions.Session, origin: str) -> Any:
        if self._counted:
            check_session(session, self._id)
        class_name, name = self._label
        label = f"{class_name}.{name}"
        check_group(self._options.get("concurrency_group"), self._traits["groups"], label)
        call = session.engine.bind_method(self._id, name, label, self._options, origin)
        if self._outstanding is None:
            return call
        return self._outstanding.limited(call, self._traits["max_pending_calls"], label)


class ActorMethod:
    """One method of one actor: ``handle.inc.remote()``."""

    __slots__ = ("_calls", "_handle", "_name")

    def __init__(self, handle: ActorHandle, name: str, calls: MethodCalls) -> None:
        self._handle = handle  # kept while the call is made: it may be the last one
        self._name = name
        self._calls = calls

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submit one call. Returns an ObjectRef, a list of them, or None (``num_returns``)."""
        return self._calls.submit(args, kwargs)

    def options(self, **opts: Any) -> ActorMethod:
        """The same method with other options for its calls."""
        calls = self._calls
        merged = {**calls._options, **options.check_method(opts)}
        made = MethodCalls(self._handle, self._name, merged, calls._check)
        return ActorMethod(self._handle, self._name, made)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Actor methods cannot be called directly. Instead of {self._name}(), use "
            f"{self._name}.remote()."
        )

    def __repr__(self) -> str:
        return f"<method {self._name} of {self._handle!r}>"


def check_session(session: sessions.Session, actor_id: bytes) -> None:
    """Raises ActorHandleNotFoundError for an actor of a runtime that was shut down."""
    if handle_oid(actor_id) not in session.client._counts:
        raise errors.ActorHandleNotFoundError(
            f"The actor {actor_id.hex()} belongs to a runtime that was shut down. Make it again."
        )


class ActorHandle:
    """Addresses one actor. Handles can be passed to tasks and actors and stored in objects;
    the actor lives as long as a handle to it does, anywhere (detached ones until killed)."""

    def __init__(
        self,
        actor_id: bytes,
        class_name: str,
        methods: dict[str, Any],
        traits: dict[str, Any],
        counted: bool,
    ) -> None:
        self._id = actor_id
        self._class_name = class_name
        self._methods = methods
        self._traits = traits
        self._outstanding = OutstandingCalls() if traits["max_pending_calls"] >= 0 else None
        self._counted = counted  # handles made by get_actor do not keep the actor alive
        self._oid = handle_oid(actor_id) if counted else b""
        self._calls: dict[str, MethodCalls] = {}

    def __getattr__(self, name: str) -> ActorMethod:
        try:
            return ActorMethod(self, name, self.__dict__["_calls"][name])
        except KeyError:
            return ActorMethod(self, name, self._calls_of(name))

    def _calls_of(self, name: str) -> MethodCalls:
        facts = self.__dict__.get("_methods", {}).get(name)
        if facts is not None:
            made = MethodCalls(self, name, facts["options"], _signature(facts["parameters"]))
        elif name in _BUILT_IN:
            made = MethodCalls(self, name, {}, lambda args, kwargs: None)
        else:
            raise AttributeError(
                f"The actor {self.__dict__.get('_class_name', '?')} has no method {name!r}. "
                "Attributes of an actor's instance can only be read by its methods."
            )
        return self._calls.setdefault(name, made)

    def __dir__(self) -> list[str]:
        return [*self._methods, *_BUILT_IN]

    @property
    def _actor_id(self) -> ActorID:
        return ActorID(self._id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and other._id == self._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"Actor({self._class_name}, {self._id.hex()})"

    @interrupts.finalizer(after=refs.remind)
    def __del__(self) -> None:
        try:
            if self._oid:
                refs.dropped.append(self._oid)
                refs.ring()
        except (AttributeError, TypeError):
            pass  # the interpreter is going away

    def __reduce__(self) -> Any:
        if self._counted and refs._client is not None:
            refs._client.adopt(handle_oid(self._id))
        return rebuild_handle, _parts(self)


class ActorID:
    __slots__ = ("_id",)

    def __init__(self, actor_id: bytes) -> None:
        self._id = actor_id

    def hex(self) -> str:
        return self._id.hex()

    def binary(self) -> bytes:
        return self._id

    def __repr__(self) -> str:
        return f"ActorID({self._id.hex()})"


def rebuild_handle(
    actor_id: bytes,
    class_name: str,
    methods: dict[str, Any],
    traits: dict[str, Any],
    counted: bool,
) -> ActorHandle:
    """Called when a handle is unpickled: this process holds the actor from now on."""
    if counted and refs._client is not None:
        refs._client.adopt(handle_oid(actor_id))
    return ActorHandle(actor_id, class_name, methods, traits, counted)


def handle_of(found: dict[str, Any], counted: bool) -> ActorHandle:
    """A handle from the engine's description of an actor."""
    methods, traits = found["methods"]
    return ActorHandle(found["actor"], found["class_name"], methods, traits, counted)


def _parts(handle: ActorHandle) -> tuple[Any, ...]:
    """The arguments of ``rebuild_handle``."""
    return (handle._id, handle._class_name, handle._methods, handle._traits, handle._counted)


def _reduce(handle: ActorHandle, contained: list[bytes]) -> tuple[Any, ...]:
    if handle._counted:
        contained.append(handle_oid(handle._id))
    return rebuild_handle, _parts(handle)


serialization.register_reducer(ActorHandle, _reduce)


def _signature(parameters: list[tuple[str, int, bool]]) -> SignatureCheck:
    kinds = list(inspect._ParameterKind)
    made = inspect.Signature(
        [
            inspect.Parameter(
                name, kinds[kind], default=None if has_default else inspect.Parameter.empty
            )
            for name, kind, has_default in parameters
        ]
    )

    def stand_in() -> None: ...

    stand_in.__signature__ = made  # type: ignore[attr-defined]
    return SignatureCheck(stand_in)


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """A handle to a named actor; it does not keep the actor alive. Raises ValueError."""
    if not isinstance(name, str):
        raise TypeError(f"An actor's name is a string, not {type(name).__name__}.")
    if not name:
        raise ValueError("An actor's name cannot be empty.")
    session = sessions.ensure()
    found = session.engine.find_actor(name, namespace or session.task_namespace)
    return handle_of(found, False)


def exit_actor() -> None:
    """In a method: end this actor on purpose; it is not restarted."""
    running = context.current.get()
    if running is None or not running.actor_id:
        raise TypeError("exit_actor() can only be called in a method of an actor.")
    raise context.ActorExitRequest
