"""Which GPUs the code of a task sees, and what they are called."""

from __future__ import annotations

import os

_VARIABLE = "CUDA_VISIBLE_DEVICES"
_LEAVE = "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"  # set to 1: the user chooses devices


class VisibleGpus:
    """One process's view. ``tokens`` is what CUDA calls each GPU, by the runtime's number;
    ``preset`` says that the environment chose them, and then ids are its names, not numbers."""

    def __init__(self, tokens: list[str], preset: bool) -> None:
        self._tokens = tokens
        self._preset = preset
        self._before: str | None = None
        self._changed = False

    def ids(self, gpus: list[int] | None) -> list[int | str]:
        """What ``get_gpu_ids()`` says in a task that was given these GPUs."""
        if self._preset:
            return [self._token(i) for i in gpus or ()]
        return list(gpus or ())

    def _token(self, gpu: int) -> str:
        return self._tokens[gpu] if gpu < len(self._tokens) else str(gpu)

    def show(self, gpus: list[int]) -> None:
        """Let CUDA see just these, from now on."""
        if os.environ.get(_LEAVE, "").lower() in ("1", "true"):
            return
        if not self._changed:
            self._before = os.environ.get(_VARIABLE)
            self._changed = True
        os.environ[_VARIABLE] = ",".join(map(self._token, gpus))

    def restore(self) -> None:
        """Let CUDA see what it saw before."""
        if not self._changed:
            return
        self._changed = False
        if self._before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = self._before
