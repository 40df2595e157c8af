"""What the ``local`` and ``inproc`` engines share: the API's calls as messages of a client."""

from __future__ import annotations

import hashlib
import inspect
import pickle
import warnings
from collections.abc import Iterable
from typing import Any

from fanlight import context, errors, ids, options, serialization
from fanlight import messages as m
from fanlight.client import failures
from fanlight.client.client import Client
from fanlight.client.definitions import Use
from fanlight.config import UNITS
from fanlight.engines import where
from fanlight.engines.base import Call, FunctionSpec, shape_returns
from fanlight.generators import ObjectRefGenerator
from fanlight.ids import handle_oid
from fanlight.refs import ObjectRef

_ANSWER_SECONDS = 2.0  # that a node which is alive needs at most
_NO_ARGS: tuple[bytes, list[bytes], list[bytes]] = (b"", [], [])
FUNCTION_LIMIT = 95 << 20
FUNCTION_WARN = 10 << 20


class NativeEngine:
    """An engine whose core is Fanlight's own."""

    name = "native"
    info: dict[str, Any]

    def __init__(self, client: Client) -> None:
        self.client = client
        self.environment: dict[str, Any] | None = None  # of this job, or of this worker
        self.get = client.get
        self.get_many = client.get_many
        self.wait = client.wait
        self.put = client.put
        self.query = client.query

    # --- functions ---------------------------------------------------------------------------

    def _define(self, target: Any, name: str) -> tuple[bytes, bytes]:
        """A function's key and its bytes."""
        try:
            blob, contained = serialization.dumps_function(target)
        except errors.OutOfBandRefError:
            raise
        except Exception as e:
            raise failures.cannot_serialize(f"the function {name}", target, e) from e
        if len(blob) > FUNCTION_LIMIT:
            raise ValueError(
                f"The function {name} is too large: {len(blob) / 1e6:.0f} MB pickled, with what it "
                f"captures (FUNCTION_SIZE_ERROR_THRESHOLD is {FUNCTION_LIMIT / 1e6:.0f} MB). "
                "Put large values with fanlight.put() and pass the ref as an argument."
            )
        if len(blob) > FUNCTION_WARN:
            warnings.warn(
                f"The function {name} is large: {len(blob) / 1e6:.0f} MB pickled, with what it "
                "captures. Each worker gets a copy; put large values with fanlight.put() and pass "
                "the ref as an argument.",
                stacklevel=2,
            )
        for oid in contained:  # refs in closures are kept as long as this process
            self.client.adopt(oid)
        key = hashlib.blake2b(blob, digest_size=16).digest()
        return key, blob

    def _environment(self, own: dict[str, Any] | None) -> str:
        """The key of the runtime environment for work that sets ``own``; "" for none."""
        if not own and not self.environment:
            return ""
        from fanlight.client import environments

        return environments.define(self.client, environments.effective(self.environment, own))

    def start_job(self, env: dict[str, Any]) -> None:
        """Called by ``init``: all work of this driver has this runtime environment."""
        from fanlight.client import environments

        self.environment = environments.job(env, self.info["session_dir"])
        environments.define(self.client, self.environment, eager=True)

    def bind_task(self, spec: FunctionSpec) -> Call:
        client, opts = self.client, spec.options
        name = opts.get("name") or spec.name
        generator = inspect.isgeneratorfunction(spec.target)
        num_returns = _returns(opts.get("num_returns", "streaming" if generator else 1))
        retry = opts.get("retry_exceptions", False)
        demand = options.demand(opts, default_cpus=1)
        key, blob = self._define(spec.target, spec.name)
        env = self._environment(opts.get("runtime_env"))

        def define(around: m.Where | None, blob: bytes = b"") -> Use:
            return client.definitions.define(
                m.TaskSpec(
                    m.TASK,
                    key,
                    name,
                    demand,
                    num_returns,
                    opts.get("max_retries", 3),
                    bool(retry),
                    _retry_types(retry),
                    spec.origin,
                    namespace=spec.namespace,
                    env=env,
                    max_calls=options.max_calls(opts),
                    label=spec.name if name != spec.name else "",
                    where=where.of(opts, demand, 0, name, around, self._bundles),
                    backpressure=_backpressure(opts),
                ),
                blob,
            )

        use = define(None, blob)  # as long as it lives, the function is known
        blob = b""
        encode, submit = client.encode_args, client.submit
        limited = _backpressure(opts) > 0
        outer = where.outer if where.depends_on_outer(opts) else None
        inside: dict[bytes, Use] = {}  # specs for calls from within a placement group, by group

        def call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            encoded = encode(args, kwargs, name) if args or kwargs else _NO_ARGS
            around = outer() if outer is not None else None
            chosen = use
            if around is not None:
                chosen = inside.get(around.group) or inside.setdefault(around.group, define(around))
            if num_returns < 0:
                return self._call_generator(chosen.number, num_returns, encoded, b"", limited)
            refs = submit(chosen.number, num_returns, encoded)
            return refs[0] if num_returns == 1 else shape_returns(refs)

        return call

    def _call_generator(
        self,
        number: int,
        num_returns: int,
        encoded: tuple[bytes, list[bytes], list[bytes]],
        actor: bytes,
        limited: bool,
        after: int = 0,
        incarnation: int = 0,
    ) -> Any:
        """An ObjectRefGenerator, or the one ref of ``num_returns="dynamic"``."""
        if num_returns == m.DYNAMIC:
            return self.client.submit(number, 1, encoded, actor, after, incarnation)[0]
        return self.client.streams.submit(
            number, encoded, actor, limited, ObjectRefGenerator, after, incarnation
        )

    # --- actors ------------------------------------------------------------------------------

    def create_actor(
        self, spec: FunctionSpec, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        client, opts = self.client, spec.options
        held, placement = options.actor_demand(opts)
        methods = (opts["_methods"], opts["_traits"])
        concurrency = opts.get("max_concurrency") or (1000 if opts["_is_async"] else 1)
        key, blob = self._define(spec.target, spec.name)
        use = client.definitions.define(
            m.TaskSpec(
                m.ACTOR_CREATE,
                key,
                spec.name,
                held,
                0,
                origin=spec.origin,
                method=opts.get("name", ""),
                namespace=spec.namespace,
                max_concurrency=concurrency,
                placement_cpu=placement,
                groups=opts["_traits"]["groups"],
                unordered=opts.get("allow_out_of_order_execution", False),
                env=self._environment(opts.get("runtime_env")),
                where=where.of(opts, held, placement, spec.name, where.outer(), self._bundles),
            ),
            blob,
        )
        encoded = client.encode_args(args, kwargs, spec.name) if args or kwargs else _NO_ARGS
        actor_id = ids.new_actor_id()
        running = context.current.get()
        name = opts.get("name", "")

        def message(request: int) -> m.CreateActor:
            return m.CreateActor(
                actor=actor_id,
                task=client.next_task_id(),
                spec=use.number,
                args=encoded[0],
                deps=encoded[1],
                pins=encoded[2],
                parent=running.task_id if running is not None else b"",
                name=name,
                namespace=opts["namespace"],
                detached=opts.get("lifetime") == "detached",
                max_restarts=opts.get("max_restarts", 0),
                max_task_retries=opts.get("max_task_retries", 0),
                methods=pickle.dumps(methods, 5),
                request=request,
                get_if_exists=opts.get("get_if_exists", False),
            )

        oid = handle_oid(actor_id)
        if not name:
            client._counts[oid] = 1
            client.link.send([message(0)])
            client.sent()
            return {"actor": actor_id, "methods": methods, "class_name": spec.name}
        client.flush_drops()  # a handle that was just dropped must not end what is found here
        try:
            found = client.request(message)
            client.sent()
        except LookupError as e:
            raise errors.ActorAlreadyExistsError(str(e)) from None
        found["methods"] = pickle.loads(found["methods"])
        oid = handle_oid(found["actor"])
        client._counts.add(oid)
        return found

    def find_actor(self, name: str, namespace: str) -> dict[str, Any]:
        """What a handle to a named actor is made of. Raises ValueError."""
        try:
            found = self.client.query("get_actor", name=name, namespace=namespace)
        except LookupError as e:
            raise ValueError(str(e.args[0])) from None
        found["methods"] = pickle.loads(found["methods"])
        return found

    def bind_method(
        self, actor_id: bytes, method: str, label: str, options: dict[str, Any], origin: str
    ) -> Call:
        """``label`` is what people see: ``Counter.inc``."""
        client = self.client
        num_returns = _returns(options.get("num_returns", 1))
        retry = options.get("retry_exceptions", False)
        name = options.get("name") or label
        spec = m.TaskSpec(
            m.ACTOR_CALL,
            b"",
            name,
            {},
            num_returns,
            options.get("max_task_retries", 0),
            bool(retry),
            _retry_types(retry),
            origin,
            method,
            group=options.get("concurrency_group", ""),
            label=label if name != label else "",
            backpressure=_backpressure(options),
        )
        use = client.definitions.define(spec)
        limited = _backpressure(options) > 0
        encode, submit, channels = client.encode_args, client.submit, client.channels
        line = channels.line(actor_id) if channels is not None else None
        once = not retry and not options.get("max_task_retries")

        def call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            encoded = encode(args, kwargs, name) if args or kwargs else _NO_ARGS
            if num_returns < 0:
                if channels is None or line is None:
                    return self._call_generator(use.number, num_returns, encoded, actor_id, limited)
                return channels.by_node(
                    line,
                    lambda *order: self._call_generator(
                        use.number, num_returns, encoded, actor_id, limited, *order
                    ),
                )
            if channels is None or line is None:
                refs = submit(use.number, num_returns, encoded, actor_id)
            else:
                refs = channels.call(line, use, spec, encoded, once)
            return refs[0] if num_returns == 1 else shape_returns(refs)

        return call

    # --- placement groups --------------------------------------------------------------------

    def create_group(
        self,
        group: bytes,
        bundles: list[dict[str, int]],
        strategy: str,
        name: str,
        namespace: str,
        detached: bool,
    ) -> None:
        """Reserve resources (units of 1/10000). Raises ValueError if the name is taken."""
        client = self.client

        def message(request: int) -> m.CreateGroup:
            return m.CreateGroup(group, bundles, strategy, name, namespace, detached, request)

        if not name:
            client.link.send([message(0)])
            return
        try:
            client.request(message)
        except LookupError as e:
            raise ValueError(str(e.args[0])) from None

    def remove_group(self, group: bytes) -> None:
        self.client.link.send([m.RemoveGroup(group)])

    def scale(self, cpus: float) -> None:
        """Have so many CPUs. Raises ValueError."""
        try:
            self.client.request(lambda number: m.Scale(number, cpus))
        except LookupError as e:
            raise ValueError(str(e.args[0])) from None

    def group_ready(self, group: bytes, value: Any) -> ObjectRef[Any]:
        """A ref that resolves to ``value`` as soon as the group is reserved."""
        client = self.client
        data = serialization.dumps(value).to_bytes()
        oid = ids.object_id(client.next_task_id(), 0)
        ref = client.new_ref(oid)
        client.link.send([m.GroupReady(group, oid, data)])
        return ref

    def _bundles(self, group: bytes) -> list[dict[str, int]]:
        rows = self.query("placement_group", id=group.hex())["bundles"]
        return [
            {name: round(amount * UNITS) for name, amount in rows[i].items()}
            for i in range(len(rows))
        ]

    # --- the rest ----------------------------------------------------------------------------

    def cancel(self, oid: bytes, force: bool, recursive: bool) -> None:
        task, channels = ids.task_of(oid), self.client.channels
        if channels is None or not channels.cancel(task, force) or recursive:
            self.client.link.send([m.Cancel(task, force, recursive)])

    def kill(self, actor_id: bytes, no_restart: bool) -> None:
        self.client.link.send([m.KillActor(actor_id, no_restart)])

    def unfinished_of_origin(self, origin: str) -> list[bytes]:
        """The ids of all unfinished tasks of one cell.

        Called when a cell was interrupted, so it does not wait for ever in its turn: raises
        GetTimeoutError if the node does not answer.
        """
        tasks: list[bytes] = self.client.query("tasks_of_origin", _ANSWER_SECONDS, origin=origin)
        if self.client.channels is not None:
            known = set(tasks)
            tasks += [t for t in self.client.channels.of_origin(origin) if t not in known]
        return tasks

    def cancel_tasks(self, tasks: Iterable[bytes], force: bool) -> None:
        """Cancel tasks by their ids; ``force`` is not for calls of actors, which are only asked."""
        messages = []
        for task in tasks:
            if self.client.channels is not None:
                self.client.channels.cancel(task, False)
            messages.append(m.Cancel(task, force, True))
        if messages:
            self.client.link.send(messages)


def _returns(num_returns: int | str) -> int:
    special = {"streaming": m.STREAMING, "dynamic": m.DYNAMIC}
    return special[num_returns] if isinstance(num_returns, str) else num_returns


def _backpressure(opts: dict[str, Any]) -> int:
    return max(0, opts.get("_generator_backpressure_num_objects", 0))


def _retry_types(retry: Any) -> bytes:
    if not isinstance(retry, list | tuple):
        return b""
    return serialization.dumps(tuple(retry)).to_bytes()
