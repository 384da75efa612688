"""``cenergyd run``: the daemon in the foreground, as started by systemd or by hand."""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, cast

import click
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from cenergyd.commands.common import SettingsSource, make_state_folders, pass_source
from cenergyd.errors import CenergydError
from cenergyd.runtime.allocator import return_large_blocks
from cenergyd.runtime.clock import Reactor
from cenergyd.runtime.logs import Output, secrets_of, start_logging
from cenergyd.runtime.plugin_hangs import HangWatch
from cenergyd.runtime.redact import Redactor
from cenergyd.runtime.stop_origin import StopOrigin
from cenergyd.runtime.systemd import SystemdNotifier
from cenergyd.runtime.wall_clock import ClockWatch
from cenergyd.settings.loader import log_warning
from cenergyd.settings.sections import Settings

if TYPE_CHECKING:
    from cenergyd.customers.model import Customer
    from cenergyd.daemon.service import Daemon
    from cenergyd.tools.simulator.site import SimulatedSite

log = Logger()

_SWITCH_SECONDS = 0.001
"""Python's default is 0.005."""


def register(group: click.Group) -> None:
    """Add the command."""
    group.command(name="run")(run)


@click.option("--port", type=click.IntRange(0, 65535), help="Listen on 127.0.0.1 and this port only (0: a free one).")
@click.option("--demo", is_flag=True, help="Also simulate a solar site that uploads, and print what is derived.")
@pass_source
def run(source: SettingsSource, port: int | None, demo: bool) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; uploads in progress are finished first. SIGHUP reads the settings again."""
    if port is not None:
        source.overrides["server.listen"] = f"tcp:{port}:interface=127.0.0.1"
    if demo:
        # A demonstration should show energy and rollups soon.
        source.overrides.setdefault("jobs.interval_seconds", "5")
    settings = source.load(log_warning)
    os.umask(0o077)
    return_large_blocks()
    make_state_folders(settings)
    output = start_logging(settings.logging, Redactor(secrets_of(settings)))
    runner = _Runner(source, settings, SystemdNotifier.from_environment(os.environ), output)
    if demo:
        runner.companion = _demo(runner.reactor, runner.daemon)
    failure = runner.run()
    if failure is not None:
        raise failure


def _demo(reactor: Reactor, daemon: Daemon) -> Companion:
    from cenergyd.commands.simulated_customers import register_sites
    from cenergyd.tools.simulator.demo import Demo

    async def register_site(site: SimulatedSite, password: str) -> Customer:
        now = int(reactor.seconds())
        (customer,) = await register_sites(daemon.customers, daemon.readings, [site], password, now=now)
        return customer

    return Demo(reactor, daemon, register_site, click.echo)


class Companion(Protocol):
    """Something that runs beside the daemon."""

    async def start(self) -> None:
        """Begin; the daemon has started."""
        ...

    async def stop(self) -> None:
        """End; the daemon is still running."""
        ...


class _Runner:
    """One run of the daemon: start, signals, stop."""

    def __init__(self, source: SettingsSource, settings: Settings, notifier: SystemdNotifier, output: Output) -> None:
        from twisted.internet import reactor

        self.reactor = cast(Reactor, reactor)
        # Importing the daemon takes a second; the other commands should not wait for it.
        from cenergyd.daemon.service import build_daemon

        self.daemon = build_daemon(settings, self.reactor)
        self.companion: Companion | None = None
        self._watch = ClockWatch(self.reactor)
        self._hangs = HangWatch(self.daemon.plugins.times)
        self._stops = StopOrigin(self.reactor, self.daemon.plugins.times)
        self._ended = False
        self._source = source
        self._notifier = notifier
        self._output = output
        self._secrets = secrets_of(settings) | self.daemon.plugins.secrets()
        output.redact = Redactor(self._secrets)
        self._failure: BaseException | None = None

    def run(self) -> BaseException | None:
        """Run to the end; returns the error that prevented the start, or None."""
        self.reactor.callWhenRunning(self._stops.arm)
        self.reactor.callWhenRunning(lambda: Deferred.fromCoroutine(self._start()))
        self.reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(self._stop()))
        # Everything loaded by now stays in memory. Without this every full collection scans it again: pauses of 0.1 s in a backlog.
        gc.collect()
        gc.freeze()
        # A thread that computes holds the GIL for this long after the reactor has asked for it, and one response needs it several times.
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._watch.start()
        self._hangs.start()
        self.reactor.run()
        self._hangs.stop()
        self._watch.stop()
        if self._failure is None and not self._ended:
            log.error("the reactor ended without a stop: some code crashed it")
            # Nothing can be finished without a reactor, and its pools' threads would keep the process alive for ever.
            os._exit(1)
        return self._failure

    async def _start(self) -> None:
        try:
            log.info("settings from {source}", source=self._source.shown)
            end = self._notifier.extend_start(self.reactor)
            try:
                await self.daemon.start()
            finally:
                end()
            for url in self.daemon.addresses:
                log.info("listening on {url}", url=url)
            signal.signal(signal.SIGHUP, lambda *_: self.reactor.callFromThread(self._hang_up))
            self._notifier.keep_alive(self.reactor)
            self._notifier.ready(f"listening on {' '.join(self.daemon.addresses)}")
            if self.companion is not None:
                await self.companion.start()
        except BaseException as error:
            self._failure = error
            with suppress(ReactorNotRunning):  # a signal came first and the stop is under way
                self._stops.stop()

    async def _stop(self) -> None:
        self._notifier.stopping()
        self._ended = True
        culprit = self._stops.unintended_by()
        if self._failure is None and culprit is not None:
            self._failure = CenergydError(f"the daemon was stopped by {culprit}, not by a signal")
            log.error("{error}", error=str(self._failure))
        if self._failure is None:
            log.info("stopping: uploads in progress are finished first")
        try:
            if self.companion is not None:
                await self.companion.stop()
            await self.daemon.stopService()
        except Exception:
            log.failure("the stop was not clean")
        if self._failure is None:
            log.info("stopped")

    def _hang_up(self) -> None:
        Deferred.fromCoroutine(self._reload()).addErrback(lambda failure: log.failure("reload", failure))

    async def _reload(self) -> None:
        self._notifier.reloading()
        try:
            settings = self._source.load(log_warning)
            # The old ones are still redacted too: they are used until the restart that some settings need.
            self._secrets |= secrets_of(settings)
            self._output.redact = Redactor(self._secrets)
            await self.daemon.reload(settings)
            self._output.settings = settings.logging
            log.info("settings read again from {source}", source=self._source.shown)
        except CenergydError as error:
            # An invalid file must not stop a working daemon: the old settings stay.
            log.error("the settings stay as they were: {error}", error=error)
        finally:
            self._notifier.ready()
