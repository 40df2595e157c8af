"""The registry of a notebook's namespaces, and each of them as the notebook knows it."""

from __future__ import annotations

import contextlib
import re
import threading
import time
import uuid
from typing import Any

from IPython.core.error import UsageError

from fanlight_kernel.namespaces import inspection
from fanlight_kernel.namespaces import views as namespace_views
from fanlight_kernel.namespaces.host import ATTRIBUTE, Namespace, State
from fanlight_kernel.namespaces.inspection import Variable
from fanlight_kernel.namespaces.views import Info, Listing, Variables

FIXED = ("num_cpus", "num_gpus", "resources", "memory", "env")  # for as long as it lives
PATIENCE = 2.0  # seconds for reprs of variables; for an answer, as long again
NAMED = 8  # variables that an error names


class NamespaceLostError(Exception):
    """The process of a namespace is gone, and its variables with it."""


class RemoteNamespace:
    """A namespace as the notebook knows it."""

    def __init__(self, registry: Namespaces, name: str, spec: dict[str, Any]) -> None:
        self._registry = registry
        self.name = name
        self.spec = spec  # what was asked for when it was made
        self.handle: Any = None
        self._hello: Any = None
        self.runtime_id = ""
        self.made = 0.0  # seconds since the epoch
        self.last = ""  # the title of the cell that ran last
        self.known: State | None = None  # as its last cell left it
        self.known_of = ""  # the title of that cell
        self.lost = ""  # why its process is gone, when somebody was told
        self.running: dict[Any, str] = {}  # ref of a run -> title of its cell
        self.mirror: dict[str, inspection.Same] = {}  # what the notebook was given of it

    # -- life ---------------------------------------------------------------------------------
    def start(self) -> None:
        """Make the actor. Raises UsageError for what the runtime will never have."""
        import fanlight
        from fanlight import session

        current = session.ensure()
        settings = _settings(self.spec)
        _feasible(self.name, settings, fanlight.cluster_resources())
        self.runtime_id = current.runtime_id
        self.known, self.known_of, self.lost = None, "", ""
        self.running, self.mirror = {}, {}
        self.made = time.time()
        made = fanlight.remote(Namespace).options(
            name=self.name, namespace=self._registry.actor_namespace, **settings
        )
        with session.origin(""):  # it outlives the cell, whose monitor counts only its runs
            self.handle = made.remote(self.name)
            self._hello = self.handle.hello.options(name=f"start {self.name}").remote()

    def restart(self, **resources: Any) -> RemoteNamespace:
        """End its process, forget its variables, and start it again.

        ``num_cpus``, ``num_gpus``, ``resources``, ``memory`` (bytes) and ``env`` (a dict) replace
        what it had. Raises UsageError.
        """
        self._check(resources)
        spec = _merged(self.spec, resources)
        self._registry.kill(self)
        self.spec = spec
        self.start()
        return self

    def remove(self) -> None:
        """End its process; the next cell on a namespace of that name makes a new one."""
        self._registry.remove(self.name)

    def _check(self, resources: dict[str, Any]) -> None:
        unknown = [key for key in resources if key not in FIXED]
        if unknown:
            raise UsageError(f"A namespace takes {', '.join(FIXED)}; not {', '.join(unknown)}.")

    # -- what the cells' ends say -------------------------------------------------------------
    def began(self, ref: Any, title: str) -> None:
        self.running[ref] = title
        self.last = title

    def ended(self, ref: Any, result: Any, error: BaseException | None) -> None:
        """A run ended with a CellResult or an error. Any thread; only the first time counts."""
        from fanlight import errors

        title = self.running.pop(ref, None)
        if title is None:
            return
        state = getattr(result, "state", None)
        if error is not None:
            if died(error):
                return
            state = getattr(errors.innermost(error), ATTRIBUTE, None)
        if isinstance(state, State):
            self.known, self.known_of = state, title

    def loses(self, why: str) -> str:
        """Its process is gone: the text to tell, which names the variables.

        ``why`` may go on in further lines: what the process put out last.
        """
        self.lost = why
        reason, _, tail = why.partition("\n")
        text = f"The namespace `{self.name}` is gone"
        known = self.known
        if known is not None and known.variables:
            count = len(known.variables)
            names = ", ".join(named(v) for v in known.variables[:NAMED])
            more = f" and {count - NAMED} more" if count > NAMED else ""
            which = "its variable" if count == 1 else f"its {count} variables"
            text += f", and with it {which}: {names}{more}"
        text = (
            f"{text}. {reason.rstrip('.')}. The next cell on it starts anew, without variables: run "
            "the cells again that fill it."
        )
        return f"{text}\n{tail}" if tail else text

    def ahead_of(self, refs: list[Any]) -> str:
        """The title of the cell that the first of ``refs`` waits for; "" if it is its turn."""
        for first, title in list(self.running.items()):  # a copy: they end on any thread
            return "" if first in refs else title
        return ""

    # -- looking at it ------------------------------------------------------------------------
    @property
    def own(self) -> dict[str, Variable]:
        """The variables that cells assigned there, as far as it is known."""
        if self.known is None:
            return {}
        own = set(self.known.own)
        return {v.name: v for v in self.known.variables if v.name in own}

    def info(self) -> Info:
        """One row of the listing."""
        return namespace_views.info(self, self._state())

    def _state(self) -> str:
        import fanlight
        from fanlight import session

        current = session.current()
        if self.lost:
            return "gone"
        if current is None or current.runtime_id != self.runtime_id:
            return "gone (the runtime was stopped)"
        query = current.engine.query
        filters = [["actor_id", "=", self.handle._actor_id.hex()]]
        rows = query("state", kind="actors", filters=filters, limit=1)["rows"]
        state = rows[0]["state"] if rows else "DEAD"
        if state == "DEAD":
            return "gone"
        if state != "ALIVE":
            why = session.ref_state(self._hello).get("why") or ""
            return f"starting: {why}" if why else "starting"
        if self.known is None:
            with contextlib.suppress(Exception):
                self.known = fanlight.get(self._hello, timeout=PATIENCE)
        titles = list(dict.fromkeys(self.running.values()))
        if titles:
            waiting = len(self.running) - 1
            return f"busy: {titles[0]}" + (f", {waiting} waiting" if waiting else "")
        return "idle"

    def variables(self, seconds: float = PATIENCE) -> Variables:
        """What variables there are, asked there; as of the last cell while it is busy or gone."""
        import fanlight
        from fanlight import session

        state = self._state()
        if state == "idle":
            with session.origin(""):
                ask = self.handle.variables.options(name=f"variables of {self.name}")
                ref = ask.remote(seconds)
            if fanlight.wait([ref], timeout=seconds + PATIENCE)[0]:
                with contextlib.suppress(Exception):
                    return Variables(self.name, fanlight.get(ref))
            fanlight.cancel(ref)
            state = "slow to answer"
        known = self.known
        when = f"; this is as {self.known_of} left it" if self.known_of else ""
        return Variables(
            self.name, known.variables if known else [], f"{self.name} is {state}{when}"
        )

    def __fanlight_refs__(self) -> list[Any]:
        """For ``fanlight.why``: what runs there, or the actor itself."""
        return [*self.running] or [self.handle]

    def __repr__(self) -> str:
        return f"<namespace {self.name}: {self._state()}>"


