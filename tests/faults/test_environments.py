"""Deaths while a runtime environment is being set up, and around workers that belong to one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import leaks
from tests.faults.support import DEADLINE, Driver, Runtime, alive, assert_gone, poll

# A package whose build notes that it has begun, and goes on when there is a file "go".
BACKEND = """
import os, time, zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    with open({folder!r} + "/building", "w") as f:
        f.write(str(os.getpid()))
    os.rename({folder!r} + "/building", {folder!r} + "/built")
    while not os.path.exists({folder!r} + "/go"):
        time.sleep(0.01)
    info = "slowly-1.0.dist-info"
    with zipfile.ZipFile(os.path.join(directory, "slowly-1.0-py3-none-any.whl"), "w") as archive:
        archive.writestr("slowly.py", "VALUE = 1")
        archive.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: slowly\\nVersion: 1.0\\n")
        archive.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(info + "/RECORD", "".join(f"{{x}},,\\n" for x in archive.namelist()))
    return "slowly-1.0-py3-none-any.whl"
"""

SCRIPT = """
started()

@fanlight.remote
def value():
    import slowly
    return slowly.VALUE

PACKAGES = {{"packages": [{source!r}], "pip_install_options": ["--no-index"]}}
ref = value.options(runtime_env={{"pip": PACKAGES}}).remote()
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
        "[project]\nname = 'slowly'\nversion = '1.0'\n"
    )
    (folder / "backend.py").write_text(BACKEND.format(folder=str(tmp_path)))
    return folder


def build(runtime: Runtime, folder: Path) -> psutil.Process:
    """The process that builds the package, once it does."""
    assert poll((folder / "built").exists), "the build did not begin"
    runtime.look()
    return psutil.Process(int((folder / "built").read_text()))


@pytest.mark.parametrize(
    "victim",
    [
        *("driver", "zygote and node"),
        *(pytest.param(x, marks=pytest.mark.long) for x in ("node", "shutdown", "SIGTERM")),
    ],
)
def test_no_installer_is_left(
    driver: Callable[..., Driver],
    before: leaks.Snapshot,
    tmp_path: Path,
    source: Path,
    victim: str,
) -> None:
    one = driver(SCRIPT.format(source=str(source)) + "sys.stdin.readline(); fanlight.shutdown()")
    runtime = one.up()
    builder = build(runtime, tmp_path)
    zygote = runtime.zygote()
    if victim == "driver":
        one.kill()
    elif victim == "shutdown":
        one.tell()
    elif victim == "SIGTERM":
        runtime.node.send_signal(signal.SIGTERM)
    else:
        if victim == "zygote and node":
            runtime.node.suspend()
            zygote.kill()
        runtime.node.kill()
    assert poll(lambda: not alive(builder)), "the build goes on"
    if victim not in ("driver", "shutdown"):
        one.tell()
    one.wait()
    assert_gone(before, runtime)


@pytest.mark.long
def test_an_installation_survives_the_zygote(
    driver: Callable[..., Driver], before: leaks.Snapshot, tmp_path: Path, source: Path
) -> None:
    """It is begun again by the next one."""
    one = driver(
        SCRIPT.format(source=str(source))
        + "say('got', fanlight.get(ref, timeout=100)); sys.stdin.readline()"
    )
    runtime = one.up()
    first = build(runtime, tmp_path)
    (tmp_path / "built").unlink()
    runtime.zygote().kill()
    assert poll(lambda: not alive(first)), "the first build goes on"
    assert build(runtime, tmp_path) != first
    (tmp_path / "go").touch()
    assert one.hear("got", 100.0) == ["1"]
    one.tell()
    one.wait()
    assert_gone(before, runtime)


def test_the_installer_is_killed(rt: Any, tmp_path: Path, source: Path) -> None:
    """By whoever wants memory, say: the error says so."""
    packages = {"packages": [str(source)], "pip_install_options": ["--no-index"]}
    ref = rt.remote(lambda: 1).options(runtime_env={"pip": packages}).remote()
    session = rt.session.current()
    builder = build(Runtime(session.runtime_id, session.node_pid), tmp_path)
    group = os.getpgid(builder.pid)
    os.kill(group, signal.SIGKILL)  # the leader only
    with pytest.raises(rt.exceptions.RuntimeEnvSetupError, match="killed by SIGKILL"):
        rt.get(ref, timeout=60)
    assert poll(lambda: not alive(builder)), "the build goes on"


def test_a_killed_worker_of_an_environment(rt: Any, tmp_path: Path) -> None:
    """Tasks are run again, actors restarted, in the same environment."""
    env = {"env_vars": {"OF_THE_ENVIRONMENT": "yes"}}

    @rt.remote(runtime_env=env, max_retries=1)
    def dies_once(path: str) -> str | None:
        if not os.path.exists(path):
            Path(path).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return os.environ.get("OF_THE_ENVIRONMENT")

    assert rt.get(dies_once.remote(str(tmp_path / "died")), timeout=60) == "yes"

    @rt.remote(runtime_env=env, max_restarts=1, max_task_retries=1)
    class Actor:
        def dies_once(self, path: str) -> str | None:
            if not os.path.exists(path):
                Path(path).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return os.environ.get("OF_THE_ENVIRONMENT")

    assert rt.get(Actor.remote().dies_once.remote(str(tmp_path / "too")), timeout=60) == "yes"


