"""GPU figures through the real pynvml over a stand-in driver library."""

from __future__ import annotations

import os

import pytest

from fanlight.observe import gpu

SAMPLE = "views, status = sampler.sample()\nresult = [views, status]"


def test_one_device_gives_all_figures(run_gpu):
    views, status = run_gpu(SAMPLE, "devices 1\ngpu0.name Test GPU\ngpu0.uuid GPU-1\n")
    assert status == ""
    assert views == [
        {
            "index": 0,
            "uuid": "GPU-1",
            "name": "Test GPU",
            "share": 0.0,
            "utilization_percent": 37.0,
            "memory_used": 1 << 30,
            "memory_total": 16 << 30,
            "temperature": 51.0,
            "power": 120.5,
            "power_limit": 300.0,
            "processes": [],
            "error": "",
            "number": -1,  # the node knows it
            "mig": "",
            "node": "",
        }
    ]


def test_eight_devices_in_order(run_gpu):
    config = "devices 8\n" + "".join(f"gpu{i}.util {10 * i}\n" for i in range(8))
    views, status = run_gpu(SAMPLE, config)
    assert status == ""
    assert [v["utilization_percent"] for v in views] == [10.0 * i for i in range(8)]
    assert [v["index"] for v in views] == list(range(8))
    assert len({v["uuid"] for v in views}) == 8


def test_no_device(run_gpu):
    assert run_gpu(SAMPLE, "devices 0\n") == [[], "The NVIDIA driver works, but it sees no GPU."]


def test_no_library_imports_nothing(run_gpu):
    if gpu.library_present():
        pytest.skip("this machine has an NVIDIA driver")
    code = (
        "views, status = sampler.sample()\n"
        "result = [views, status, gpu.detect_gpus(), sorted({'pynvml', 'ctypes'} & {*sys.modules})]"
    )
    assert run_gpu(code, library=False) == [[], gpu.NO_LIBRARY, [], []]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (18, "different versions"),
        (9, "not loaded"),
        (4, "may not read"),
        (999, "driver says"),
    ],
)
def test_driver_that_does_not_start(run_gpu, code, words):
    views, status = run_gpu(SAMPLE, f"init {code}\ndevices 1\n")
    assert views == []
    assert words in status


def test_missing_bindings(run_gpu):
    code = f"sys.modules['pynvml'] = None\n{SAMPLE}"
    assert run_gpu(code, "devices 1\n") == [[], gpu.NO_BINDINGS]


def test_bindings_that_fail_in_another_way(run_gpu):
    code = (
        "import pynvml\n"
        "def boom(*a): raise OSError('odd')\n"
        "pynvml.nvmlDeviceGetUtilizationRates = boom\n" + SAMPLE
    )
    views, status = run_gpu(code, "devices 1\n")
    assert views == []
    assert "odd" in status


@pytest.mark.parametrize(
    ("figure", "fields"),
    [
        ("util", {"utilization_percent"}),
        ("memory", {"memory_used", "memory_total"}),
        ("temperature", {"temperature"}),
        ("power", {"power"}),
        ("limit", {"power_limit"}),
    ],
)
def test_a_figure_that_is_not_supported_is_none(run_gpu, figure, fields):
    (view,), status = run_gpu(SAMPLE, f"devices 1\ngpu0.fail.{figure} 3\n")
    assert status == view["error"] == ""
    assert {k for k, v in view.items() if v is None} == fields


