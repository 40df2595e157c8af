"""The examples in the docstrings of the public packages run, and give what they say."""

from __future__ import annotations

import builtins
import doctest
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import fanlight
import fanlight_kernel

OPTIONAL = {"fanlight.tensors": "torch", "fanlight.util.joblib": "joblib"}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(autouse=True)
def no_last_value() -> Iterator[None]:
    """Examples leave their last value in ``builtins._``, and IPython then keeps off that name."""
    yield
    vars(builtins).pop("_", None)


def modules() -> Iterator[str]:
    for package in (fanlight, fanlight_kernel):
        yield package.__name__
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not info.name.endswith("__main__"):
                yield info.name


@pytest.mark.parametrize("name", list(modules()))
def test_examples(name: str) -> None:
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name])
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=OPTIONS)
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples failed"
    if fanlight.is_initialized():
        fanlight.shutdown()
