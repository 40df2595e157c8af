"""Who may speak: the check of the first message on a connection, before anything else is read."""

from __future__ import annotations

from fanlight import messages as m


def refusal(hello: m.Hello, token: str, roles: tuple[str, ...]) -> str:
    """Why the sender of ``hello`` is turned away, "" if it is not."""
    import hmac  # costs a worker 5 ms; only those that become actors come here

    if not hmac.compare_digest(hello.token.encode(), token.encode()):
        return "wrong token"
    if hello.version != m.PROTOCOL_VERSION:
        return f"protocol version {hello.version}; this runtime has {m.PROTOCOL_VERSION}"
    if hello.role not in roles:
        return "unknown role"
    return ""
