"""Types for annotations, where Ray has them: ``ray.types``."""

from fanlight.refs import ObjectRef

__all__ = ["ObjectRef"]
