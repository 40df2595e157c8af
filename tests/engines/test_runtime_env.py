"""ENV: runtime environments; TSK.16: max_calls; TSK.24: OMP_NUM_THREADS."""

from __future__ import annotations

import os
import sys
import types
import zipfile
from pathlib import Path

import pytest

from tests.engines.support import ENGINES, line, needs, poll, raises_task_error

VARIABLES = ("ENV_A", "ENV_B", "ENV_C")


@pytest.fixture(autouse=True)
def _the_drivers_own_environment():
    """No test changes it, and none begins with what it tests."""
    before = {name: os.environ.pop(name, None) for name in VARIABLES}
    yield
    left = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update({name: value for name, value in before.items() if value is not None})
    assert left == dict.fromkeys(VARIABLES)


def see(rt, **options):
    """A remote function that returns the three variables."""

    def values():
        return tuple(os.environ.get(name, "") for name in ("ENV_A", "ENV_B", "ENV_C"))

    return rt.remote(**options)(values) if options else rt.remote(values)


def wheel(folder: Path, name: str, version: str = "1.0", requires: str = "") -> str:
    """A wheel of one module; returns its path."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    needed = f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}",
        )
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        files = [f"{name}.py", *(f"{info}/{x}" for x in ("METADATA", "WHEEL", "RECORD"))]
        archive.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in files))
    return str(path)


def offline(*packages: str, tool: str = "pip") -> dict:
    options = "pip_install_options" if tool == "pip" else "uv_pip_install_options"
    return {tool: {"packages": [*packages], options: ["--no-index"]}}


# --- variables -----------------------------------------------------------------------------------


@line("ENV.1", "ENV.4")
def test_variables_of_a_task(rt):
    f = see(rt)
    with_a = f.options(runtime_env={"env_vars": {"ENV_A": "1"}})
    assert rt.get(with_a.remote()) == ("1", "", "")
    assert rt.get([f.remote() for _ in range(4)]) == [("", "", "")] * 4
    assert rt.get([with_a.remote(), f.remote(), with_a.remote()]) == [
        ("1", "", ""),
        ("", "", ""),
        ("1", "", ""),
    ]


@line("ENV.1")
def test_variables_of_an_actor(rt):
    @rt.remote(runtime_env={"env_vars": {"ENV_A": "actor"}})
    class Actor:
        def __init__(self):
            self.first = os.environ["ENV_A"]

        def get(self):
            return self.first, os.environ["ENV_A"]

    other = Actor.options(runtime_env={"env_vars": {"ENV_A": "other"}}).remote()
    assert rt.get(Actor.remote().get.remote()) == ("actor", "actor")
    assert rt.get(other.get.remote()) == ("other", "other")
    assert rt.get(see(rt).remote()) == ("", "", "")


@line("ENV.1", "ENV.2")
def test_variables_of_a_job(fresh):
    rt = fresh.fanlight
    fresh.init(num_cpus=2, runtime_env={"env_vars": {"ENV_A": "job", "ENV_B": "job"}})
    f = see(rt)
    assert rt.get(f.remote()) == ("job", "job", "")
    own = f.options(runtime_env={"env_vars": {"ENV_B": "own", "ENV_C": "own"}})
    assert rt.get(own.remote()) == ("job", "own", "own")
    assert rt.get(f.remote()) == ("job", "job", "")
    rt.shutdown()
    fresh.init(num_cpus=2)
    assert rt.get(f.remote()) == ("", "", "")


@line("ENV.2")
def test_other_fields_replace_the_parents(fresh):
    rt = fresh.fanlight
    fresh.init(num_cpus=2, runtime_env={"config": {"eager_install": False}, "note": [1]})

    @rt.remote
    def env():
        return dict(rt.get_runtime_context().runtime_env)

    own = env.options(runtime_env={"note": [2]})
    assert rt.get(own.remote()) == {"config": {"eager_install": False}, "note": [2]}


@line("ENV.1")
def test_a_variable_may_use_an_earlier_value(rt):
    @rt.remote(runtime_env={"env_vars": {"PATH": "/mine:${PATH}", "ENV_A": "${ENV_B}x$HOME"}})
    def f():
        return os.environ["PATH"], os.environ["ENV_A"]

    path, a = rt.get(f.remote())
    assert path.startswith("/mine:") and len(path) > len("/mine:")
    assert a == "x$HOME"


@line("ENV.3")
def test_children_inherit(fresh):
    rt = fresh.fanlight
    fresh.init(num_cpus=2, runtime_env={"env_vars": {"ENV_A": "job"}})
    f = see(rt)

    @rt.remote
    class Child:
        def get(self):
            return rt.get(f.remote())

    @rt.remote
    def parent():
        own = f.options(runtime_env={"env_vars": {"ENV_C": "own"}})
        return rt.get([f.remote(), own.remote()]), rt.get(Child.remote().get.remote())

    b = parent.options(runtime_env={"env_vars": {"ENV_B": "parent"}})
    inherited, own = ("job", "parent", ""), ("job", "parent", "own")
    assert rt.get(b.remote()) == ([inherited, own], inherited)
    # The same function in another parent: nothing is remembered from the first.
    assert rt.get(parent.remote()) == ([("job", "", ""), ("job", "", "own")], ("job", "", ""))


@line("ENV.4")
@needs("processes")
def test_workers_are_not_shared(rt):
    @rt.remote
    def pid(**variables):
        os.environ.update(variables)  # what a task leaves behind stays in its environment
        return os.getpid(), os.environ.get("ENV_B")

    in_a = pid.options(runtime_env={"env_vars": {"ENV_A": "a"}})
    theirs = {rt.get(in_a.remote(ENV_B="left"))[0] for _ in range(3)}
    ours = [rt.get(pid.remote()) for _ in range(6)]
    assert not theirs & {p for p, _ in ours} and {left for _, left in ours} == {None}


@line("ENV.4")
@needs("processes")
def test_equal_environments_share_workers(rt):
    pid = rt.remote(lambda: os.getpid())
    one = pid.options(num_cpus=2, runtime_env={"env_vars": {"ENV_A": "1", "ENV_B": "2"}})
    two = pid.options(num_cpus=2, runtime_env={"env_vars": {"ENV_B": "2", "ENV_A": "1"}})
    assert rt.get(one.remote()) == rt.get(two.remote())


@line("INI.20", "ENV.1")
@needs("processes")
def test_who_uses_none_pays_nothing(script):
    """Neither drivers nor workers load what belongs to environments."""
    done = script(
        """
        import sys

        def loaded():
            parts = ("runtime_env", "environments", "environment", "snapshot", "install", "venv")
            return [n for n in sys.modules if n.rpartition(".")[2] in parts]

        @fanlight.remote
        def task():
            return loaded()

        print("here", loaded(), "there", fanlight.get(task.remote()))
        """
    )
    assert "here [] there []" in done.stdout, done.stdout + done.stderr


# --- validation ----------------------------------------------------------------------------------


@line("ENV.5")
@pytest.mark.parametrize(
    ("env", "error", "match"),
    [
        ({"env_vars": {"A": 1}}, TypeError, "strings to strings"),
        ({"env_vars": {1: "a"}}, TypeError, "strings to strings"),
        ({"env_vars": ["A"]}, TypeError, "must be a dict"),
        ({"env_vars": {"A=B": "c"}}, ValueError, "cannot be a variable"),
        ({"pip": ["a"], "uv": ["b"]}, ValueError, "exclude each other"),
        ({"pip": ["a"], "conda": "b"}, ValueError, "exclude each other"),
        ({"pip": 5}, TypeError, "must be a list"),
        ({"pip": "no/such/requirements.txt"}, ValueError, "not a valid path"),
        ({"pip": {"pip_check": True}}, ValueError, "needs 'packages'"),
        ({"pip": ["a\n--find-links x"]}, ValueError, "more than one line"),
        ({"config": {"setup_timeout_seconds": 0}}, ValueError, "above zero"),
        ({"config": {"setup_timeout_seconds": "1"}}, TypeError, "must be a number"),
        ({"worker_process_setup_hook": 3}, TypeError, "must be a function"),
        ([], TypeError, "runtime_env"),
    ],
)
def test_bad_environments(fresh, env, error, match):
    rt = fresh.fanlight
    with pytest.raises(error, match=match):
        rt.remote(runtime_env=env)(lambda: 1)
    with pytest.raises(error, match=match):
        rt.remote(lambda: 1).options(runtime_env=env)
    with pytest.raises(error, match=match):
        rt.remote(type("Actor", (), {})).options(runtime_env=env)
    with pytest.raises(error, match=match):
        fresh.init(num_cpus=1, runtime_env=env)
    assert not rt.is_initialized()


@line("ENV.5", "ENV.12")
def test_unknown_fields_are_tolerated(rt):
    @rt.remote(runtime_env={"ENV_UNKNOWN": 3})
    def f():
        return rt.get_runtime_context().runtime_env.get("ENV_UNKNOWN")

    assert rt.get(f.remote()) == 3


@line("ENV.10", "ENV.13")
@pytest.mark.parametrize(
    "field", ["conda", "container", "image_uri", "nsight", "py_executable", "mpi"]
)
def test_fields_that_fanlight_has_not(rt, field):
    """Better than to run work in an environment that it did not ask for: an error that names it."""
    with pytest.raises(NotImplementedError, match=f"runtime_env\\['{field}'\\]"):
        rt.remote(runtime_env={field: "x"})(lambda: 1)


@line("ENV.13")
def test_the_class_equals_the_dict(rt):
    cls = rt.runtime_env.RuntimeEnv
    env = cls(env_vars={"ENV_A": "1"}, pip=None)
    assert env == {"env_vars": {"ENV_A": "1"}} and isinstance(env, dict)
    assert rt.get(see(rt, runtime_env=env).remote()) == ("1", "", "")
    with pytest.raises(TypeError, match="strings to strings"):
        cls(env_vars={"A": 1})
    with pytest.raises(ValueError, match="exclude each other"):
        cls(pip=["a"], uv=["b"])


@line("ENV.6", "ENV.10", "ENV.13")
@pytest.mark.parametrize("field", ["working_dir", "py_modules", "pip", "uv", "hook"])
def test_what_one_process_cannot_honour_is_refused(fresh, tmp_path, engine, field):
    """`inproc` honours variables, and names itself and the field for the rest."""
    if "processes" in ENGINES[engine].has:
        pytest.skip("this engine can")
    env = {
        "working_dir": {"working_dir": str(tmp_path)},
        "py_modules": {"py_modules": [str(tmp_path)]},
        "pip": {"pip": ["a"]},
        "uv": {"uv": ["a"]},
        "hook": {"worker_process_setup_hook": "os.getpid"},
    }[field]
    with pytest.raises(NotImplementedError, match=f"{engine}.*{next(iter(env))}"):
        fresh.init(num_cpus=1, runtime_env=env)
    assert not fresh.fanlight.is_initialized()
    if field in ("pip", "uv", "hook"):
        fresh.init(num_cpus=1)
        with pytest.raises(NotImplementedError, match=f"{engine}.*{next(iter(env))}"):
            fresh.fanlight.remote(lambda: 1).options(runtime_env=env).remote()


@line("ENV.12")
def test_the_runtime_context_shows_it(fresh):
    rt = fresh.fanlight
    fresh.init(num_cpus=2, runtime_env={"env_vars": {"ENV_A": "1"}})
    assert rt.get_runtime_context().runtime_env == {"env_vars": {"ENV_A": "1"}}

    @rt.remote
    def env():
        context = rt.get_runtime_context()
        return dict(context.runtime_env), context.get_runtime_env_string()

    own = env.options(runtime_env={"env_vars": {"ENV_B": "2"}})
    assert rt.get(own.remote())[0] == {"env_vars": {"ENV_A": "1", "ENV_B": "2"}}
    assert rt.get(env.remote())[1] == '{"env_vars": {"ENV_A": "1"}}'


# --- files ---------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "ours.py").write_text("VALUE = 1\n")
    (folder / "data.txt").write_text("data")
    return folder


@line("ENV.6")
@needs("processes")
def test_a_working_directory(fresh, project):
    rt = fresh.fanlight
    script = project / "run.sh"
    script.write_text("#!/bin/sh\necho ran\n")
    script.chmod(0o755)
    fresh.init(num_cpus=2, runtime_env={"working_dir": str(project)})
    (project / "data.txt").write_text("changed later")
    (project / "ours.py").write_text("VALUE = 2\n")

    @rt.remote
    def look():
        import ours

        return os.getcwd(), Path("data.txt").read_text(), ours.VALUE, os.popen("./run.sh").read()

    here = os.getcwd()
    cwd, data, value, ran = rt.get(look.remote())
    assert cwd != str(project) and cwd != here
    assert (data, value, ran) == ("data", 1, "ran\n")
    assert os.getcwd() == here and str(project) not in sys.path

    @rt.remote
    class Actor:
        def look(self):
            return os.getcwd()

    assert rt.get(Actor.remote().look.remote()) == cwd
    assert rt.get_runtime_context().runtime_env["working_dir"] == str(project)
    # A child that sets something of its own still has the copy.
    own = look.options(runtime_env={"env_vars": {"ENV_A": "1"}})
    assert rt.get(own.remote())[0] == cwd
    rt.shutdown()
    assert not Path(cwd).exists()


@line("ENV.6")
@needs("processes")
def test_a_working_directory_in_a_zip_file(fresh, project):
    path = project / "code.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("top/inzip.py", "VALUE = 7\n")
    rt = fresh.fanlight
    fresh.init(num_cpus=2, runtime_env={"working_dir": str(path)})

    @rt.remote
    def look():
        import inzip

        return inzip.VALUE, os.listdir()

    assert rt.get(look.remote()) == (7, ["inzip.py"])


@line("ENV.6")
@needs("processes")
def test_a_zip_file_that_leads_out_of_itself(fresh, project):
    path = project / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../outside.py", "")
        archive.writestr("inside.py", "")
    with pytest.raises(ValueError, match="leads out of it"):
        fresh.init(num_cpus=1, runtime_env={"working_dir": str(path)})
    assert not fresh.fanlight.is_initialized()


@line("ENV.7")
@needs("processes")
def test_modules(fresh, tmp_path):
    package = tmp_path / "theirs"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "sub" / "__init__.py").write_text("VALUE = 3\n")
    single = tmp_path / "single_file.py"
    single.write_text("VALUE = 4\n")
    made = types.ModuleType("made_module")
    made.__file__ = str(tmp_path / "made_module.py")
    Path(made.__file__).write_text("VALUE = 5\n")
    built = wheel(tmp_path, "from_wheel")
    rt = fresh.fanlight
    modules = [str(package), single, made, built]
    fresh.init(num_cpus=2, runtime_env={"py_modules": modules})

    @rt.remote
    def look():
        import from_wheel
        import made_module
        import single_file
        from theirs import sub

        return sub.VALUE, single_file.VALUE, made_module.VALUE, from_wheel.VERSION

    assert rt.get(look.remote()) == (3, 4, 5, "1.0")
    with pytest.raises(ImportError):
        import theirs  # noqa: F401


@line("ENV.7")
@pytest.mark.parametrize("field", ["working_dir", "py_modules"])
def test_local_directories_are_for_jobs(rt, tmp_path, field):
    env = {field: str(tmp_path) if field == "working_dir" else [str(tmp_path)]}
    for make in (
        lambda: rt.remote(runtime_env=env)(lambda: 1),
        lambda: rt.remote(lambda: 1).options(runtime_env=env),
        lambda: rt.remote(type("Actor", (), {})).options(runtime_env=env),
    ):
        with pytest.raises(ValueError, match="only supported at the job level"):
            make()


@line("ENV.8")
@pytest.mark.parametrize("field", ["working_dir", "py_modules"])
def test_a_directory_that_does_not_exist(fresh, tmp_path, field):
    path = str(tmp_path / "nowhere")
    env = {field: path if field == "working_dir" else [path]}
    with pytest.raises(ValueError, match="not a valid path"):
        fresh.init(num_cpus=1, runtime_env=env)
    assert not fresh.fanlight.is_initialized()


@line("ENV.9")
@needs("processes")
def test_what_is_not_copied(fresh, project):
    for name in (".git", ".venv", "venv", "__pycache__", "logs", "deep/build", "deep/keep"):
        (project / name).mkdir(parents=True)
        (project / name / "file.txt").write_text("")
    for name in ("a.log", "keep.log", "b.tmp", "c.big", "deep/d.log", "deep/local.cfg"):
        (project / name).write_text("")
    (project / ".gitignore").write_text("# comment\n*.log\n!keep.log\n/logs/\n")
    (project / ".rayignore").write_text("*.tmp\n")
    (project / ".fanlightignore").write_text("build/\n")
    (project / "deep" / ".gitignore").write_text("local.cfg\n")
    (project / "away").symlink_to(project / "deep")
    (project / "nowhere").symlink_to(project / "missing")
    os.mkfifo(project / "pipe")
    rt = fresh.fanlight
    env = {"working_dir": str(project), "excludes": ["*.big", "keep.*"]}
    fresh.init(num_cpus=2, runtime_env=env)

    @rt.remote
    def names():
        found = [os.path.join(d, f) for d, _, files in os.walk(".") for f in files]
        return sorted(os.path.normpath(f) for f in found), os.path.isdir("away")

    assert rt.get(names.remote()) == (
        [
            ".fanlightignore", ".gitignore", ".rayignore", "data.txt", "deep/.gitignore",
            "deep/keep/file.txt", "ours.py",
        ],
        True,
    )  # fmt: skip


@line("ENV.9")
@needs("processes")
def test_a_working_directory_that_holds_the_sessions(fresh, tmp_path, monkeypatch):
    """The copy lies below what is copied: it is not copied into itself."""
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "file.txt").touch()
    rt = fresh.fanlight
    fresh.init(num_cpus=1, runtime_env={"working_dir": str(tmp_path)})
    assert rt.get(rt.remote(lambda: os.listdir()).remote()) == ["file.txt"]
    rt.shutdown()


@line("ENV.9")
@needs("processes")
def test_what_is_too_large(fresh, project, monkeypatch):
    from fanlight.client import snapshot

    monkeypatch.setattr(snapshot, "LIMIT", 3 << 20)
    (project / "big.bin").write_bytes(bytes(4 << 20))
    rt = fresh.fanlight
    with pytest.raises(ValueError, match=r"exceeds the maximum of 3 MiB.*big\.bin"):
        fresh.init(num_cpus=1, runtime_env={"working_dir": str(project)})
    assert not rt.is_initialized()
    env = {"working_dir": str(project), "excludes": ["big.bin"]}
    fresh.init(num_cpus=1, runtime_env=env)
    assert "big.bin" not in rt.get(rt.remote(lambda: os.listdir()).remote())


# --- packages ------------------------------------------------------------------------------------


@line("ENV.10", "ENV.4")
@needs("processes")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_packages(fresh, tmp_path, tool):
    """The package is there, and what the driver has is too; plain tasks see nothing of it."""
    rt = fresh.fanlight
    fresh.init(num_cpus=2)
    package = wheel(tmp_path, "env_package", requires="msgspec")

    @rt.remote
    def look():
        import subprocess
        import sys

        import env_package
        import msgspec

        code = "import env_package, msgspec; print(env_package.VERSION)"
        child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        return env_package.VERSION, msgspec.__file__, child.stdout, env_package.__file__

    env = offline(package, tool=tool)
    version, base, child, where = rt.get(look.options(runtime_env=env).remote(), timeout=100)
    import msgspec

    assert (version, base, child) == ("1.0", msgspec.__file__, b"1.0\n")
    # The same packages with other variables: installed once.
    again = env | {"env_vars": {"ENV_A": "1"}}
    assert rt.get(look.options(runtime_env=again).remote(), timeout=100)[3] == where
    with raises_task_error(rt, ImportError):
        rt.get(look.remote())
    rt.shutdown()
    assert not Path(where).exists()


@line("ENV.10")
@needs("processes")
@pytest.mark.timeout(120)
def test_a_requirements_file_and_an_actor(fresh, tmp_path):
    """Another version than the parent's; files named by the file lie beside it."""
    newer = wheel(tmp_path, "env_package", "2.0")
    (tmp_path / "more.txt").write_text(f"# a comment\n{newer}\n")
    (tmp_path / "requirements.txt").write_text("--no-index\n\n-r more.txt\n")
    rt = fresh.fanlight
    env = {"pip": str(tmp_path / "requirements.txt")}
    fresh.init(num_cpus=2, runtime_env=env)

    @rt.remote
    class Actor:
        def version(self):
            import env_package

            return env_package.VERSION

    assert rt.get(Actor.remote().version.remote(), timeout=100) == "2.0"
    other = Actor.options(runtime_env=offline(wheel(tmp_path, "env_package", "3.0"), tool="uv"))
    assert rt.get(other.remote().version.remote(), timeout=100) == "3.0"


