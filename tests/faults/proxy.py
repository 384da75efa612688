"""A TCP proxy between two programs, which can be slow, drop everything, or cut replies short."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress


class Proxy:
    """Listens on a port of its own and passes everything on to ``target``, a loopback port, as its attributes say."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.delay = 0.0
        """Seconds that each piece of a reply is held back."""
        self.cut_after: int | None = None
        """Bytes of each reply that are passed on before both connections are reset; None: all."""
        self.swallow = False
        """Take requests and pass nothing on, as a network that drops packets does."""
        self.lose: Callable[[bytes], bool] | None = None
        """Says of a request whether it is lost: never passed on, while others are."""
        self.cut_reply_to: Callable[[bytes], bool] | None = None
        """Says of a request whether its reply is lost: it is passed on, and once it is answered both connections are reset.
        Once; then it is None again."""
        self.cuts = 0
        """Replies cut short so far."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def mend(self) -> None:
        """Pass everything on again."""
        self.delay, self.cut_after, self.swallow, self.lose, self.cut_reply_to = 0.0, None, False, None, None

    def reset(self) -> None:
        """Break every connection there is now."""

        async def abort() -> None:
            for writer in self._writers:
                writer.transport.abort()

        asyncio.run_coroutine_threadsafe(abort(), self._loop).result(60)

    def close(self) -> None:
        """Stop listening and close all connections."""
        self._loop.call_soon_threadsafe(self._server.close)
        self.reset()

        async def end() -> None:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        lost = asyncio.Event()
        for work in (self._requests(reader, back, lost), self._replies(there, writer, back, lost)):
            task = asyncio.ensure_future(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _requests(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.cut_reply_to is not None and self.cut_reply_to(data):
                    self.cut_reply_to = None
                    lost.set()
                if not self.swallow and not (self.lose and self.lose(data)):
                    back.write(data)
                    await back.drain()
        self._forget(back)

    async def _replies(
        self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter, lost: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while data := await there.read(65536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if self.cut_after is not None or lost.is_set():
                    self.cuts += 1
                    writer.write(data[: 0 if lost.is_set() else self.cut_after])
                    await writer.drain()
                    back.transport.abort()
                    break
                writer.write(data)
                await writer.drain()
        self._forget(writer)

    def _forget(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        with suppress(OSError, RuntimeError):
            writer.close()
