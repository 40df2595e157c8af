"""Torch tensors inside values: no copy for the reader, and still a tensor like any other.

Imported when the first tensor is pickled or rebuilt, and only then; torch is not needed otherwise.

Torch has no read-only tensors: a write into shared memory that is mapped read-only would end the
process. So a value with tensors gets pages of its own from a reader's mapping (``MAP_PRIVATE``):
nothing is copied until somebody writes to a page, and nobody else sees what was written.
"""

from __future__ import annotations

import pickle
from typing import Any

import torch

from fanlight import serialization


def reduce(tensor: Any, contained: list[bytes]) -> Any:
    """For plain tensors in the CPU's memory; torch pickles the others as it always does."""
    if (
        tensor.device.type != "cpu"
        or tensor.layout is not torch.strided
        or not tensor.is_contiguous()
        or not tensor.numel()
        or (tensor.requires_grad and not tensor.is_leaf)
        or tensor.is_quantized
        or tensor.is_conj()
        or tensor.is_neg()
        or tensor.__dict__
        or tensor._backward_hooks
    ):
        return NotImplemented
    flat = tensor.detach().reshape(-1).view(torch.uint8).numpy()
    buffer = serialization.own_pages(pickle.PickleBuffer(flat))
    return rebuild, (buffer, tensor.dtype, tuple(tensor.shape), tensor.requires_grad)


def rebuild(buffer: Any, dtype: Any, shape: tuple[int, ...], requires_grad: bool) -> Any:
    """A tensor over ``buffer``, or over a copy of it if it is not to be written to."""
    view = memoryview(buffer)
    if view.readonly:
        view = memoryview(bytearray(view))
    tensor = torch.frombuffer(view, dtype=dtype).reshape(shape)
    return tensor.requires_grad_() if requires_grad else tensor


serialization.register_reducer(torch.Tensor, reduce)
