"""The web side in a process of its own, for tests that call it from blocking clients: prints a JSON line and serves until
its standard input ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from cenergyd.readings.model import Reading, SeriesReadings
from tests.web.harness import World

SERIAL = "001EC6001433"


async def main() -> None:
    world = World(Path(sys.argv[1]), {"max_failures_per_address": 10**5, "max_points": 2000, "hsts_seconds": 0})
    await world.start()
    customer, _ = await world.customer(name="site", facility="1", solar="2", logger_serial_number=SERIAL)
    now = world.clock.now
    readings = [Reading(now - 60 * n, P=float(n), L1_PF=0.5) for n in range(200)]
    await world.readings.write([SeriesReadings(f"{SERIAL}_{meter}", readings) for meter in ("1", "2", "missing_meter")])
    await world.documents.put("logger", SERIAL, {"loop_name": "x", "address": "192.0.2.1", "last_upload": now})
    await world.documents.put("rejected", "BAD", {"time": now, "address": "192.0.2.1", "reason": "no", "count": 1})
    session, _ = await world.sessions.open(world.operator_token, now) or ("", None)
    print(
        json.dumps(
            {"url": world.url, "token": world.operator_token, "customer": customer.id, "session": session, "now": now}
        ),
        flush=True,
    )
    # Our parent's end closes whatever becomes of it, so that no server is left behind.
    await deferToThread(sys.stdin.buffer.read)
    await world.stop()
    reactor.stop()


if __name__ == "__main__":
    reactor.callWhenRunning(
        lambda: Deferred.fromCoroutine(main()).addErrback(lambda f: (f.printTraceback(), reactor.stop()))
    )
    reactor.run()
