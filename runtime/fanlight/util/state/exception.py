"""What the state API raises."""

from __future__ import annotations

from fanlight.errors import FanlightError


class RayStateApiException(FanlightError):
    """A question about the runtime's state could not be answered; the text says why."""


class BadQuestion(RayStateApiException, ValueError):
    """The question itself is wrong: an unknown column, predicate or limit."""


class ServerUnavailable(RayStateApiException, ConnectionError):
    """There is no runtime to ask."""


__all__ = ["RayStateApiException", "ServerUnavailable"]
