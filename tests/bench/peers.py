"""Who is measured: each peer's interpreter, its arguments, and how its environment is made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUBJECTS = Path(__file__).resolve().parent / "subjects"
ENVIRONMENTS = ROOT / ".peers"


@dataclass(frozen=True)
class Peer:
    """``packages`` are installed into ``.peers/<name>``; without any, this interpreter is used."""

    name: str
    title: str
    script: str
    arguments: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def python(self) -> Path:
        if not self.packages:
            return Path(sys.executable)
        return ENVIRONMENTS / self.name / "bin" / "python"

    def command(self, cpus: int) -> list[str]:
        return [str(self.python()), str(SUBJECTS / self.script), *self.arguments, str(cpus)]


PEERS: tuple[Peer, ...] = (
    Peer("fanlight", "Fanlight", "ray_api.py", ("fanlight",)),
    Peer("ray", "Ray", "ray_api.py", ("ray",), ("ray", "numpy")),
    Peer("dask", "Dask LocalCluster", "dask_api.py", (), ("dask[distributed]", "numpy")),
    Peer("futures", "ProcessPoolExecutor", "pools.py", ("futures",)),
    Peer("pool", "multiprocessing.Pool", "pools.py", ("pool",)),
    Peer("raw", "raw limit", "raw.py"),
)

BY_NAME = {peer.name: peer for peer in PEERS}


def prepare(peer: Peer, install: bool, say: Callable[[str], None]) -> str:
    """Make the peer ready to run; gives "" when it is, or the reason why it is left out."""
    if not peer.packages:
        return ""
    done = ENVIRONMENTS / peer.name / "complete"
    if done.exists() and peer.python().exists():
        return ""
    if not install:
        return f"not installed in {done.parent.relative_to(ROOT)} (run without --no-install)"
    say(f"installing {' '.join(peer.packages)} into {done.parent.relative_to(ROOT)} ...")
    try:
        venv.create(done.parent, with_pip=True, clear=done.parent.exists())
        subprocess.run(
            [str(peer.python()), "-m", "pip", "install", "--quiet", *peer.packages],
            check=True,
            capture_output=True,
            text=True,
            timeout=1200,
        )
    except (subprocess.SubprocessError, OSError) as e:
        shutil.rmtree(done.parent, ignore_errors=True)
        lines = (getattr(e, "stderr", None) or str(e)).strip().splitlines()
        return f"could not be installed: {lines[-1] if lines else e}"[:200]
    done.write_text("installed\n")
    return ""


def environment(peer: Peer, mark: str, temp: str) -> dict[str, str]:
    """The environment of a subject: nothing of the user's own runtimes and settings shows in it."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "FANLIGHT_", "DASK_"))}
    keep.pop("PYTHONHOME", None)
    keep["PYTHONPATH"] = str(ROOT / "runtime") if peer.name == "fanlight" else ""
    keep["BENCH_MARK"] = mark
    keep["BENCH_TEMP"] = temp
    keep["JUPYTER_RUNTIME_DIR"] = os.path.join(temp, "jupyter")
    keep["RAY_USAGE_STATS_ENABLED"] = "0"
    return keep
