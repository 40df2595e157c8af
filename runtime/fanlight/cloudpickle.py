"""The pickler for functions and classes of a notebook, where Ray has it: ``ray.cloudpickle``.

A ref that is pickled with it keeps its object for the life of this process.
"""

from cloudpickle import *  # noqa: F403
from cloudpickle import CloudPickler, Pickler, dump, dumps, load, loads

__all__ = ["CloudPickler", "Pickler", "dump", "dumps", "load", "loads"]