class Namespaces:
    """The namespaces of one notebook."""

    def __init__(self) -> None:
        self._all: dict[str, RemoteNamespace] = {}
        self._lock = threading.RLock()
        # Actors' names are shared by all who use the same actor namespace; these are ours alone.
        self.actor_namespace = f"notebook {uuid.uuid4().hex}"

    def names(self) -> list[str]:
        return sorted(self._all)

    def find(self, name: str) -> RemoteNamespace | None:
        return self._all.get(name)

    def get(self, name: str) -> RemoteNamespace:
        """Raises UsageError where there is none of that name."""
        found = self._all.get(name)
        if found is None:
            known = ", ".join(self.names())
            there = (
                f"There are: {known}." if known else "There are none: %%remote --on NAME makes one."
            )
            raise UsageError(f"There is no namespace {name!r}. {there}")
        return found

    def use(self, name: str, wanted: dict[str, Any]) -> tuple[RemoteNamespace, str]:
        """For a cell that asks for ``wanted``: the namespace, made if need be, and a note."""
        from fanlight import session

        current = session.ensure()
        space = self._all.get(name)
        note = ""
        if space is None:
            space = RemoteNamespace(self, name, _merged({}, wanted))
            space.start()
            self._all[name] = space
        elif space.lost or space.runtime_id != current.runtime_id:
            why = "" if space.lost else ": the runtime was stopped, and another one was started"
            note = f"note: the namespace `{name}` starts anew{why}.\n"
            space.spec = _merged(space.spec, wanted)
            space.start()
        else:
            _agree(space, wanted)
        return space, note

    def kill(self, space: RemoteNamespace) -> None:
        """End its process at once, whatever runs there."""
        import fanlight

        with contextlib.suppress(Exception):  # it, or its runtime, is gone
            fanlight.kill(space.handle)

    def remove(self, name: str) -> None:
        """End a namespace: in good order if it is idle. Raises UsageError."""
        import fanlight
        from fanlight import session

        space = self.get(name)
        del self._all[name]
        with contextlib.suppress(Exception), session.origin(""):  # it, or its runtime, is gone
            if not space.running:
                call = space.handle.leave.options(name=f"remove {name}")
                fanlight.wait([call.remote()], timeout=PATIENCE)
        self.kill(space)

    def clear(self) -> None:
        """End all of them."""
        for name in self.names():
            self.remove(name)

    def listing(self) -> Listing:
        return Listing(namespace_views.infos([self._all[name] for name in self.names()]))


