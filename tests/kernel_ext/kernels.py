"""A real ipykernel, driven over its sockets, with every message kept."""

from __future__ import annotations

import os
import queue
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

DEADLINE = 60.0
ROOT = Path(__file__).parents[2]


class Execution:
    """One executed cell and the messages that came under it."""

    def __init__(self, client: KernelClient, msg_id: str, cell_id: str) -> None:
        self.client = client
        self.msg_id = msg_id
        self.cell_id = cell_id
        self.reply: dict[str, Any] | None = None

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [m for m in self.client.iopub if m["parent_header"].get("msg_id") == self.msg_id]

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["msg_type"] in kinds]

    def text(self, stream: str = "stdout") -> str:
        return "".join(
            m["content"]["text"] for m in self.of("stream") if m["content"]["name"] == stream
        )

    def said(self) -> str:
        """What the extension told under the cell: notes, and on stderr what is worse."""
        shown = [data["data"].get("text/plain", "") for data in self.displays()]
        return "\n".join([self.text("stderr"), *shown])

    def displays(self) -> list[dict[str, Any]]:
        kinds = ("display_data", "update_display_data", "execute_result")
        return [m["content"] for m in self.of(*kinds)]

    def shown(self) -> dict[str, dict[str, Any]]:
        """The last bundle of each display id: what a saved notebook would hold."""
        found: dict[str, dict[str, Any]] = {}
        for content in self.displays():
            key = content.get("transient", {}).get("display_id") or uuid.uuid4().hex
            found[key] = content["data"]
        return found

    def result(self) -> str:
        results = self.of("execute_result")
        return results[-1]["content"]["data"]["text/plain"] if results else ""

    def traceback(self) -> str:
        import re

        errors = self.of("error")
        assert errors, f"no error; stdout was {self.text()!r}, stderr {self.text('stderr')!r}"
        assert len(errors) == 1, "shown more than once"
        text = "\n".join(errors[0]["content"]["traceback"])
        return re.sub(r"\x1b\[[0-9;]*m", "", text)

    def ended(self) -> bool:
        return any(m["content"].get("execution_state") == "idle" for m in self.of("status"))

    def wait(self, timeout: float = DEADLINE) -> Execution:
        """Until the kernel is idle again after this cell, and has replied."""
        self.client.until(self.ended, timeout, f"the end of {self.msg_id}")
        deadline = time.monotonic() + timeout
        while self.reply is None:
            left = deadline - time.monotonic()
            assert left > 0, "no reply"
            message = self.client.client.get_shell_msg(timeout=left)
            self.client.replies[message["parent_header"]["msg_id"]] = message
            self.reply = self.client.replies.get(self.msg_id)
        return self


class KernelClient:
    """Starts a kernel in directories of its own; :meth:`close` ends it."""

    def __init__(self, folder: Path) -> None:
        env = dict(os.environ)
        for name in ("RUNTIME", "CONFIG", "DATA"):
            path = folder / name.lower()
            path.mkdir(mode=0o700, exist_ok=True)
            env[f"JUPYTER_{name}_DIR"] = str(path)
        env["IPYTHONDIR"] = str(folder / "ipython")
        sources = [str(ROOT / part) for part in ("runtime", "kernel_ext", "labextension")]
        env["PYTHONPATH"] = os.pathsep.join([*sources, env.get("PYTHONPATH", "")]).rstrip(
            os.pathsep
        )
        self.folder = folder
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env=env, cwd=str(folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=DEADLINE)
        self.iopub: list[dict[str, Any]] = []
        self.replies: dict[str, dict[str, Any]] = {}

    def start(self, source: str, cell_id: str | None = None) -> Execution:
        """Execute a cell and return at once; as JupyterLab does, with the cell's id."""
        cell_id = cell_id or uuid.uuid4().hex
        content = {
            "code": source,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        message = self.client.session.msg("execute_request", content, metadata={"cellId": cell_id})
        self.client.shell_channel.send(message)
        return Execution(self, message["header"]["msg_id"], cell_id)

    def run(self, source: str, *, fails: bool = False, cell_id: str | None = None) -> Execution:
        """Execute a cell and wait for its end."""
        done = self.start(source, cell_id).wait()
        assert done.reply is not None
        status = done.reply["content"]["status"]
        if fails:
            assert status == "error", "the cell should have failed"
        else:
            assert status == "ok", done.reply["content"]
        return done

    def pump(self, timeout: float) -> bool:
        """Take one message from iopub, if one comes in time."""
        try:
            self.iopub.append(self.client.get_iopub_msg(timeout=timeout))
        except queue.Empty:
            return False
        return True

    def until(
        self, condition: Callable[[], Any], timeout: float = DEADLINE, what: str = "a condition"
    ) -> Any:
        """Take messages until ``condition`` holds; returns what it returned."""
        deadline = time.monotonic() + timeout
        while True:
            found = condition()
            if found:
                return found
            left = deadline - time.monotonic()
            assert left > 0, f"waited {timeout:g} s for {what}; last messages: {self.tail()}"
            self.pump(min(left, 0.2))

    def tail(self) -> list[Any]:
        return [(m["msg_type"], str(m["content"])[:200]) for m in self.iopub[-8:]]

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()

    def restart(self, *, now: bool) -> None:
        """Restart the kernel; ``now`` kills it, else it is asked to end."""
        self.manager.restart_kernel(now=now)
        self.client.wait_for_ready(timeout=DEADLINE)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)
        self.manager.cleanup_resources()
