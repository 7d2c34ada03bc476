"""Transactions on PostgreSQL, in a schema for each service.

Writes are SERIALIZABLE and run again when another process got in the way: whatever a store may rely on with SQLite,
where one transaction writes at a time, holds here as well, whoever else is connected.

An outage is waited out for a moment, so that nobody notices a restart of the server. Where the connection broke during
a commit, the server is asked afterwards whether it happened: each writing transaction leaves a number in the row of its
writer. (`pg_xact_status` cannot tell: after a crash the number of a transaction that was lost may be given to another.)
"""

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import psycopg
import sqlalchemy as sa
from psycopg.rows import TupleRow
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from services.chassis.storage.database import CommitInDoubt, StoreUnavailable, ThreadedDatabase, Transaction
from services.chassis.storage.migrating import upgrade
from services.chassis.strict_yaml import ConfigurationInvalid

T = TypeVar("T")

PATIENCE_SECONDS = 5.0
"""How long an outage is waited out."""
_PAUSE_SECONDS = 0.1
_CONFLICTS = 50  # each loses against one that was committed: more in a row is no bad luck
_CONNECTING = {
    "connect_timeout": 3,
    "application_name": "forge",
    # A server that vanished without a word is noticed within some fifteen seconds.
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
_KNOWN_TO_BE_GONE = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=3 -c tcp_keepalives_count=3"
"""The server notices as soon that the client has vanished."""
_OPTIONS = "-c idle_in_transaction_session_timeout=10s -c lock_timeout=5s"
"""A process that hangs in the middle of a transaction must not keep others from what it has locked."""

_SERIALIZATION_FAILURE, _DEADLOCK, _UNIQUE_VIOLATION = "40001", "40P01", "23505"
_OUTAGES = ("08", "25006", "25P03", "53", "55P03", "57", "58")
"""How the numbers begin of errors by which a server says that it cannot, as opposed to that it will not."""

_writers = sa.Table(
    "forge_writers",
    sa.MetaData(),
    sa.Column("writer", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
)
_SIGN = sa.text(
    "INSERT INTO forge_writers (writer, number, at) VALUES (:writer, :number, now())"
    " ON CONFLICT (writer) DO UPDATE SET number = excluded.number, at = excluded.at"
)
# Both wait for the end of a transaction whose connection broke, if the server has not seen that yet.
_BE_THERE = sa.text("INSERT INTO forge_writers (writer, number) VALUES (:writer, 0) ON CONFLICT DO NOTHING")
_SIGNED = sa.text("SELECT number FROM forge_writers WHERE writer = :writer FOR UPDATE")
_FORGET_OLD_WRITERS = sa.text("DELETE FROM forge_writers WHERE at < now() - interval '7 days'")
_TEXTS_IN_A_LANGUAGE = sa.text(
    "SELECT table_name, column_name FROM information_schema.columns"
    " WHERE table_schema = current_schema() AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
)


class PostgresqlDatabase(ThreadedDatabase):
    """A Database in the schema `schema`, made when missing, with the tables that `migrations` lead to.

    `url` is as PostgreSQL's own tools take it: postgresql://user:password@host:port/database?sslmode=verify-full.
    """

    def __init__(self, url: str, schema: str, migrations: Path) -> None:
        super().__init__()
        self._schema = schema
        self._migrations = migrations
        self._name = uuid4().hex
        self._number = 0
        address = sa.make_url(url).set(drivername="postgresql+psycopg")
        options = f"{address.query.get('options', '')} {_OPTIONS} -c search_path={schema}".strip()
        # Parameters of statements hold inputs: the text of an error must not quote them.
        self._engine = sa.create_engine(
            address,
            connect_args={**_CONNECTING, "options": options},
            hide_parameters=True,
            pool_size=0,  # as many as there are threads, and they are kept
            pool_pre_ping=True,  # costs nothing that bench.load can see
        )
        event.listen(self._engine, "handle_error", _quote_nothing)
        self._writer = self._engine.execution_options(isolation_level="SERIALIZABLE")
        self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._steady = self._engine.execution_options(isolation_level="READ COMMITTED")

    async def prepare(self) -> None:
        """Bring the schema to its tables; processes that start at the same time take turns.

        Raises ConfigurationInvalid where the server does not answer or refuses.
        """
        try:
            for step in (self._make_schema, self._migrate):
                await asyncio.to_thread(_waiting_out_outages, step)
        except (StoreUnavailable, DBAPIError) as error:
            failure = error.__cause__ if isinstance(error, StoreUnavailable) else error
            said = " ".join(str(getattr(failure, "orig", failure)).split())
            raise ConfigurationInvalid([f"FORGE_DATABASE_URL: PostgreSQL cannot be used: {said}"]) from error

    def _make_schema(self) -> None:
        # On a connection that is not kept: what SQLAlchemy learns of the first one depends on the schema being there.
        engine = sa.create_engine(self._engine.url, connect_args=_CONNECTING, poolclass=NullPool)
        with engine.begin() as connection:
            self._take_turn(connection)
            connection.execute(sa.schema.CreateSchema(self._schema, if_not_exists=True))

    def _migrate(self) -> None:
        with self._steady.begin() as connection:
            self._take_turn(connection)
            upgrade(connection, self._migrations)
            _writers.create(connection, checkfirst=True)
            for table, column in connection.execute(_TEXTS_IN_A_LANGUAGE).all():
                # Ids and names are in the order of their bytes, in which SQLite and Python have them.
                connection.exec_driver_sql(f'ALTER TABLE "{table}" ALTER COLUMN "{column}" TYPE text COLLATE "C"')
            connection.execute(_FORGET_OLD_WRITERS)
            connection.execute(_SIGN, {"writer": self._name, "number": 0})

    def _take_turn(self, connection: sa.Connection) -> None:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"forge {self._schema}"))))

    def _write(self, transaction: Transaction[T]) -> T:
        until = time.monotonic() + PATIENCE_SECONDS
        conflicts = 0
        while True:
            self._number += 1
            results: list[T] = []
            try:
                with self._writer.begin() as connection:
                    result = transaction(connection)
                    connection.execute(_SIGN, {"writer": self._name, "number": self._number})
                    results.append(result)  # from here on the commit is under way
                return result
            except DBAPIError as error:
                if _is_conflict(error, conflicts):
                    conflicts += 1
                    time.sleep(random.uniform(0, 0.002 * conflicts))
                    continue
                if not _is_outage(error):
                    raise
                if results and self._has_happened(until):
                    return results[0]
                _pause(until, error)

    def _read(self, transaction: Transaction[T]) -> T:
        def read() -> T:
            with self._reader.begin() as connection:
                return transaction(connection)

        return _waiting_out_outages(read)

    def _has_happened(self, until: float) -> bool:
        """Whether the transaction with the present number was committed. Raises CommitInDoubt when nobody can say."""
        while True:
            try:
                with self._steady.begin() as connection:
                    connection.execute(_BE_THERE, {"writer": self._name})
                    signed = connection.execute(_SIGNED, {"writer": self._name}).scalar_one()
                return signed == self._number
            except DBAPIError as error:
                if time.monotonic() > until:
                    raise CommitInDoubt from error
                time.sleep(_PAUSE_SECONDS)

    def _disconnect(self) -> None:
        self._engine.dispose()