@line("ENV.11", "ERR.17")
@needs("processes")
@pytest.mark.timeout(120)
def test_packages_that_do_not_exist(rt):
    error = rt.exceptions.RuntimeEnvSetupError
    match = r"no-such-package-of-mine.*could not be set up(.|\n)*No matching distribution"
    env = offline("no-such-package-of-mine")
    f = see(rt).options(runtime_env=env, max_retries=-1)
    refs = [f.remote() for _ in range(3)]
    for ref in refs:
        with pytest.raises(error, match=match):
            rt.get(ref, timeout=100)

    @rt.remote
    class Actor:
        def method(self):
            pass

    actor = Actor.options(runtime_env=env, max_restarts=-1).remote()
    with pytest.raises(error, match=match):
        rt.get(actor.method.remote(), timeout=100)
    assert rt.get(see(rt).remote()) == ("", "", "")  # other work is not touched


@line("ENV.11", "ENV.13")
@needs("background")
@pytest.mark.timeout(120)
@pytest.mark.long
def test_a_preparation_that_takes_too_long(rt, tmp_path, pid_gone):
    """A package whose build never ends: the installer is ended, and all that it started."""
    source = tmp_path / "slow"
    source.mkdir()
    (source / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'build'\nbackend-path = ['.']\n"
    )
    (source / "build.py").write_text(
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(1000)\n"
    )
    env = offline(str(source)) | {"config": {"setup_timeout_seconds": 3}}
    ref = see(rt).options(runtime_env=env).remote()
    with pytest.raises(rt.exceptions.RuntimeEnvSetupError, match="took longer than 3 s"):
        rt.get(ref, timeout=100)
    if (tmp_path / "pid").exists():  # it had come that far
        pid = int((tmp_path / "pid").read_text() or "0")
        assert not pid or poll(lambda: pid_gone(pid))


