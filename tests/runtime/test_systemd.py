"""Notifications to the service manager, over a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from cenergyd.runtime.systemd import EXTEND_SECONDS, SystemdNotifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(60)
        yield channel


def test_states(manager: socket.socket) -> None:
    notifier = SystemdNotifier(manager.getsockname())
    notifier.ready("listening")
    assert manager.recv(1000) == b"READY=1\nSTATUS=listening"
    notifier.reloading()
    lines = manager.recv(1000).split(b"\n")
    assert lines[0] == b"RELOADING=1"
    assert lines[1].startswith(b"MONOTONIC_USEC=")
    notifier.stopping()
    assert manager.recv(1000).startswith(b"STOPPING=1\n")


def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(f"\0cenergyd-test-{os.getpid()}")
        channel.settimeout(60)
        SystemdNotifier(f"@cenergyd-test-{os.getpid()}").ready()
        assert channel.recv(1000) == b"READY=1"


def test_the_watchdog_is_notified_twice_per_interval(manager: socket.socket) -> None:
    clock = Clock()
    notifier = SystemdNotifier.from_environment({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "60000000"})
    loop = notifier.keep_alive(clock)
    assert loop is not None
    assert manager.recv(100) == b"WATCHDOG=1"
    clock.advance(29.9)
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)
    clock.advance(0.2)
    assert manager.recv(100) == b"WATCHDOG=1"
    loop.stop()


def test_a_watchdog_of_another_process_is_not_ours() -> None:
    environment = {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}
    assert SystemdNotifier.from_environment(environment).watchdog_seconds is None
    assert SystemdNotifier.from_environment({**environment, "WATCHDOG_PID": str(os.getpid())}).watchdog_seconds == 60
    assert SystemdNotifier.from_environment({"WATCHDOG_USEC": "nonsense"}).watchdog_seconds is None


def test_without_a_manager_nothing_happens() -> None:
    notifier = SystemdNotifier.from_environment({})
    notifier.ready()
    assert notifier.keep_alive(Clock()) is None


def test_a_manager_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    SystemdNotifier(str(tmp_path / "gone")).ready()


def test_a_long_start_asks_for_time_until_it_has_ended(manager: socket.socket) -> None:
    clock = Clock()
    end = SystemdNotifier(manager.getsockname()).extend_start(clock)
    assert manager.recv(100) == b"EXTEND_TIMEOUT_USEC=30000000"
    clock.advance(EXTEND_SECONDS)
    assert manager.recv(100) == b"EXTEND_TIMEOUT_USEC=30000000"
    end()
    clock.advance(100)
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)
    assert not clock.getDelayedCalls()
