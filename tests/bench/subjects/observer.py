"""What the panel's server does, as a process: read a runtime's events until the input ends."""

from __future__ import annotations

import sys
import threading

from fanlight.observe import client, discover


def main() -> None:
    observer = client.Observer(discover.runtimes()[0])

    def read() -> None:
        for number, _ in enumerate(observer.payloads()):
            if number == 0:
                print("attached", flush=True)

    reader = threading.Thread(target=read)
    reader.start()
    sys.stdin.read()
    observer.close()
    reader.join()


if __name__ == "__main__":
    main()