@line("ENV.10", "ENV.11")
@needs("background")
@pytest.mark.timeout(120)
def test_cancelling_what_waits_for_packages(rt, tmp_path):
    env = offline(wheel(tmp_path, "env_package"))
    ref = see(rt).options(runtime_env=env).remote()
    assert "which is being set up" in rt.session.ref_state(ref)["why"]
    rt.cancel(ref)
    with pytest.raises(rt.exceptions.TaskCancelledError):
        rt.get(ref, timeout=100)
    again = see(rt).options(runtime_env=env).remote()
    assert rt.get(again, timeout=100) == ("", "", "")


# --- the hook ------------------------------------------------------------------------------------


@line("ENV.13")
@needs("processes")
def test_a_setup_hook(rt, tmp_path, note):
    path = str(tmp_path / "calls")

    def hook():
        note(path)
        os.environ["ENV_A"] = "hook"

    f = see(rt).options(num_cpus=2, runtime_env={"worker_process_setup_hook": hook})
    assert rt.get([f.remote() for _ in range(5)]) == [("hook", "", "")] * 5
    assert Path(path).read_text() == "x\n", "once in each worker"


@line("ENV.13")
@needs("processes")
def test_a_setup_hook_by_its_name(fresh, project):
    (project / "ours.py").write_text("def start():\n    import os\n    os.environ['ENV_A'] = 'x'\n")
    rt = fresh.fanlight
    env = {"working_dir": str(project), "worker_process_setup_hook": "ours.start"}
    fresh.init(num_cpus=2, runtime_env=env)
    assert rt.get(see(rt).remote()) == ("x", "", "")
    shown = rt.get_runtime_context().runtime_env
    assert shown["worker_process_setup_hook"] == "ours.start"


