"""``subprocess`` for processes of cenergyd, forked from one that has imported everything: half a second of CPU less for each.

What runs is a process like any other, with its own descriptors, environment, folder and reactor. Where that cannot be (another
``PYTHONPATH``, descriptors to pass on) a new Python is started.
"""

from __future__ import annotations

import array
import atexit
import ctypes
import inspect
import json
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cenergyd.testing.daemon import TUNED
from tests.fork_server import SHARED
from tests.parent_death import ending_with_tests

_ROOT = Path(__file__).parents[1]
_PR_SET_CHILD_SUBREAPER = 36
_PARAMETERS = inspect.signature(subprocess.Popen._execute_child)


class ForkServer:
    """A process that forks others; started when it is first asked."""

    def __init__(self) -> None:
        self.path = os.environ.get("PYTHONPATH")
        self._lock = threading.Lock()
        self._channels: dict[bool, socket.socket] = {}

    def start(self, arguments: list[str], folder: str, environment: dict[str, str], streams: Sequence[int]) -> int:
        """The process id of a new Python that runs them."""
        constants: list[str] = []
        if arguments[0] == str(TUNED):
            cut = arguments.index("--")
            constants, arguments = arguments[1:cut], ["-m", "cenergyd", *arguments[cut + 1 :]]
        request = {
            "arguments": arguments, "constants": constants, "folder": folder, "environment": environment, "limits": limits(),
        }  # fmt: skip
        with self._lock:
            answer = self._ask(True, request, streams)
            if answer == SHARED:
                answer = self._ask(False, request, streams)
        return int(answer)

    def _ask(self, everything: bool, request: Any, streams: Sequence[int] = ()) -> bytes:
        if everything not in self._channels:
            modules = () if everything else json.loads(self._ask(True, "modules"))
            self._channels[everything] = self._launch(modules)
        channel = self._channels[everything]
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))] if streams else []
        channel.sendmsg([json.dumps(request).encode()], passed)
        answer = channel.recv(1 << 20)
        assert answer, "the fork server ended"
        return answer

    def _launch(self, modules: Sequence[str]) -> socket.socket:
        # What it forks becomes a child of this process, which then waits for it as for any other.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, its):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server", str(its.fileno()), *modules], cwd=_ROOT, pass_fds=[its.fileno()],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        its.close()

        def end() -> None:
            ours.close()
            process.wait()

        atexit.register(end)
        return ours


def limits() -> dict[int, tuple[int, int]]:
    """This process's resource limits."""
    numbers = {number for name, number in vars(resource).items() if name.startswith("RLIMIT_")}
    return {number: resource.getrlimit(number) for number in sorted(numbers)}


SERVER = ForkServer()


class Popen(subprocess.Popen[Any]):
    """``subprocess.Popen`` of :data:`sys.executable`."""

    def _execute_child(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        bound = _PARAMETERS.bind(self, *args, **kwargs)
        given = bound.arguments
        environment = dict(os.environ if given["env"] is None else given["env"])
        words = [os.fspath(word) for word in given["args"]]
        if words[0] != sys.executable or given["pass_fds"] or environment.get("PYTHONPATH") != SERVER.path:
            given["args"] = ending_with_tests(words)
            super()._execute_child(*bound.args[1:], **bound.kwargs)  # type: ignore[misc]
            return
        streams = [
            number if end == -1 else end
            for number, end in enumerate((given["p2cread"], given["c2pwrite"], given["errwrite"]))
        ]
        try:
            folder = os.fspath(given["cwd"] or Path.cwd())
            self.pid = SERVER.start(words[1:], folder, environment, streams)
            self._child_created = True
        finally:
            ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
            self._close_pipe_fds(*(given[end] for end in ends))  # type: ignore[attr-defined]


def run(
    words: Sequence[Any], *, input: str | None = None, capture_output: bool = False, check: bool = False,
    timeout: float | None = None, **options: Any,
) -> subprocess.CompletedProcess[Any]:  # fmt: skip
    """``subprocess.run``."""
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if input is not None:
        options["stdin"] = subprocess.PIPE
    with Popen(words, **options) as process:
        try:
            out, complaint = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
        done = subprocess.CompletedProcess(words, process.wait(), out, complaint)
    if check:
        done.check_returncode()
    return done
