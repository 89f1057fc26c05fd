"""Makes the one table of an older ledger on PostgreSQL the first partition of one that is divided by month.

What takes long (an index, and a look at every row) blocks neither who writes nor who reads, and is taken up again after
an interruption. What blocks both is at the end, in one transaction of some milliseconds: the table gets another name, a
partitioned one takes its place, and the old one is attached to it, up to a month that has not begun.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from functools import partial
from typing import Final, NamedTuple, TypeVar

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from crplugins.ledger.partitions import (
    BUSY,
    CUTOVER,
    is_partitioned,
    make_months,
    midnight,
    month_after,
    month_of,
    quoted,
)

LEAST: Final = timedelta(days=7)
"""So long before the cutover it is chosen: after it the old table takes no row, unless it has been attached by then."""

SWAP_MILLISECONDS: Final = 200
"""How long the last step waits for statements that are being executed, while all others wait behind it."""

_ATTEMPTS: Final = 100
_REST: Final = 2.0

_INDEX: Final = "usage_request_id_started_at"
_INDEXES: Final = {"ix_usage_key_id_started_at": "key_id, started_at", "ix_usage_started_at": "started_at"}

_SCHEMA: Final = text("""
    SELECT CAST(nspname AS text) FROM pg_class JOIN pg_namespace AS namespace ON namespace.oid = relnamespace
    WHERE pg_class.oid = to_regclass('usage')
""")

_INDEX_IS_VALID: Final = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")

_DEPENDANTS: Final = text("""
    SELECT 'the view ' || CAST(CAST(ev_class AS regclass) AS text)
    FROM pg_depend JOIN pg_rewrite AS rule ON rule.oid = objid
    WHERE classid = CAST('pg_rewrite' AS regclass) AND refobjid = to_regclass('usage')
    UNION SELECT 'the trigger ' || tgname FROM pg_trigger WHERE tgrelid = to_regclass('usage') AND NOT tgisinternal
    UNION SELECT 'the policy ' || polname FROM pg_policy WHERE polrelid = to_regclass('usage')
    UNION SELECT 'the publication ' || pubname FROM pg_publication_rel JOIN pg_publication AS publication
        ON publication.oid = prpubid WHERE prrelid = to_regclass('usage')
    UNION SELECT 'the foreign key ' || conname FROM pg_constraint
        WHERE contype = 'f' AND to_regclass('usage') IN (conrelid, confrelid)
    UNION SELECT 'privileges for the column ' || attname FROM pg_attribute
        WHERE attrelid = to_regclass('usage') AND attacl IS NOT NULL
    ORDER BY 1
""")

_OWNER: Final = text("SELECT CAST(pg_get_userbyid(relowner) AS text) FROM pg_class WHERE oid = to_regclass(:name)")

_GRANTS: Final = text("""
    SELECT privilege_type, CASE WHEN grantee = 0 THEN NULL ELSE CAST(pg_get_userbyid(grantee) AS text) END, is_grantable
    FROM pg_class, aclexplode(relacl) WHERE oid = to_regclass(:name) AND grantee <> relowner
""")

_OWN_INDEXES: Final = text("""
    SELECT CAST(relname AS text) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid = to_regclass('usage') AND NOT indisprimary AND relname <> ALL(:ours) ORDER BY 1