@line("ENV.11", "ENV.13")
@needs("processes")
def test_a_setup_hook_that_fails(rt):
    """Tasks and actors say so, with its traceback, and nothing runs in a half-made worker."""

    def hook():
        raise LookupError("no licence")

    env = {"worker_process_setup_hook": hook}

    @rt.remote(runtime_env=env, max_restarts=-1)
    class Actor:
        def method(self):
            pass

    refs = [see(rt, runtime_env=env, max_retries=-1).remote(), Actor.remote().method.remote()]
    for ref in refs:
        with pytest.raises(rt.exceptions.RuntimeEnvSetupError, match="LookupError: no licence"):
            rt.get(ref)
    assert rt.get(see(rt).remote()) == ("", "", "")


# --- max_calls -----------------------------------------------------------------------------------


@line("TSK.16")
@needs("processes")
def test_max_calls(rt):
    @rt.remote(max_calls=1)
    def once():
        return os.getpid()

    @rt.remote(max_calls=3, num_cpus=2)
    def thrice():
        return os.getpid()

    pids = [rt.get(once.remote()) for _ in range(4)]
    assert len(set(pids)) == 4
    assert len(set(rt.get([once.remote() for _ in range(8)]))) == 8
    seen = rt.get([thrice.remote() for _ in range(9)])
    assert max(seen.count(pid) for pid in seen) == 3


