"""Progress bars: live in a terminal, a line every ten seconds in a log."""

import sys
from typing import Any

import tqdm

LOG_INTERVAL_S = 10.0


def bar(iterable: Any = None, *, desc: str, unit: str, total: int | None = None) -> tqdm.tqdm:
    """Returns a tqdm bar over an iterable, or one that is updated by hand.

    Args:
        iterable: what is gone through; None to call `update`.
        desc: what is done, such as "predict".
        unit: of what, such as "frame".
        total: their number, where the iterable does not know it.
    """
    interval_s = 0.1 if sys.stderr.isatty() else LOG_INTERVAL_S
    return tqdm.tqdm(iterable, desc=desc, unit=unit, total=total, mininterval=interval_s)
