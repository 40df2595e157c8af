"""``fanlight.scale``: more or fewer CPUs while the runtime goes on."""

from __future__ import annotations

import pytest

from fanlight import errors
from tests.engines.support import needs


def test_resources_are_what_was_asked_for(fresh):
    fresh.init(num_cpus=2)
    rt = fresh.fanlight
    rt.scale(5)
    assert rt.cluster_resources()["CPU"] == 5
    assert rt.available_resources()["CPU"] == 5

    @rt.remote(num_cpus=4)
    def large():
        return "ran"

    assert rt.get(large.remote()) == "ran"
    rt.scale(1)
    ref = large.remote()
    assert rt.wait([ref], timeout=0.05) == ([], [ref])
    assert "4 CPU" in str(rt.why(ref))
    rt.scale(4.5)
    assert rt.get(ref) == "ran"


@needs("processes")
def test_as_many_run_at_once(fresh, tmp_path, wait_for, note):
    fresh.init(num_cpus=2)
    rt = fresh.fanlight
    rt.scale(4)

    @rt.remote
    def meet(i):
        note(str(tmp_path / str(i)))
        for j in range(4):
            wait_for(str(tmp_path / str(j)))
        return i

    assert rt.get([meet.remote(i) for i in range(4)]) == [0, 1, 2, 3]


def test_what_cannot_be(fresh):
    fresh.init(num_cpus=2)
    rt = fresh.fanlight
    for wrong in (-1, float("nan"), float("inf"), 1e9):
        with pytest.raises(ValueError, match="from 0 to 10000"):
            rt.scale(wrong)
    for wrong in ("4", None, True):
        with pytest.raises(TypeError, match="a number of CPUs"):
            rt.scale(wrong)
    assert rt.cluster_resources()["CPU"] == 2
    rt.shutdown()
    with pytest.raises(errors.RuntimeNotStartedError):
        rt.scale(3)
