"""The rows of the matrix, in their order: what every home does, or says why it cannot. Each is asked of a running home."""

from importlib import import_module

from tests.homes.matrix.cells import ROWS

__all__ = ["ROWS"]

for _file in ("who_comes_in", "how_much", "what_is_kept", "which_protocol", "what_goes_wrong", "all_together"):
    import_module(f"{__name__}.{_file}")  # adds its own
