"""The same core in one process, deterministic: for tests, for debugging, and without processes.

Nothing runs in the background. Tasks run, one at a time and in a fixed order, when the driver
blocks in ``get`` or ``wait`` (or calls ``shutdown``). A debugger stops in them like in any code.
When nothing can run any more, ``get`` says that the program is stuck instead of waiting for ever.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from fanlight import events, interrupts
from fanlight.engines.base import Call, Capabilities, FunctionSpec
from fanlight.engines.inproc_node import InprocNode, InprocSubscription
from fanlight.engines.native import NativeEngine
from fanlight.observe.discover import ConnectionInfo


class InprocEngine(NativeEngine):
    name = "inproc"
    capabilities = Capabilities(
        processes=False, shared_memory=False, interrupt=False, detached=False
    )

    def __init__(
        self,
        *,
        resources: dict[str, int],
        labels: dict[str, str],
        capacity: int | None,
        info: dict[str, str],
        gpu_tokens: list[str],
        gpus_preset: bool,
    ) -> None:
        gpus = (gpu_tokens, gpus_preset)
        self.node = InprocNode(resources, labels, capacity or 1 << 30, info, gpus)
        super().__init__(self.node.client)
        self.runtime_id = self.node.runtime_id
        self.node_pid = os.getpid()
        self.connection: ConnectionInfo | None = None
        self.info = {
            "runtime_id": self.runtime_id,
            "node_id": self.node.core.config.node_id.hex(),
            "session_dir": "",
        }

    # --- runtime environments ----------------------------------------------------------------

    @property
    def environment(self) -> dict[str, Any] | None:
        return self.node.environment

    @environment.setter
    def environment(self, env: dict[str, Any] | None) -> None:
        self.node.environment = env

    def _environment(self, own: dict[str, Any] | None) -> str:
        if own:
            from fanlight.client import environments

            environments.refuse_for_inproc(own)
        return super()._environment(own)

    def start_job(self, env: dict[str, Any]) -> None:
        from fanlight.client import environments

        environments.refuse_for_inproc(env)
        super().start_job(env)

    def bind_task(self, spec: FunctionSpec) -> Call:
        """A call for each environment that it is made in: they all are in this process."""
        bind = super().bind_task
        calls: dict[str, Call] = {}

        def current() -> Call:
            key = ""
            if self.node.environment:
                from fanlight.client import environments

                key = environments.key_of(self.node.environment)
            if key not in calls:
                calls[key] = bind(spec)
            return calls[key]

        current()  # so that it is refused where it is written
        return lambda args, kwargs: current()(args, kwargs)

    def subscribe(self, callback: Callable[[events.Event], None]) -> InprocSubscription:
        return self.node.subscribe(callback)

    def step(self) -> bool:
        """Let one task run; False if none can. For code that waits for more than refs."""
        return self.node.run_one()

    def close(self) -> None:
        """Run what was submitted and never waited for, then end."""
        with interrupts.let_through():  # those are the user's, and may take long
            self.node.finish()
        self.node.hub.close()
        self.client.close()
