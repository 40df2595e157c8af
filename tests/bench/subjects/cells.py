"""Times cells in an IPython shell: ``cells.py fanlight|ipyparallel SECONDS``; prints one JSON line.

Both have two workers. A cell runs on one of them, and the shell waits for it.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from typing import Any


def make_shell() -> Any:
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    return InteractiveShell.instance(config=config)


def run(shell: Any, source: str) -> None:
    result = shell.run_cell(source, store_history=False)
    result.raise_error()


def median(shell: Any, source: str, seconds: float) -> float:
    """Milliseconds of a cell that is run again and again."""
    for _ in range(3):
        run(shell, source)
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        begin = time.perf_counter()
        run(shell, source)
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


class Fanlight:
    magic = "%%remote --quiet\n"

    def start(self, shell: Any) -> None:
        run(shell, "%load_ext fanlight\nimport fanlight\nfanlight.init(num_cpus=2, num_gpus=0)")

    def version(self) -> str:
        import fanlight

        return fanlight.__version__

    def value_cell(self) -> str:
        return f"{self.magic}y = x + 1"

    def array_cell(self) -> str:
        return f"{self.magic}n = int(big[-1])"

    def stop(self, shell: Any) -> None:
        run(shell, "fanlight.shutdown()")


class Ipyparallel:
    """``%%px`` brings nothing along: what a cell reads is pushed, what it assigns is pulled."""

    magic = "%%px --targets 0\n"

    def start(self, shell: Any) -> None:
        run(
            shell,
            "import logging, ipyparallel\n"
            "cluster = ipyparallel.Cluster(n=2, log_level=logging.ERROR)\n"
            "client = cluster.start_and_connect_sync(activate=True)\nview = client[0]\n"
            "view.block = True",
        )

    def version(self) -> str:
        import ipyparallel

        return ipyparallel.__version__

    def value_cell(self) -> str:
        return "view['x'] = x\nget_ipython().run_cell_magic('px', '--targets 0', 'y = x + 1')\ny = view['y']"

    def array_cell(self) -> str:
        return (
            "view['big'] = big\n"
            "get_ipython().run_cell_magic('px', '--targets 0', 'n = int(big[-1])')\nn = view['n']"
        )

    def stop(self, shell: Any) -> None:
        run(shell, "cluster.stop_cluster_sync()")


def main(name: str, seconds: float, megabytes: int) -> dict[str, Any]:
    peer = {"fanlight": Fanlight, "ipyparallel": Ipyparallel}[name]()
    shell = make_shell()
    begin = time.perf_counter()
    peer.start(shell)
    run(shell, f"{peer.magic}pass")
    found: dict[str, Any] = {"startup": (time.perf_counter() - begin) * 1e3}
    try:
        found["plain"] = median(shell, "pass", seconds / 4)
        found["empty"] = median(shell, f"{peer.magic}pass", seconds)
        run(shell, "x = 1")
        found["value"] = median(shell, peer.value_cell(), seconds)
        run(shell, f"import numpy as np\nbig = np.ones({megabytes} << 17)")
        found["array"] = median(shell, peer.array_cell(), seconds)
        found["version"] = peer.version()
    finally:
        peer.stop(shell)
    return found


if __name__ == "__main__":
    out = os.dup(1)
    os.dup2(2, 1)  # what the cells print is not the answer
    answer = main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
    os.write(out, json.dumps(answer).encode() + b"\n")