@line("TSK.16")
def test_max_calls_is_no_matter_of_options(rt):
    @rt.remote(max_calls=1)
    def f():
        return 1

    with pytest.raises(ValueError, match="max_calls"):
        f.options(max_calls=2)
    assert rt.get([f.remote() for _ in range(5)]) == [1] * 5
    with pytest.raises(ValueError, match="max_calls"):
        rt.remote(max_calls=-1)(lambda: 1)
    with pytest.raises(ValueError, match="max_calls"):
        rt.remote(max_calls=1)(type("Actor", (), {}))


@line("TSK.16")
@needs("processes")
@pytest.mark.runtime(num_cpus=2, num_gpus=1)
def test_functions_with_gpus_end_their_worker(rt):
    """The next task finds the GPU's memory free: it starts when that process is gone."""

    @rt.remote(num_gpus=1)
    def trains():
        return os.getpid()

    @rt.remote(num_gpus=1, max_calls=0)
    def stays():
        return os.getpid()

    assert len({rt.get(trains.remote()) for _ in range(3)}) == 3
    assert len(set(rt.get([trains.remote() for _ in range(3)]))) == 3
    assert len({rt.get(stays.remote()) for _ in range(3)}) == 1


@line("TSK.16")
@needs("processes")
@pytest.mark.runtime(num_cpus=2, num_gpus=1)
def test_a_gpu_is_not_given_to_two_processes(rt, pid_gone):
    @rt.remote(num_gpus=1)
    def pid(before):
        return os.getpid(), before is None or pid_gone(before)

    before = None
    for _ in range(4):
        before, free = rt.get(pid.remote(before))
        assert free


