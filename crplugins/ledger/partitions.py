"""The months of `usage` on PostgreSQL, where a new ledger is partitioned by them (UTC, by `started_at`).

The process that writes makes them: this month and the next ahead of time, and any other when the first row of it comes,
be it from a spool after months or from a machine whose clock is wrong. There is no DEFAULT partition: the rows that it
had swallowed would keep their month from being made.

A month is made as a table of its own that is then attached, which blocks neither who writes nor who reads. What is
there is read from the catalog each time, so that partitions of an operator's count like our own. A ledger of an older
release is one table, and stays it until an operator divides it (`one_table`).
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from typing import Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_MAKING: Final = text("SELECT pg_advisory_xact_lock(7165913572423136360)")  # any number, but the same in every version

CUTOVER: Final = "usage_cutover"
"""The constraint of a table that is being made a partition (`one_table`): a row from then on has no place yet."""

BUSY: Final = "55P03"
"""The SQLSTATE of a lock that was not given in time."""

MAKE_MILLISECONDS: Final = 2_000
"""How long making a month waits for others that make months, or for a VACUUM. Nobody else waits behind it."""

DROP_MILLISECONDS: Final = 100
"""How long dropping a month waits for questions that are being answered: so long all others wait behind it."""

_KIND: Final = text("SELECT CAST(relkind AS text) FROM pg_class WHERE oid = to_regclass('usage')")

_PLAIN_MOMENTS: Final = text("SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO', true)")

_PARTITIONS: Final = text(r"""
    SELECT namespace.nspname, partition.relname,
           CAST((regexp_match(bound, 'FROM \(''([^'']+)''\)'))[1] AS timestamptz),
           CAST((regexp_match(bound, 'TO \(''([^'']+)''\)'))[1] AS timestamptz),
           bound = 'DEFAULT', partition.relkind = 'r'
    FROM pg_inherits JOIN pg_class AS partition ON partition.oid = inhrelid
    JOIN pg_namespace AS namespace ON namespace.oid = partition.relnamespace,
    pg_get_expr(partition.relpartbound, partition.oid) AS bound
    WHERE inhparent = to_regclass('usage') ORDER BY 3 NULLS FIRST
""")  # fmt: skip

_UNFINISHED: Final = text("SELECT 1 FROM pg_constraint WHERE conrelid = to_regclass('usage') AND conname = :name")

_TAKEN: Final = text("""
    SELECT namespace.nspname, ARRAY(SELECT CAST(other.relname AS text) FROM pg_class AS other
                                    WHERE other.relnamespace = parent.relnamespace AND other.relname LIKE 'usage\\_%')
    FROM pg_class AS parent JOIN pg_namespace AS namespace ON namespace.oid = parent.relnamespace
    WHERE parent.oid = to_regclass('usage')
""")


class Partition(NamedTuple):
    """A part of `usage`. `since` is None for one from the beginning, `until` for one without an end."""

    schema: str
    name: str
    since: datetime | None
    until: datetime | None
    default: bool
    is_table: bool

    @property
    def qualified(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    def holds(self, month: date) -> bool:
        """Whether any row of the month would be in it."""
        begin, end = midnight(month), midnight(month_after(month))
        overlaps = (self.since is None or self.since < end) and (self.until is None or begin < self.until)
        return overlaps and not self.default


def month_of(moment: datetime) -> date:
    """The first day of the moment's month in UTC."""
    return moment.astimezone(UTC).date().replace(day=1)


def month_after(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def midnight(day: date) -> datetime:
    """The moment at which the day begins in UTC."""
    return datetime.combine(day, time_of_day(), UTC)


def quoted(name: str) -> str:
    """The name of a table or a schema as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


async def is_partitioned(connection: AsyncConnection) -> bool | None:
    """None where there is no ledger."""
    kind = (await connection.execute(_KIND)).scalar()
    return None if kind is None else kind == "p"


async def partitions_of(connection: AsyncConnection) -> Sequence[Partition]:
    """In the order of time. Empty where `usage` is one table, too.

    For this transaction moments are written in UTC and as ISO has them: read back from `IST` they would be others.
    """
    await connection.execute(_PLAIN_MOMENTS)
    return [Partition(*row) for row in await connection.execute(_PARTITIONS)]


async def make_months(connection: AsyncConnection, months: Collection[date]) -> list[str]:
    """Makes those of the months that are not there, in the connection's transaction; none where `usage` is one table.

    Processes that do so at once wait for each other. Returns the names of the new tables. Raises the errors of the
    driver, such as that its role may make no tables.
    """
    if not await is_partitioned(connection):
        return []
    await connection.execute(text(f"SET LOCAL lock_timeout = {MAKE_MILLISECONDS}"))
    await connection.execute(_MAKING)
    there = await partitions_of(connection)
    missing = [month for month in sorted(months) if not any(partition.holds(month) for partition in there)]
    if not missing:
        return []
    schema, taken = (await connection.execute(_TAKEN)).one()
    made = []
    for month in missing:
        name = next(name for name in _names(month) if name not in taken)
        table, bounds = f"{quoted(schema)}.{quoted(name)}", (midnight(month), midnight(month_after(month)))
        await connection.execute(text(f"CREATE TABLE {table} (LIKE usage INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"))
        since, until = (f"'{bound.isoformat()}'".replace(":", r"\:") for bound in bounds)
        await connection.execute(
            text(f"ALTER TABLE usage ATTACH PARTITION {table} FOR VALUES FROM ({since}) TO ({until})")
        )
        made.append(name)
    return made


async def drop_month(connection: AsyncConnection, before: datetime) -> str | None:
    """Drops the oldest partition all of whose rows began before the moment, in the connection's transaction.

    Returns its name; None if there is none. Raises the driver's `lock_not_available` if it would have to wait for
    longer than `DROP_MILLISECONDS`.
    """
    for partition in await partitions_of(connection):
        if partition.until is not None and partition.until <= before and partition.is_table:
            await connection.execute(text(f"SET LOCAL lock_timeout = {DROP_MILLISECONDS}"))
            await connection.execute(text(f"DROP TABLE {partition.qualified}"))
            return partition.name
    return None


async def partition_status(connection: AsyncConnection) -> tuple[str, bool]:
    """How the ledger is divided, for an operator, and whether records will find their place."""
    partitioned = await is_partitioned(connection)
    if partitioned is None:
        return "a gateway will make the ledger's tables when it starts", True
    if not partitioned:
        if (await connection.execute(_UNFINISHED, {"name": CUTOVER})).scalar() is not None:
            return "dividing it by month was interrupted, and records will wait: run crplugins usage partition", False
        return "one table, which crplugins usage partition divides by month", True
    partitions = await partitions_of(connection)
    if any(partition.default for partition in partitions):
        return "it has a DEFAULT partition, whose rows keep their months from being made: detach it", False
    last = max((partition.until for partition in partitions if partition.until is not None), default=None)
    return f"divided by month, made up to {'none' if last is None else last.date()}", True


def _names(month: date) -> Iterator[str]:
    """`usage_2026_06`; others where an operator has detached a table of this name and kept it."""
    name = f"usage_{month:%Y_%m}"
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1
