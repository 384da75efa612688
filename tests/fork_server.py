"""``python -m tests.fork_server FD [MODULE...]``: has the code of cenergyd imported and forks a process for each request; see :mod:`tests.forking`.

With names of modules it imports those alone.
"""

from __future__ import annotations

import array
import atexit
import gc
import importlib
import json
import os
import pkgutil
import resource
import runpy
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests import delays
from tests.parent_death import end_with

_MOST_BYTES = 4 << 20
SHARED = b"shared"
"""The reply where a constant cannot be changed any more, because other modules have imported it."""


def import_all() -> None:
    """Every module of cenergyd but the parts for tests, and the reactor."""
    from twisted.internet import reactor

    import cenergyd
    import cenergyd.testing.tuned

    assert reactor
    for found in pkgutil.walk_packages(cenergyd.__path__, "cenergyd."):
        if not found.name.startswith("cenergyd.testing.") and not found.name.endswith("__main__"):
            importlib.import_module(found.name)


def import_these(names: Sequence[str]) -> None:
    """Those that can be; some are no files but made by others."""
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            continue


def foreign_modules() -> list[str]:
    """What is imported now and is not cenergyd's."""
    return [name for name in list(sys.modules) if name.partition(".")[0] not in ("cenergyd", "tests", "__main__")]


def serve(channel: socket.socket) -> dict[str, Any]:
    """Answer requests; returns, in the forked process, what it is to run. Ends with the process that asks."""
    while True:
        data, ancillary, _, _ = channel.recvmsg(_MOST_BYTES, socket.CMSG_SPACE(3 * array.array("i").itemsize))
        if not data:
            os._exit(0)
        request = json.loads(data)
        descriptors = array.array("i")
        for _, _, content in ancillary:
            descriptors.frombytes(content)
        if request == "modules":
            channel.sendall(json.dumps(foreign_modules()).encode())
        elif not all(map(is_changeable, request["constants"])):
            channel.sendall(SHARED)
        elif fork(channel):
            become(request, descriptors)
            channel.close()
            return request
        for descriptor in descriptors:
            os.close(descriptor)


def is_changeable(assignment: str) -> bool:
    """Whether a changed constant counts now as if it had been changed right after its module was imported."""
    module, _, constant = assignment.partition("=")[0].rpartition(".")
    if module not in sys.modules:
        return True
    value = getattr(sys.modules[module], constant)
    others = [other for name, other in sys.modules.items() if name.startswith("cenergyd.") and name != module]
    return not any(vars(other).get(constant) is value for other in others)


def fork(channel: socket.socket) -> bool:
    """Twice, so that the process is a child of the one that asks (a subreaper), which waits for it. True in the new process."""
    reading, writing = os.pipe()
    asking = os.getppid()
    between = os.fork()
    if between == 0:
        between = os.getpid()
        process = os.fork()
        if process == 0:
            os.close(reading)
            os.close(writing)
            end_with(asking, between)
            return True
        os.write(writing, str(process).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(between, 0)
    channel.sendall(os.read(reading, 100))
    os.close(reading)
    return False


def become(request: dict[str, Any], descriptors: Sequence[int]) -> None:
    """Take over what a process is started with, and give the reactor descriptors of its own."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["folder"])
    for number, limit in request["limits"].items():
        resource.setrlimit(int(number), limit)
    if "twisted.internet.reactor" in sys.modules:
        reactor: Any = sys.modules["twisted.internet.reactor"]
        reactor._poller.close()
        for descriptor in (reactor.waker.i, reactor.waker.o):
            os.close(descriptor)
        reactor.__init__()
    delays.install(process=True)


def run(arguments: list[str], constants: list[str]) -> None:
    """As ``python ARGUMENTS`` would: ``-m MODULE``, ``-c CODE`` or a script."""
    kind, *rest = arguments
    sys.path[0] = str(Path(kind).parent)
    if constants:
        from cenergyd.testing.tuned import set_constant

        for each in constants:
            set_constant(each)
    if kind == "-c":
        sys.path[0] = ""
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
    elif kind == "-m":
        sys.path[0] = str(Path.cwd())
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(kind, run_name="__main__")


def main() -> None:
    """Until a fork; then that process's work."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    if sys.argv[2:]:
        import_these(sys.argv[2:])
    else:
        import_all()
    gc.collect()
    gc.freeze()
    request = serve(channel)
    try:
        run(request["arguments"], request["constants"])
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    end(code)


def end(code: int) -> None:
    """As an interpreter ends, but without taking to pieces all that was imported, which would copy its memory first."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or nobody reads it
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
