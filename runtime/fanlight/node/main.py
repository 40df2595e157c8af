"""Entry point of the node process; the driver that starts it writes a BootConfig to its stdin."""

from __future__ import annotations

import signal
import sys

import msgspec

from fanlight.node.boot import BootConfig, make_dirs, remove_dirs


def main() -> None:
    boot = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=BootConfig)
    # Ctrl-C in a terminal is for the driver; it decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from fanlight.node.server import Node

    make_dirs(boot)
    try:
        node = Node(boot)
    except BaseException:
        remove_dirs(boot.session_dir, boot.segment_dir)
        raise
    signal.signal(signal.SIGTERM, lambda *_: setattr(node, "stop_reason", "SIGTERM"))
    node.run()


if __name__ == "__main__":
    main()