# --- threads -------------------------------------------------------------------------------------


def threads(rt, **options):
    return rt.remote(**({"num_cpus": 1} | options))(lambda: os.environ.get("OMP_NUM_THREADS"))


@line("TSK.24")
@pytest.mark.runtime(num_cpus=4)
def test_threads_of_numerical_libraries(rt, monkeypatch):
    for cpus, wanted in ((1, "1"), (3, "3"), (0, "1"), (2.5, "2"), (0.5, "1"), (1, "1")):
        assert rt.get(threads(rt, num_cpus=cpus).remote()) == wanted
    mine = {"env_vars": {"OMP_NUM_THREADS": "7"}}
    assert rt.get(threads(rt, num_cpus=2, runtime_env=mine).remote()) == "7"

    @rt.remote(num_cpus=2)
    class Actor:
        def threads(self):
            return os.environ.get("OMP_NUM_THREADS")

    assert rt.get(Actor.remote().threads.remote()) == "2"
    assert rt.get(Actor.options(num_cpus=0).remote().threads.remote()) == "1"


@line("TSK.24")
def test_threads_that_the_user_chose(fresh, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    fresh.init(num_cpus=2)
    rt = fresh.fanlight
    assert rt.get([threads(rt, num_cpus=n).remote() for n in (1, 2)]) == ["5", "5"]
    assert os.environ["OMP_NUM_THREADS"] == "5"
