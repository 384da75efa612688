"""Endpoints for monitoring: liveness, readiness and metrics."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping

from klein import Klein
from twisted.internet.defer import Deferred, gatherResults
from twisted.web.server import Request

from cenergyd.errors import CenergydError
from cenergyd.runtime.clock import Timers, twisted_clock
from cenergyd.runtime.metrics import Metrics

ReadinessCheck = Callable[[], Awaitable[None]]


class Operations:
    """``/healthz``, ``/readyz`` and ``/metrics``.

    :param checks: name -> a function that raises a CenergydError with the reason while it is not ready.
    :param timeout_seconds: a check that takes longer has failed.
    """

    app = Klein()

    def __init__(
        self, checks: Mapping[str, ReadinessCheck], metrics: Metrics, clock: Timers, timeout_seconds: float = 5
    ) -> None:
        self._checks = checks
        self._metrics = metrics
        self._clock = clock
        self._timeout = timeout_seconds
        self._waiting: list[Deferred[dict[str, str | None]]] = []
        self._checking = False
        self.ready = False
        """Result of the last check."""

    @app.route("/healthz", methods=["GET", "HEAD"])
    def healthz(self, request: Request) -> bytes:
        """200 while the process runs, whatever the state of its stores."""
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return b"ok\n"

    @app.route("/readyz", methods=["GET", "HEAD"])
    async def readyz(self, request: Request) -> bytes:
        """200 when an upload could be stored now; 503 with the reasons while not."""
        report = await self._report()
        request.setResponseCode(200 if self.ready else 503)
        request.setHeader(b"Content-Type", b"application/json")
        body = {"ready": self.ready, "checks": {name: reason or "ok" for name, reason in report.items()}}
        return json.dumps(body, indent=1).encode() + b"\n"

    @app.route("/metrics", methods=["GET"])
    async def metrics(self, request: Request) -> bytes:
        """Prometheus' text format; readiness is checked again."""
        await self._report()
        request.setHeader(b"Content-Type", b"text/plain; version=0.0.4; charset=utf-8")
        return self._metrics.render()

    async def _report(self) -> dict[str, str | None]:
        """The result of checks that begin now: name -> what is wrong, or None.

        The checks write to the stores, and the endpoints need no authentication. So one run is made at a time, and requests that arrive during
        it share the next one.
        """
        answer: Deferred[dict[str, str | None]] = Deferred()
        self._waiting.append(answer)
        if not self._checking:
            self._checking = True
            Deferred.fromCoroutine(self._check_for_all())
        return await answer

    async def _check_for_all(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                report = await self._make_checks()
                for answer in waiting:
                    if not answer.called:  # its client is still connected
                        answer.callback(report)
        finally:
            self._checking = False

    async def _make_checks(self) -> dict[str, str | None]:
        """Run all checks concurrently."""
        checks = [Deferred.fromCoroutine(self._reason(check)) for check in self._checks.values()]
        reasons = await gatherResults(checks)
        self.ready = all(reason is None for reason in reasons)
        return dict(zip(self._checks, reasons, strict=True))

    async def _reason(self, check: ReadinessCheck) -> str | None:
        async def run() -> None:
            await check()

        try:
            await Deferred.fromCoroutine(run()).addTimeout(self._timeout, twisted_clock(self._clock))
        except CenergydError as error:
            return str(error)
        except Exception as error:
            return f"no answer: {type(error).__name__}"
        return None
