"""A server of MongoDB's protocol by PyPI's ``mongoeco``: ``python mongoeco_server.py PORT FILE``, with Python 3.13 or newer. Runs until SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys

# Another Python runs this than that of the tests, and mypy sees the latter.
from mongoeco.engines import SQLiteEngine  # type: ignore[import-not-found, unused-ignore]
from mongoeco.wire import AsyncMongoEcoProxyServer  # type: ignore[import-not-found, unused-ignore]


async def main(port: int, path: str) -> None:
    """Serve the database in a file."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with AsyncMongoEcoProxyServer(engine=SQLiteEngine(path), port=port):
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
