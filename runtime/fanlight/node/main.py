"""Entry point of the node process; the driver that starts it writes a BootConfig to its stdin."""

from __future__ import annotations

import signal
import sys

import msgspec

from fanlight.node import zygote
from fanlight.node.boot import BootConfig, make_dirs, remove_dirs


def main() -> None:
    boot = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=BootConfig)
    # Ctrl-C in a terminal is for the driver; it decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    make_dirs(boot)
    zygote.become_subreaper()  # should the zygote be killed, what its workers started is found
    # First of all: it imports what workers need while this process imports the core.
    forked = zygote.fork(boot)
    from fanlight.node.server import Node

    try:
        node = Node(boot, forked)
    except BaseException:
        remove_dirs(boot.session_dir, boot.segment_dir)
        raise
    signal.signal(signal.SIGTERM, lambda *_: setattr(node, "stop_reason", "SIGTERM"))
    node.run()


if __name__ == "__main__":
    main()
