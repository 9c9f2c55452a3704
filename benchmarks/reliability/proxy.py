"""A TCP proxy between workers and PostgreSQL that does what bad networks do."""

from __future__ import annotations

import asyncio
import enum
import random
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.reliability.cluster import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK: Final = 65536
_COMMIT: Final = b"COMMIT"
# How the server says that it has committed. A client may have prepared the statement, and then no
# longer spells it. Source: https://www.postgresql.org/docs/current/protocol-message-formats.html
_COMMITTED: Final = b"COMMIT\x00"


@dataclass(kw_only=True)
class Weather:
    """What happens to traffic; may be changed while the proxy runs. Shares are of chunks sent."""

    longest_delay_seconds: float = 0.0
    delayed_share: float = 0.0
    reset_share: float = 0.0
    commit_delay_seconds: float = 0.0
    swallowed_commit_share: float = 0.0  # of commits: carried out, but the reply never arrives
    is_blackout: bool = False  # nothing passes, nothing is refused


class Fate(enum.Enum):
    """What becomes of one chunk."""

    PASS = "passes"  # noqa: S105 - no password
    CUT = "cut"  # the connection is reset before the server sees it
    WAIT = "wait"  # for the weather's longest delay, then it passes


class Proxy:
    """Runs in a thread of its own. ``port`` is where clients connect."""

    def __init__(self, target_port: int, *, seed: int) -> None:
        self.weather = Weather()
        self.resets = self.delays = self.swallowed_commits = 0
        self._target_port = target_port
        # Told of every chunk that a client sends; what it answers says what becomes of the chunk.
        self.on_chunk: Callable[[], Fate] = lambda: Fate.PASS
        self._random = random.Random(seed)  # noqa: S311 - not a secret
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(self._listen(), self._loop)
        self._server = starting.result(10)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        """Reset every connection there is."""
        self._loop.call_soon_threadsafe(self._cut)

    def close(self) -> None:
        """End the proxy and all its connections."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    # --- in the loop ----------------------------------------------------------------------------

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, HOST, 0)

    async def _close(self) -> None:
        self._server.close()
        self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _cut(self) -> None:
        for writer in self._writers:
            self.resets += 1
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection(HOST, self._target_port)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(self, writer, upstream[1])
        self._writers.add(writer)
        with suppress(asyncio.CancelledError, OSError):
            await asyncio.gather(link.up(reader), link.down(upstream[0]))
        self._writers.discard(writer)

    async def pass_on(self, chunk: bytes, writer: asyncio.StreamWriter) -> bool:
        """Send a chunk as the weather has it; return False when the connection was reset."""
        weather = self.weather
        while weather.is_blackout:
            await asyncio.sleep(0.05)
        if self._random.random() < weather.delayed_share:
            self.delays += 1
            await asyncio.sleep(self._random.uniform(0, weather.longest_delay_seconds))
        if self._random.random() < weather.reset_share:
            self.resets += 1
            return False
        writer.write(chunk)
        await writer.drain()
        return True

    def swallows(self) -> bool:
        """Decide whether the reply to a commit gets lost."""
        is_lost = self._random.random() < self.weather.swallowed_commit_share
        self.swallowed_commits += is_lost
        return is_lost


class _Link:
    """One client's connection and its other half."""

    def __init__(
        self, proxy: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        self._proxy, self._client, self._server = proxy, client, server

    async def up(self, reader: asyncio.StreamReader) -> None:
        """Carry what the client says."""
        try:
            while chunk := await reader.read(_CHUNK):
                fate = self._proxy.on_chunk()
                if fate is Fate.CUT:
                    break
                if fate is Fate.WAIT:
                    await asyncio.sleep(self._proxy.weather.longest_delay_seconds)
                if _COMMIT in chunk.upper():
                    await asyncio.sleep(self._proxy.weather.commit_delay_seconds)
                if not await self._proxy.pass_on(chunk, self._server):
                    break
        finally:  # of a reset as well: what ends on one side ends on the other
            self._abort()

    async def down(self, reader: asyncio.StreamReader) -> None:
        """Carry what the server answers."""
        try:
            while chunk := await reader.read(_CHUNK):
                if _COMMITTED in chunk and self._proxy.swallows():
                    break
                if not await self._proxy.pass_on(chunk, self._client):
                    break
        finally:
            self._abort()

    def _abort(self) -> None:
        self._client.transport.abort()
        self._server.transport.abort()