def test_a_lost_device_does_not_hide_the_others(run_gpu):
    code = (
        "first, _ = sampler.sample()\n"
        "configure('devices 2\\ngpu1.lost 15\\n')\n"
        "tick(2)\n"
        "second, status = sampler.sample()\n"
        "tick(60)\n"
        "configure('devices 2\\ngpu1.handle 15\\n')\n"
        "third, _ = sampler.sample()\n"
        "configure('devices 2\\n')\n"
        "tick(60)\n"
        "result = [first, second, status, third, sampler.sample()[0]]"
    )
    first, second, status, third, healed = run_gpu(code, "devices 2\n")
    assert status == ""
    assert [v["error"] for v in first] == ["", ""]
    assert [v["error"] for v in second] == ["", gpu.LOST]
    assert second[1]["uuid"] == first[1]["uuid"]
    assert second[1]["utilization_percent"] is None
    assert second[0]["utilization_percent"] == 37.0
    assert [v["error"] for v in third] == ["", gpu.LOST]
    assert [v["error"] for v in healed] == ["", ""]


def test_mig_slices_replace_their_gpu(run_gpu):
    views, _ = run_gpu(SAMPLE, "devices 2\ngpu0.mig 2\ngpu0.mig1.used 4096\n")
    assert [v["index"] for v in views] == [0, 0, 1]
    assert [v["uuid"][:3] for v in views] == ["MIG", "MIG", "GPU"]
    assert "MIG 1g" in views[0]["name"]
    assert views[1]["memory_used"] == 4096
    assert len({v["uuid"] for v in views}) == 3


def test_a_slice_has_the_heat_and_power_of_its_gpu(run_gpu, tmp_path):
    calls = tmp_path / "calls"
    config = f"devices 1\ngpu0.mig 2\ngpu0.temperature 66\ncalls {calls}\n"
    views, _ = run_gpu(SAMPLE, config)
    assert [v["mig"] for v in views] == ["1g.10gb", "1g.10gb"]
    assert [v["temperature"] for v in views] == [66.0, 66.0]
    assert [v["power"] for v in views] == [120.5, 120.5]
    assert [v["utilization_percent"] for v in views] == [None, None]  # nobody tells
    assert calls.read_text().split().count("power") == 1


def test_mig_mode_without_slices(run_gpu):
    (view,), status = run_gpu(SAMPLE, "devices 1\ngpu0.mig 0\n")
    assert status == ""
    assert "no slices" in view["error"]


def test_a_lost_gpu_takes_its_slices_along(run_gpu):
    code = (
        "import copy\n"
        "first = copy.deepcopy(sampler.sample()[0])\n"
        "configure('devices 1\\ngpu0.mig 2\\ngpu0.lost 15\\n')\n"
        "tick(2)\n"
        "result = [v.error for v in [*first, *sampler.sample()[0]]]"
    )
    assert run_gpu(code, "devices 1\ngpu0.mig 2\n") == ["", "", gpu.LOST, gpu.LOST]


def test_processes(run_gpu):
    unknown = 2**64 - 1  # what NVML says where the driver does not tell
    one, two = 2**22 + 11, 2**22 + 12  # processes that no machine has
    config = f"devices 1\ngpu0.processes {two}:512,{one}:4096,{os.getpid()}:{unknown},{two}:8\n"
    (view,), _ = run_gpu(SAMPLE, config)
    found = {p["pid"]: p["memory"] for p in view["processes"]}
    assert [*found.items()][:2] == [(one, 4096), (two, 520)]  # of two contexts; the largest first
    assert found[os.getpid()] is None
    mine = next(p for p in view["processes"] if p["pid"] == os.getpid())
    assert mine["name"] and mine["task"] == mine["worker"] == ""


def test_ancestors():
    assert gpu.ancestors(os.getpid())[:2] == [os.getpid(), os.getppid()]
    assert gpu.ancestors(2**22 + 5) == [2**22 + 5]
    assert gpu.comm(2**22 + 5) == ""


def test_processes_of_an_older_driver(run_gpu):
    config = "devices 1\ngpu0.processes 12:512\ngpu0.fail.procs3 13\n"
    (view,), _ = run_gpu(SAMPLE, config)
    assert [p["pid"] for p in view["processes"]] == [12]


