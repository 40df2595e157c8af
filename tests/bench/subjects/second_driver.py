"""Another driver of a runtime that is there: attaches, waits for the gate, keeps it busy.

``python second_driver.py API ADDRESS GATE LOOPS SECONDS``; prints how many tasks ended in time.
"""

from __future__ import annotations

import importlib
import os
import sys
import time

import runtime
import sharing


def main() -> None:
    api, address, gate, loops, seconds = sys.argv[1:]
    ray = importlib.import_module(api)
    ray.init(address=address)
    runtime.use(ray, api, 0)
    sharing.keep_busy(ray, int(loops), 0.2)
    print("attached", flush=True)
    deadline = time.monotonic() + 60
    while not os.path.exists(gate) and time.monotonic() < deadline:
        time.sleep(0.01)
    with open(gate) as f:
        begin = float(f.read())
    done = sharing.keep_busy(ray, int(loops), float(seconds), begin)
    ray.shutdown()
    print(done, flush=True)


if __name__ == "__main__":
    main()
