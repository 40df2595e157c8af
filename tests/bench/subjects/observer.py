"""What the panel's server does for three browsers, as a process: read a runtime's events until the
input ends."""

from __future__ import annotations

import sys
import threading

from fanlight.observe import client, discover

BROWSERS = 3


def main() -> None:
    observers = [client.Observer(discover.runtimes()[0]) for _ in range(BROWSERS)]
    attached = threading.Barrier(BROWSERS + 1)

    def read(observer: client.Observer) -> None:
        for number, _ in enumerate(observer.payloads()):
            if number == 0:
                attached.wait()

    readers = [threading.Thread(target=read, args=(observer,)) for observer in observers]
    for reader in readers:
        reader.start()
    attached.wait()
    print("attached", flush=True)
    sys.stdin.read()
    for observer in observers:
        observer.close()
    for reader in readers:
        reader.join()


if __name__ == "__main__":
    main()