""")


_KEY: Final = text(
    "SELECT CAST(conname AS text) FROM pg_constraint WHERE conrelid = to_regclass('usage') AND contype = 'p'"
)

T = TypeVar("T")


class CannotDivide(Exception):
    """The table cannot be made a partition. The text says why, and what to do."""


class Divided(NamedTuple):
    """What was found or done.

    Attributes:
        was: whether the table had been partitioned before.
        partition: the old table's new name.
        cutover: the first day that is not in it.
        made: the tables that are new.
        own_indexes: of the operator, which only the old table has.
    """

    was: bool
    partition: str | None
    cutover: date | None
    made: list[str]
    own_indexes: list[str]


async def divide(engine: AsyncEngine, now: datetime, months: int) -> Divided:
    """Partitions `usage` by month, unless it is, and makes so many months from this one on.

    The engine's statements need all the time of an index. Raises `CannotDivide` and the driver's errors.
    """
    ahead = [month_of(now)]
    while len(ahead) < months:
        ahead.append(month_after(ahead[-1]))
    async with engine.begin() as connection:
        schema: str | None = (await connection.execute(_SCHEMA)).scalar()
        if schema is None:
            raise CannotDivide("this database has no records; a gateway that makes their tables partitions them")
        if await is_partitioned(connection):
            return Divided(True, None, None, await make_months(connection, ahead), [])
        await _require_no_dependants(connection)
        own = list(await connection.scalars(_OWN_INDEXES, {"ours": [*_INDEXES, _INDEX]}))
    await _build_index(engine, schema)
    cutover, partition = await _attach(engine, schema, now)
    async with engine.begin() as connection:
        return Divided(False, partition, cutover, await make_months(connection, ahead), own)


async def _require_no_dependants(connection: AsyncConnection) -> None:
    """They would stay with the old table, and miss what comes after it."""
    if found := list(await connection.scalars(_DEPENDANTS)):
        raise CannotDivide(f"{', '.join(found)}: drop what depends on the table, and make it again afterwards")


async def _build_index(engine: AsyncEngine, schema: str) -> None:
    """The key of a partitioned table has the moment in it. An index that was left half made is made anew."""
    name = f"{quoted(schema)}.{quoted(_INDEX)}"
    async with _statements(engine) as connection:
        valid = (await connection.execute(_INDEX_IS_VALID, {"name": name})).scalar()
        if valid is False:
            await connection.execute(text(f"DROP INDEX CONCURRENTLY {name}"))
        if not valid:
            on = f"{quoted(schema)}.usage (request_id, started_at)"
            await connection.execute(text(f"CREATE UNIQUE INDEX CONCURRENTLY {quoted(_INDEX)} ON {on}"))


async def _attach(engine: AsyncEngine, schema: str, now: datetime) -> tuple[date, str]:
    """Has PostgreSQL look at every row first, so that it need not while it attaches the table.

    Returns the first day after all rows, and the table's new name.
    """
    cutover = await _when_idle(engine, partial(_constrain, schema=schema, now=now))
    try:
        async with _statements(engine) as connection:
            await connection.execute(text(f"ALTER TABLE {quoted(schema)}.usage VALIDATE CONSTRAINT {CUTOVER}"))
        return cutover, await _when_idle(engine, partial(_swap, schema=schema, cutover=cutover))
    except BaseException:  # else records would wait from the cutover on
        await _when_idle(engine, partial(_unconstrain, schema=schema))
        raise


async def _when_idle(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """In a transaction that locks the table. It waits for what is being executed for a short time, again and again,
    since all other statements wait behind it.
    """
    for attempt in range(_ATTEMPTS):
        try:
            async with engine.begin() as connection:
                await connection.execute(text(f"SET LOCAL lock_timeout = {SWAP_MILLISECONDS}"))
                return await work(connection)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") != BUSY or attempt == _ATTEMPTS - 1:
                raise
        await asyncio.sleep(_REST)
    raise AssertionError("the last attempt raises")


async def _constrain(connection: AsyncConnection, schema: str, now: datetime) -> date:
    newest = (await connection.execute(text("SELECT max(started_at) FROM usage"))).scalar() or now
    cutover = month_after(month_of(max(now + LEAST, newest)))
    await _unconstrain(connection, schema)
    check = f"CHECK (started_at < {_literal(cutover)}) NOT VALID"
    await connection.execute(text(f"ALTER TABLE {quoted(schema)}.usage ADD CONSTRAINT {CUTOVER} {check}"))
    return cutover


async def _unconstrain(connection: AsyncConnection, schema: str) -> None:
    await connection.execute(text(f"ALTER TABLE {quoted(schema)}.usage DROP CONSTRAINT IF EXISTS {CUTOVER}"))


async def _swap(connection: AsyncConnection, schema: str, cutover: date) -> str:
    old = f"usage_until_{cutover:%Y_%m}"
    inside, table, other = f"{quoted(schema)}.", f"{quoted(schema)}.usage", f"{quoted(schema)}.{quoted(old)}"
    owner = (await connection.execute(_OWNER, {"name": table})).scalar_one()
    grants = (await connection.execute(_GRANTS, {"name": table})).all()
    key = (await connection.execute(_KEY)).scalar_one()
    statements = [
        f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
        f"ALTER TABLE {table} DROP CONSTRAINT {quoted(key)}",
        f"ALTER TABLE {table} ADD CONSTRAINT {quoted(f'{old}_pkey')} PRIMARY KEY USING INDEX {quoted(_INDEX)}",
        f"ALTER TABLE {table} RENAME TO {quoted(old)}",
        *(f"ALTER INDEX {inside}{name} RENAME TO {quoted(f'{old}_{name}')}" for name in _INDEXES),
        f"CREATE TABLE {table} (LIKE {other} INCLUDING DEFAULTS) PARTITION BY RANGE (started_at)",
        f"ALTER TABLE {table} ADD CONSTRAINT usage_pkey PRIMARY KEY (request_id, started_at)",
        *(f"CREATE INDEX {name} ON {table} ({columns})" for name, columns in _INDEXES.items()),
        f"ALTER TABLE {table} ATTACH PARTITION {other} FOR VALUES FROM (MINVALUE) TO ({_literal(cutover)})",
        f"ALTER TABLE {other} DROP CONSTRAINT {CUTOVER}",
        f"ALTER TABLE {table} OWNER TO {quoted(owner)}",
    ]  # fmt: skip
    for privilege, grantee, grantable in grants:
        to = "PUBLIC" if grantee is None else quoted(grantee)
        statements.append(f"GRANT {privilege} ON {table} TO {to}{' WITH GRANT OPTION' if grantable else ''}")
    for statement in statements:
        await connection.execute(text(statement))
    return old


def _literal(day: date) -> str:
    r"""`\:` is SQLAlchemy's for a colon that names no parameter."""
    return f"'{midnight(day).isoformat()}'".replace(":", r"\:")


@asynccontextmanager
async def _statements(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Each statement outside of a transaction."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        yield connection
