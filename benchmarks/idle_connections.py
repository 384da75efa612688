"""Ten thousand connections that send nothing or half a request: memory, and the time of a device's upload meanwhile.

    .venv/bin/python benchmarks/idle_connections.py [CONNECTIONS=10000]

Needs ``ulimit -n`` above CONNECTIONS, here and for the daemon that is started. Clients use several loopback addresses.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.daemon_process import RunningDaemon
from tests.e2e.device import acknowledged, add_customer, readings, upload
from tests.hostile.wire import connect, memory, metric

SERIAL = "001EC6700001"


def upload_seconds(daemon: RunningDaemon) -> float:
    """The longest of ten uploads."""
    longest = 0.0
    for number in range(10):
        begun = time.monotonic()
        assert acknowledged(upload(daemon, SERIAL, "1", readings(int(time.time()) // 60 * 60 - 6000, 15, number)))
        longest = max(longest, time.monotonic() - begun)
    return longest


def main(count: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    daemon = RunningDaemon(
        Path(tempfile.mkdtemp(prefix="cenergyd-idle-")), {"server.max_connections": str(count + 100)}
    )
    daemon.start()
    try:
        add_customer(daemon, SERIAL, load="1", solar="2")
        print(f"upload without them: {upload_seconds(daemon) * 1000:.0f} ms at most")
        before = memory(daemon)
        begun = time.monotonic()
        with ExitStack() as stack:
            for number in range(count):
                link = stack.enter_context(connect(daemon, f"127.0.0.{2 + number % 200}"))
                if number % 2:
                    link.sendall(b"POST /consume HTTP/1.1\r\nHost: x\r\n")
            print(f"{count} connections opened in {time.monotonic() - begun:.1f} s")
            print(f"upload meanwhile: {upload_seconds(daemon) * 1000:.0f} ms at most")
            held = metric(daemon, "connections")
            print(f"{held:.0f} connections held, {(memory(daemon) - before) / held:.1f} KiB of memory each")
    finally:
        daemon.kill()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