def named(variable: Variable) -> str:
    """A variable in a sentence: its name and type, and its size if it is large."""
    from fanlight import look

    large = f", {look.size(variable.size)}" if (variable.size or 0) >= 1_000_000 else ""
    return f"{variable.name} ({variable.type}{large})"


def reason(error: BaseException) -> str:
    """Why an actor is gone, from its error, without what the notebook's user never named.

    >>> reason(Exception("The actor Namespace (ab12, pid 7, namespace 'x') is dead: it was killed."))
    'Its process: it was killed.'
    """
    first, newline, rest = str(error).strip().partition("\n")
    said = re.sub(r"^The actor Namespace \(.*?\) is dead[:.] *(its process )?", "", first)
    if said != first:
        said = f"Its process {said}" if "is dead: its process " in first else f"Its process: {said}"
    return f"{said}{newline}{rest}"


def died(error: BaseException) -> bool:
    """Whether a call's error says that the actor is gone; errors of the cell's own come wrapped."""
    from fanlight import errors

    gone = (
        errors.ActorError,
        errors.ActorUnschedulableError,
        errors.OutOfMemoryError,
        errors.RuntimeEnvSetupError,
        errors.WorkerCrashedError,
    )
    return isinstance(error, gone)


# -- what a namespace takes ---------------------------------------------------------------------


def _merged(spec: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    found = {**spec, **{key: wanted[key] for key in FIXED if wanted.get(key) is not None}}
    return {key: value for key, value in found.items() if value not in (0, {}, None)}


def _settings(spec: dict[str, Any]) -> dict[str, Any]:
    """The options of the actor. Without --num-cpus it takes none: it is idle most of the time."""
    settings = {"num_cpus": 0, **{key: value for key, value in spec.items() if key != "env"}}
    if spec.get("env"):
        settings["runtime_env"] = {"env_vars": dict(spec["env"])}
    return settings


def _feasible(name: str, settings: dict[str, Any], total: dict[str, float]) -> None:
    wanted = {"CPU": settings["num_cpus"], "GPU": settings.get("num_gpus", 0)}
    wanted |= {"memory": settings.get("memory", 0), **settings.get("resources", {})}
    for resource, amount in wanted.items():
        have = total.get(resource, 0)
        if amount > have:
            raise UsageError(
                f"%%remote --on {name}: it asks for {amount:g} {resource}, and this runtime has "
                f"{have:g}. %fanlight stop, then %fanlight start with more."
            )


def _agree(space: RemoteNamespace, wanted: dict[str, Any]) -> None:
    """Raises UsageError for a cell that asks for something else than the namespace has."""
    asked = {key: wanted[key] for key in FIXED if wanted.get(key) is not None}
    if _merged({}, asked) == {k: v for k, v in space.spec.items() if k in asked}:
        return
    other = " ".join(spelled(key, value) for key, value in asked.items())
    had = " ".join(spelled(key, value) for key, value in space.spec.items()) or "no resources"
    raise UsageError(
        f"%%remote --on {space.name} {other}: it was made with {had}, and that does not change "
        f"while it lives. Leave the option out to use it as it is, or start it anew, without its "
        f"variables:\n    %fanlight namespaces restart {space.name} {other}"
    )


def spelled(key: str, value: Any) -> str:
    """An option as it is written."""
    import json
    import shlex

    flag = "--" + key.replace("_", "-")
    if key == "env":
        return " ".join(f"--env {k}={shlex.quote(v)}" for k, v in value.items())
    if key == "resources":
        return f"{flag} {json.dumps(value)}"
    return f"{flag} {value:g}" if isinstance(value, float) else f"{flag} {value}"


# -- Python API ---------------------------------------------------------------------------------


def _registry() -> Namespaces:
    from IPython.core.getipython import get_ipython

    extension = getattr(get_ipython(), "_fanlight_extension", None)
    if extension is None:
        raise RuntimeError("Namespaces are for notebooks: run %load_ext fanlight first.")
    found: Namespaces = extension.namespaces
    return found


def listing() -> Listing:
    """All namespaces of this notebook; a table where it is displayed."""
    return _registry().listing()


def get(name: str) -> RemoteNamespace:
    """One namespace. Raises UsageError where there is none of that name."""
    return _registry().get(name)
