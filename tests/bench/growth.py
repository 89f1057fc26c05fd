"""How far streams that grow beyond their estimate overshoot a limit, by how many tokens they reserve at a time:
`python -m tests.bench.growth`.

A simulation against the real store: half an hour under a limit of 100,000 tokens per minute, asked for three times as
much as it allows. Every second stream sets no bound, so that 1,024 tokens are reserved for it, and answers have 800
tokens in the median and up to 32,000, at 50 a second. Shown is the median of five seeds:

- unreserved: most tokens at any time that running streams had said and nobody had reserved, as a share of the limit;
- peak: most tokens said in any 60 s, after the first four minutes, as a share of the limit;
- admitted: requests;
- calls: of the store, to reserve more, for each stream.
"""

import asyncio
import random
from statistics import median

from crplugins.limits.limit import Charge, Limit, Reservation
from crplugins.limits.memory import MemoryStore

LIMIT = Limit("meter", "key/a/tokens/60000", 100_000, 60_000, 100_000)
STEP, MINUTES, PACE = 0.25, 30, 50
ESTIMATE, PROMPT, MOST = 1_024, 200, 32_000
START = 1_700_000_000_000
PIECES = (None, 1_024, 256, 64)


async def run(seed: int, piece: int | None) -> tuple[float, float, int, float]:
    chance, store = random.Random(seed), MemoryStore()
    running: list[tuple[Reservation, int, float]] = []
    said_in: list[float] = []
    unreserved, admitted, calls = 0.0, 0, 0
    for step in range(round(MINUTES * 60 / STEP)):
        now, spoken = START + round(step * STEP * 1_000), 0.0
        for _ in range(_arrivals(chance)):
            length = min(MOST, round(chance.lognormvariate(6.7, 1.3)))
            bound = None if chance.random() < 0.5 else max(length, 256)
            charge = Charge(LIMIT, PROMPT + (ESTIMATE if bound is None else bound))
            reservation = Reservation(f"{seed}-{step}-{admitted}", (charge,))
            if (await store.reserve(reservation, now=now)).refused is None:
                admitted, spoken = admitted + 1, spoken + PROMPT
                running.append((reservation, length, 0.0))
        going = []
        for reservation, length, before in running:
            said = min(length, before + PACE * STEP)
            spoken += said - before
            cost = reservation.charges[0].cost
            if piece is not None and said >= cost - PROMPT and said < length:
                more = [PROMPT + int(said) + piece]
                await store.adjust(reservation, more, now=now)
                reservation, calls = reservation.costing(more), calls + 1
            if said >= length:
                await store.settle(reservation, [PROMPT + length], now=now)
            else:
                going.append((reservation, length, said))
        running = going
        await store.renew([reservation for reservation, _, _ in running], lease=60_000, now=now)
        missing = sum(max(0.0, PROMPT + said - reservation.charges[0].cost) for reservation, _, said in running)
        unreserved = max(unreserved, missing)
        said_in.append(spoken)
    window, first = round(60 / STEP), round(240 / STEP)
    peak = max(sum(said_in[at : at + window]) for at in range(first, len(said_in) - window))
    return unreserved / LIMIT.amount, peak / LIMIT.amount, admitted, calls / admitted


def _arrivals(chance: random.Random) -> int:
    """In one step: three times the limit, by the mean of the lengths."""
    mean = 3 * LIMIT.amount / 60 * STEP / 2_000
    return int(mean) + (chance.random() < mean % 1)


async def main() -> None:
    print(f"{'piece':>6} {'unreserved':>11} {'peak':>6} {'admitted':>9} {'calls':>6}")
    for piece in PIECES:
        runs = [await run(seed, piece) for seed in range(5)]
        unreserved, peak, admitted, calls = (median(values) for values in zip(*runs, strict=True))
        print(f"{piece or 'none':>6} {unreserved:>11.3f} {peak:>6.2f} {admitted:>9.0f} {calls:>6.2f}")


if __name__ == "__main__":
    asyncio.run(main())