def test_nvml_is_asked_once_per_interval(run_gpu, tmp_path):
    calls = tmp_path / "calls"
    code = (
        "for _ in range(50): sampler.sample()\n"
        f"before = open({str(calls)!r}).read().count('util')\n"
        "tick(1.5)\nsampler.sample()\n"
        f"result = [before, open({str(calls)!r}).read().count('util')]"
    )
    assert run_gpu(code, f"devices 1\ncalls {calls}\n") == [1, 2]


def test_a_driver_that_comes_later_is_found(run_gpu):
    code = (
        "first = sampler.sample()\n"
        "configure('devices 1\\n')\n"
        "tick(2)\nearly = sampler.sample()\n"
        "tick(60)\nresult = [first, early, sampler.sample()]"
    )
    first, early, late = run_gpu(code, "init 9\n")
    assert "not loaded" in first[1]
    assert early == first  # looked for again only now and then
    assert late[1] == "" and len(late[0]) == 1


@pytest.mark.parametrize(
    ("setting", "indices"),
    [
        ("2,0", [2, 0]),
        ("1,9,0", [1]),  # an entry that names nothing hides what follows
        ("GPU-none,0", []),
        ("GPU-abc00020", [2]),
        ("GPU-abc0001", [1]),  # an abbreviation, as CUDA allows
        ("GPU-abc000", []),  # of more than one
        ("1,1", [1]),
    ],
)
def test_cuda_visible_devices(run_gpu, setting, indices):
    code = "views, status = sampler.sample()\nresult = [[v.index for v in views], status]"
    found, status = run_gpu(code, "devices 3\n", CUDA_VISIBLE_DEVICES=setting)
    assert found == indices
    hidden = f"{3 - len(indices)} of 3" if indices else "all 3"
    assert status == f"CUDA_VISIBLE_DEVICES={setting!r} hides {hidden} GPUs."


def test_all_devices_visible(run_gpu):
    code = "views, status = sampler.sample()\nresult = [[v.index for v in views], status]"
    assert run_gpu(code, "devices 3\n", CUDA_VISIBLE_DEVICES="2,1,0") == [[2, 1, 0], ""]


@pytest.mark.parametrize("setting", ["", "-1", "NoDevFiles"])
def test_hidden_gpus(run_gpu, setting):
    code = (
        "hidden = gpu.detect_gpus()\n"
        "loaded = 'pynvml' in sys.modules\n"
        "result = [hidden, loaded, *sampler.sample()]"
    )
    hidden, loaded, views, status = run_gpu(code, "devices 2\n", CUDA_VISIBLE_DEVICES=setting)
    assert hidden == views == []
    assert not loaded
    assert "hides all 2 GPUs" in status


def test_a_mig_slice_by_uuid(run_gpu):
    config = "devices 1\ngpu0.mig 2\ngpu0.mig1.uuid MIG-x\n"
    code = "result = [[g.uuid for g in gpu.detect_gpus()]]"
    assert run_gpu(code, config, CUDA_VISIBLE_DEVICES="MIG-x") == [["MIG-x"]]


def test_detect_leaves_out_what_does_not_answer(run_gpu):
    code = "result = [[g.index, g.uuid, g.handle] for g in gpu.detect_gpus()]"
    config = "devices 3\ngpu0.uuid GPU-0\ngpu1.handle 15\ngpu2.uuid GPU-2\n"
    assert run_gpu(code, config) == [[0, "GPU-0", None], [2, "GPU-2", None]]


def test_detect_with_a_broken_driver(run_gpu):
    assert run_gpu("result = gpu.detect_gpus()", "init 18\ndevices 1\n") == []


def test_the_standin_was_used(run_gpu, nvml_dir):
    """The tests above would prove nothing if another library had been loaded."""
    code = (
        "sampler.sample()\n"
        "result = [l.split()[-1] for l in open('/proc/self/maps') if 'libnvidia-ml' in l]"
    )
    loaded = run_gpu(code, "devices 1\n")
    assert {os.path.dirname(path) for path in loaded} == {str(nvml_dir)}
