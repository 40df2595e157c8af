"""Named namespaces: where the cells of ``%%remote --on NAME`` run, and how to look after them.

>>> from fanlight_kernel import namespaces
>>> namespaces.listing()            # in a notebook: a table  # doctest: +SKIP
>>> namespaces.get("gpu0").variables()                        # doctest: +SKIP
>>> namespaces.get("gpu0").restart(num_gpus=2)                # doctest: +SKIP

A namespace is an actor of the runtime, and lives until it is removed, the runtime is stopped, or its
process dies. It belongs to one notebook.
"""

from __future__ import annotations

from fanlight_kernel.namespaces.registry import get, listing

__all__ = ["get", "listing"]
