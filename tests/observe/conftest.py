"""A stand-in NVML library, built from ``nvml_standin.c`` once per test run."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).with_name("nvml_standin.c")


def _compiler() -> list[str] | None:
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return [path]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    return None


@pytest.fixture(scope="session")
def nvml_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stand-in ``libnvidia-ml.so.1``, for LD_LIBRARY_PATH."""
    compiler = _compiler()
    if sys.platform != "linux":
        pytest.skip("GPU TESTS DID NOT RUN: the stand-in NVML library is made for Linux")
    if compiler is None:
        pytest.skip("GPU TESTS DID NOT RUN: no C compiler (cc, gcc, clang or PyPI's ziglang)")
    folder = tmp_path_factory.mktemp("nvml")
    library = folder / "libnvidia-ml.so.1"
    flags = ["-std=gnu11", "-Wall", "-Werror", "-O1", "-shared", "-fPIC"]
    subprocess.run([*compiler, *flags, "-o", str(library), str(SOURCE)], check=True)
    return folder


@pytest.fixture
def run_gpu(nvml_dir: Path, tmp_path: Path) -> Callable[..., Any]:
    """``run_gpu(code, config, **env)``: run code in a fresh process that has the stand-in.

    The code has ``gpu`` (the module), ``sampler`` (with a clock that ``tick(seconds)`` moves) and
    ``configure(text)``; what it leaves in ``result`` comes back through JSON.
    """
    config_path = tmp_path / "nvml.conf"

    def run(code: str, config: str = "", library: bool = True, **env: str) -> Any:
        prelude = (
            "import json, sys, msgspec\n"
            "from fanlight.observe import gpu\n"
            f"configure = lambda text: open({str(config_path)!r}, 'w').write(text)\n"
            f"configure({config!r})\n"
            "now = [0.0]\n"
            "def tick(seconds): now[0] += seconds\n"
            "sampler = gpu.GpuSampler(clock=lambda: now[0])\n"
        )
        ending = "\nprint(json.dumps(msgspec.to_builtins(result)))\n"
        full = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
        full |= {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        full |= {"NVML_STANDIN": str(config_path), "LD_LIBRARY_PATH": str(nvml_dir)} | env
        if not library:
            full.pop("LD_LIBRARY_PATH")
        done = subprocess.run(
            [sys.executable, "-c", prelude + code + ending],
            env=full,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