async def session_with(url: str, schema: str) -> psycopg.AsyncConnection[TupleRow]:
    """A connection of its own to a schema, in which each statement is a transaction. Raises psycopg.Error."""
    address = sa.make_url(url).set(drivername="postgresql")
    options = f"{address.query.get('options', '')} {_OPTIONS} {_KNOWN_TO_BE_GONE} -c search_path={schema}".strip()
    text = address.difference_update_query(["options"]).render_as_string(hide_password=False)
    return await psycopg.AsyncConnection.connect(text, autocommit=True, options=options, **_CONNECTING)


def version_of(url: str) -> str:
    """The version of the server at `url`. Raises psycopg.Error where it cannot be asked."""
    with psycopg.connect(url, connect_timeout=3) as connection:
        return str(connection.info.parameter_status("server_version")).split()[0]


def _quote_nothing(context: sa.ExceptionContext) -> None:
    """Leave out of an error's text what the server tells beside it: it quotes rows."""
    error = context.original_exception
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        error.args = (error.diag.message_primary,)
        if context.sqlalchemy_exception is not None:
            context.sqlalchemy_exception.args = (f"({type(error).__name__}) {error.diag.message_primary}",)


def _waiting_out_outages(work: Callable[[], T]) -> T:
    """What `work` gives; it may be begun several times."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return work()
        except DBAPIError as error:
            if not _is_outage(error):
                raise
            _pause(until, error)


def _pause(until: float, error: DBAPIError) -> None:
    if time.monotonic() > until:
        raise StoreUnavailable from error
    time.sleep(_PAUSE_SECONDS)


def _is_conflict(error: DBAPIError, conflicts: int) -> bool:
    """Whether another transaction got in the way, so that this one may succeed when it is run again."""
    number = getattr(error.orig, "sqlstate", None)
    if number == _UNIQUE_VIOLATION:  # may be what both took for new; if not, it comes again
        return conflicts == 0
    return number in (_SERIALIZATION_FAILURE, _DEADLOCK) and conflicts < _CONFLICTS


def _is_outage(error: DBAPIError) -> bool:
    """Whether the server could not do what it should, or is away."""
    number = getattr(error.orig, "sqlstate", None)
    if number is None:
        return error.connection_invalidated or isinstance(error, OperationalError)
    return number.startswith(_OUTAGES)
