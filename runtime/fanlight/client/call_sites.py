"""Where in the user's code an object was asked for; recorded only if the environment says so."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PACKAGE = str(Path(__file__).resolve().parents[1]) + os.sep
_VARIABLES = ("FANLIGHT_RECORD_REF_CREATION_SITES", "RAY_record_ref_creation_sites")


def enabled() -> bool:
    """Read when a client is made: in drivers by ``init``, in workers at their start."""
    return any(os.environ.get(name, "").lower() in ("1", "true") for name in _VARIABLES)


def here(what: str) -> str:
    """``(what) file:line:function`` of the innermost frame that is not Fanlight's own."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    code = frame.f_code
    return f"({what}) {code.co_filename}:{frame.f_lineno}:{code.co_name}"
