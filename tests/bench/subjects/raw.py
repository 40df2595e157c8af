"""What the machine itself allows: two processes on a unix socket, memcpy, and mmap.

``python raw.py [CPUS]``
"""

import time

STARTED = time.perf_counter()

import mmap  # noqa: E402
import os  # noqa: E402
import pickle  # noqa: E402
import socket  # noqa: E402
import struct  # noqa: E402

import common  # noqa: E402


def start():
    """Fork the partner, which answers every message."""
    global here
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    if os.fork() == 0:
        here.close()
        answer(there)
        os._exit(0)
    there.close()
    exchange([(0, 1)])
    return time.perf_counter() - STARTED


def receive(sock):
    """The messages of one batch, or None at the end."""
    head = sock.recv(4, socket.MSG_WAITALL)
    if len(head) < 4:
        return None
    (nbytes,) = struct.unpack("<I", head)
    data = bytearray()
    while len(data) < nbytes:
        more = sock.recv(min(1 << 20, nbytes - len(data)))
        if not more:
            return None
        data += more
    view = memoryview(data)
    messages = []
    at = 0
    while at < nbytes:
        end = at + 2 + int.from_bytes(view[at : at + 2], "little")
        messages.append(pickle.loads(view[at + 2 : end]))
        at = end
    return messages


def send(sock, messages):
    parts = [pickle.dumps(message, 5) for message in messages]
    body = b"".join([len(part).to_bytes(2, "little") + part for part in parts])
    sock.sendall(len(body).to_bytes(4, "little") + body)


def answer(sock):
    while (messages := receive(sock)) is not None:
        send(sock, messages)


def exchange(messages):
    send(here, messages)
    assert receive(here) == messages


def task_sync(settings):
    return common.rate_one_by_one(lambda: exchange([(0, 1)]), settings["seconds"])


def task_burst(settings):
    """Batches of 100 messages, each pickled on its own, all of them answered."""

    def burst(n):
        for first in range(0, n, 100):
            exchange([(i, 1) for i in range(first, first + 100)])

    return common.rate_in_flight(burst, settings["seconds"], most=2_000_000)


def put_large(settings):
    memcpy = common.copy_bandwidth(settings["large_mb"] * 1_000_000)
    speeds = [memcpy() for _ in range(20)]
    return {"value": common.median(speeds), "megabytes": settings["large_mb"]}


def get_large(settings):
    """Map a file in shared memory that another process wrote."""
    import numpy as np

    nbytes = settings["get_mb"] * 1_000_000
    path = os.path.join("/dev/shm", f"fanlight-bench-{os.getpid()}")
    if not os.path.isdir("/dev/shm"):
        raise common.Unsupported("no /dev/shm")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            np.ones(nbytes // 8).tofile(path)
            status = 0
        finally:
            os._exit(status)
    try:
        assert os.waitpid(child, 0)[1] == 0
        begin = time.perf_counter()
        with open(path, "rb") as f:
            value = np.frombuffer(mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ))
        elapsed = time.perf_counter() - begin
        assert value[0] == value[-1] == 1.0
    finally:
        if os.path.exists(path):
            os.unlink(path)
    return {"value": elapsed * 1e3, "copies": False, "megabytes": settings["get_mb"]}


def huge_object(settings):
    """GB/s of filling shared memory from zero pages, with plain writes."""
    import limits

    nbytes = limits.huge_size(settings)
    limits.fill_shared_memory(nbytes)
    return {"value": limits.fill_shared_memory(nbytes), "n": round(nbytes / 1e9, 1)}


ROWS = {f.__name__: f for f in (task_sync, task_burst, put_large, get_large, huge_object)}

if __name__ == "__main__":
    startup = start()
    common.serve(startup, "", ROWS, here.close)
