"""Odd inputs for as long as you like: python -m tests.fuzz --seconds 1800

A real gateway behind a real socket is sent mutated requests, its upstream sends mutated answers, and files are mutated.
Prints how many inputs of each kind were tried, and each finding with the seed that makes it again.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.kinds import KINDS
from tests.fuzz.target import Target, running

AT_ONCE = 8


async def fuzz(
    seconds: float, seed: int, kinds: list[str], folder: Path, *, litellm: bool = True, most: int | None = None
) -> Counter[str]:
    """How many inputs of each kind were tried; findings are counted under `kind: finding`."""
    counted: Counter[str] = Counter()
    until = time.monotonic() + seconds
    async with running(folder, litellm=litellm) as target:
        while time.monotonic() < until and (most is None or counted.total() < most):
            names = [kinds[(seed + number) % len(kinds)] for number in range(AT_ONCE)]
            await asyncio.gather(
                *(_one(name, seed + number, target, folder, counted) for number, name in enumerate(names))
            )
            seed += AT_ONCE
            if not await target.is_well():
                counted["the gateway does not answer any more"] += 1
                break
    return counted


async def _one(name: str, seed: int, target: Target, folder: Path, counted: Counter[str]) -> None:
    try:
        found = await KINDS[name](random.Random(seed), target, folder)
    except Exception as error:  # whatever it is, it is a finding
        found = [f"{type(error).__name__}: {error}"]
    counted[name] += 1
    for finding in found:
        counted[f"{name}: {finding}"] += 1
        sys.stdout.write(f"seed {seed} {name}: {finding}\n")
        sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counted = asyncio.run(fuzz(given.seconds, given.seed, given.kinds, Path(folder)))
    for name, count in sorted(counted.items()):
        sys.stdout.write(f"{count:8} {name}\n")
    sys.exit(any(name not in KINDS for name in counted))


if __name__ == "__main__":
    main()
