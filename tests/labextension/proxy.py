"""A reverse proxy, as JupyterHub puts one in front of each user's server.

It takes what lies below one path, leaves path and Host as they are, says for whom it asks
(X-Forwarded-*), passes WebSockets through, and answers 502 while the server is away. Each connection
carries one request. Bound to the loopback interface.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading

HEAD_LIMIT = 1 << 20


class Proxy:
    """Use ``start`` and ``stop`` on an event loop; or as a context manager, in a thread of its own.

    ``stop`` cuts what is under way, as a proxy that is restarted does; ``start`` takes the same port.
    """

    def __init__(self, prefix: str, backend: int, scheme: str = "http") -> None:
        self.prefix = prefix  # "/user/ada/"
        self.port = 0
        self.sockets = 0  # WebSockets that were let through
        self.refused = 0  # requests outside the prefix
        self._backend = backend
        self._scheme = scheme
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix.rstrip('/')}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=HEAD_LIMIT, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        closed = asyncio.ensure_future(server.wait_closed())
        while not closed.done():  # a connection may be so new that it is not among them yet
            for writer in list(self._writers):
                writer.transport.abort()
            await asyncio.sleep(0.01)
        await closed

    # --- in a thread ---
    def __enter__(self) -> Proxy:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.call("start")
        return self

    def __exit__(self, *_: object) -> None:
        self.call("stop")
        asyncio.run_coroutine_threadsafe(self._idle(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def call(self, name: str) -> None:
        """``start`` or ``stop``, from the thread that uses it as a context manager."""
        asyncio.run_coroutine_threadsafe(getattr(self, name)(), self._loop).result(60)

    @staticmethod
    async def _idle() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._pass(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        path = first.split(" ")[1]
        if not path.startswith(self.prefix):
            self.refused += 1
            writer.write(
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            return
        upgrade = any(line.lower().startswith("upgrade: websocket") for line in lines)
        kept = [x for x in lines if upgrade or not x.lower().startswith(("connection:", "keep-"))]
        host = next((x.split(":", 1)[1].strip() for x in lines if x[:5].lower() == "host:"), "")
        kept += [
            "X-Forwarded-For: 127.0.0.1",
            f"X-Forwarded-Proto: {self._scheme}",
            f"X-Forwarded-Host: {host}",
            *([] if upgrade else ["Connection: close"]),
        ]
        try:
            below, above = await asyncio.open_connection("127.0.0.1", self._backend)
        except OSError:
            writer.write(
                b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            return
        self.sockets += upgrade
        self._writers.add(above)
        try:
            above.write("\r\n".join([first, *kept, "", ""]).encode("latin-1"))
            up = asyncio.ensure_future(self._pump(reader, above))
            try:
                await self._pump(below, writer)
            finally:
                up.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await up
        finally:
            self._writers.discard(above)
            above.close()

    @staticmethod
    async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
