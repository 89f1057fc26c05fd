"""A few odd inputs of each kind; `python -m tests.fuzz --seconds 1800` tries many."""

from tests.fuzz.__main__ import fuzz
from tests.fuzz.kinds import KINDS


async def test_odd_inputs_are_answered_and_break_nothing(tmp_path, blockbuster):
    blockbuster.deactivate()  # files are written here, for a gateway in a process of its own
    counted = await fuzz(seconds=60, seed=20260612, kinds=list(KINDS), folder=tmp_path, litellm=False, most=48)
    assert set(counted) == set(KINDS), counted
