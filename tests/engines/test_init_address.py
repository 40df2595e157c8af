"""INI: which runtime `init` starts or finds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fanlight
from tests.engines.support import DEADLINE, line, needs


@pytest.fixture
def other(tmp_path):
    """A runtime of another process of this user."""
    code = (
        "import fanlight, sys\n"
        "fanlight.init(num_cpus=3, name='elsewhere')\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    package = str(Path(fanlight.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
    )
    assert process.stdout.readline() == b"ready\n"
    yield "elsewhere"
    process.stdin.close()
    process.stdout.close()
    assert process.wait(DEADLINE) == 0


def cpus():
    return fanlight.cluster_resources()["CPU"]


@line("INI.1")
@needs("default")
def test_a_runtime_of_its_own_and_one_that_is_found(fresh, other):
    fanlight.init(num_cpus=1)  # the reference would join a cluster that was started by `ray start`
    assert cpus() == 1.0
    fanlight.shutdown()
    fanlight.init(address="local", num_cpus=2)
    assert cpus() == 2.0
    fanlight.shutdown()
    for address in ("auto", other):
        fanlight.init(address=address)
        assert cpus() == 3.0
        fanlight.shutdown()


@line("INI.1")
@needs("default")
@pytest.mark.parametrize("variable", ["FANLIGHT_ADDRESS", "RAY_ADDRESS"])
def test_the_environment_names_one(fresh, other, variable, monkeypatch):
    monkeypatch.setenv(variable, other)
    fanlight.init()
    assert cpus() == 3.0
    fanlight.shutdown()
    assert fanlight.get(fanlight.put(1)) == 1  # starts by itself, and there too
    assert cpus() == 3.0
    fanlight.shutdown()
    fanlight.init(address="local", num_cpus=1)
    assert cpus() == 1.0


@line("INI.1")
@needs("default")
def test_nobody_answers(fresh, monkeypatch):
    for address in ("auto", "nobody"):
        with pytest.raises(ConnectionError, match="No runtime answers"):
            fanlight.init(address=address)
    monkeypatch.setenv("RAY_ADDRESS", "10.1.2.3:6379")
    with pytest.raises(ConnectionError, match="variable RAY_ADDRESS says so"):
        fanlight.init()
    monkeypatch.setenv("RAY_ADDRESS", "ray://10.1.2.3:10001")
    with pytest.raises(fanlight.errors.UnsupportedError, match="RAY_ADDRESS"):
        fanlight.init()
    monkeypatch.setenv("FANLIGHT_ADDRESS", "local")
    fanlight.init(num_cpus=1)
    assert cpus() == 1.0


@line("INI.14")
def test_local_mode(fresh):
    with pytest.raises(RuntimeError, match="engine='inproc'"):
        fresh.init(local_mode=True)
    assert not fanlight.is_initialized()
    fresh.init(local_mode=False, num_cpus=1)
