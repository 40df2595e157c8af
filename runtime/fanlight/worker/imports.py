"""Modules that look for a notebook, and in a worker are given one: see ``fanlight_kernel.workshell``.

Nothing is imported, and nothing made, until a task imports one of them.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_WATCHED = (
    "IPython.core.display_functions",
    "matplotlib.figure",
    "matplotlib_inline.backend_inline",
    "tqdm.notebook",
)


class _Loader:
    """Loads a module as its own loader would, and tells of it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        with contextlib.suppress(ImportError):  # the extension is not installed
            workshell = importlib.import_module("fanlight_kernel.workshell")
            workshell.imported(module.__name__, module)


class Finder:
    """Wraps the loaders of the watched modules, each once."""

    def __init__(self, names: Sequence[str]) -> None:
        self._left = set(names)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        if name not in self._left:
            return None
        self._left.discard(name)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


def watch(notebook: bool) -> None:
    """Called once in a worker; ``notebook``: its driver has IPython, where ``display`` is a builtin."""
    sys.meta_path.insert(0, Finder(_WATCHED))
    if notebook:
        builtins.display = _display  # type: ignore[attr-defined]


def _display(*args: Any, **kwargs: Any) -> Any:
    from IPython.display import display

    return display(*args, **kwargs)