@pytest.mark.parametrize("how", ["exit code 3", "killed by SIGKILL"])
def test_a_hook_that_kills_its_worker(rt: Any, how: str) -> None:
    """No endless row of processes: after three of them the environment is to blame."""

    def hook() -> None:
        if how == "exit code 3":
            os._exit(3)
        os.kill(os.getpid(), signal.SIGKILL)

    env = {"worker_process_setup_hook": hook}
    task = rt.remote(lambda: 1).options(runtime_env=env, max_retries=-1)
    actor = rt.remote(type("Actor", (), {"method": lambda self: 1}))
    handle = actor.options(runtime_env=env, max_restarts=-1).remote()
    for ref in (task.remote(), handle.method.remote()):
        with pytest.raises(rt.exceptions.RuntimeEnvSetupError, match=how):
            rt.get(ref, timeout=60)
    assert rt.get(rt.remote(lambda: 2).remote(), timeout=60) == 2


def test_init_killed_while_it_copies(
    driver: Callable[..., Driver], before: leaks.Snapshot, tmp_path: Path
) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    for i in range(20):
        (folder / f"part{i}").write_bytes(os.urandom(1 << 20))
    one = driver(
        f"""
        from fanlight.client import snapshot
        copy = snapshot._Copy.one
        def slow(self, source, path):
            copy(self, source, path)
            if path == "part15":
                session_dir = self.target.split("/environments")[0]
                say("copying", session_dir)
                time.sleep(600)
        snapshot._Copy.one = slow
        started(runtime_env={{"working_dir": {str(folder)!r}}})
        """
    )
    (session_dir,) = one.hear("copying")
    assert Path(session_dir).is_dir()
    one.kill()
    one.wait()
    assert poll(lambda: not Path(session_dir).exists())
    assert_gone(before)


def test_init_interrupted_while_it_copies(
    driver: Callable[..., Driver], before: leaks.Snapshot, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    one = driver(
        f"""
        from fanlight.client import snapshot
        def slow(self, source, path):
            say("copying")
            time.sleep(600)
        snapshot._Copy.one = slow
        try:
            started(runtime_env={{"working_dir": {str(tmp_path)!r}}})
        except KeyboardInterrupt:
            assert not fanlight.is_initialized()
            fanlight.init(num_cpus=2, log_to_driver=False)
            check()
            say("again")
        """
    )
    one.hear("copying")
    one.kill(signal.SIGINT)
    one.hear("again")
    assert one.wait() == 0
    assert_gone(before)


def test_two_drivers_have_an_environment_each(
    driver: Callable[..., Driver], before: leaks.Snapshot, tmp_path: Path
) -> None:
    """One leaves: a detached actor of its is restarted in its environment, copies included."""
    script = """
        folder = os.path.join(FOLDER, {name!r})
        os.mkdir(folder)
        with open(os.path.join(folder, "which.py"), "w") as f:
            f.write("NAME = {name!r}")
        env = {{"working_dir": folder, "env_vars": {{"WHICH": {name!r}}}}}

        @fanlight.remote
        def which():
            import which
            return which.NAME, os.environ["WHICH"]

        class Actor:
            def which(self):
                import which
                return which.NAME, os.environ["WHICH"]
            def die(self):
                os._exit(1)
        """
    one = driver(
        script.format(name="one")
        + """
        started(runtime_env=env)
        actor = fanlight.remote(Actor).options(
            name="kept", namespace="n", lifetime="detached", max_restarts=1
        ).remote()
        say("actor", *fanlight.get(actor.which.remote()))
        say("task", *fanlight.get(which.remote()))
        sys.stdin.readline()
        """
    )
    runtime = one.up()
    assert one.hear("actor") == one.hear("task") == ["one", "one"]
    two = driver(
        script.format(name="two")
        + f"""
        fanlight.init(address={runtime.id!r}, runtime_env=env, log_to_driver=False)
        say("task", *fanlight.get(which.remote()))
        sys.stdin.readline()
        kept = fanlight.get_actor("kept", namespace="n")
        kept.die.remote()
        for _ in range(1000):
            try:
                say("actor", *fanlight.get(kept.which.remote()))
                break
            except fanlight.exceptions.RayActorError:
                time.sleep(0.01)
        sys.stdin.readline()
        """
    )
    assert two.hear("task") == ["two", "two"]
    runtime.look()
    one.tell()
    one.wait()
    two.tell()
    assert two.hear("actor") == ["one", "one"]
    runtime.look()
    two.tell()
    two.wait()
    assert_gone(before, runtime)


def test_a_hook_that_hangs(rt: Any) -> None:
    """What waits for it fails when its time is up, and the process that hangs is ended."""

    def hook() -> None:
        import time

        time.sleep(1000)

    class Actor:
        def pid(self) -> int:
            return 1

    env = {"worker_process_setup_hook": hook, "config": {"setup_timeout_seconds": 1}}
    ref = rt.remote(lambda: 1).options(runtime_env=env).remote()
    actor = rt.remote(Actor).options(runtime_env=env).remote()
    for one in (ref, actor.pid.remote()):
        with pytest.raises(rt.errors.RuntimeEnvSetupError, match="still entering it after 1 s"):
            rt.get(one, timeout=DEADLINE)
    assert rt.get(rt.remote(lambda: 1).remote(), timeout=DEADLINE) == 1
