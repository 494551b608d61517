import dataclasses
import math
from typing import Any

import pytest

from psp_jax.io import ranges


@dataclasses.dataclass
class Inner:
    share: float = ranges.number(0.5, above=0, most=1)
    free: float = -3.0


@dataclasses.dataclass
class Outer:
    steps: Any = ranges.number(least=1)
    warmup: int = ranges.number(0, least=0, below="steps")
    count: int = ranges.number(1, least=1)
    sizes: tuple[int, ...] = ranges.number((1, 2), least=1)
    limit: int | None = ranges.number(None, least=1)
    inner: tuple[Inner, ...] = (Inner(),)
    factors: dict[str, float] = dataclasses.field(default_factory=dict)
    flag: bool = True


def test_values_in_their_ranges_are_accepted():
    ranges.check(Outer(1), "config")
    ranges.check(Outer(5, 4, 2, (), 3, (Inner(1.0), Inner(1e-9, 0.0)), {"a": -1.0}), "config")


@pytest.mark.parametrize(
    ("outer", "message"),
    [
        (Outer(0), "config.steps=0: expected at least 1"),
        (Outer(2, 2), "config.warmup=2: expected at least 0 and less than steps"),
        (Outer(2, -1), "config.warmup=-1"),
        (Outer(2, count=2.5), "config.count=2.5: expected an integer"),  # pyright: ignore
        (Outer("3"), "config.steps=3: expected a number, at least 1"),
        (Outer(1, sizes=(1, 0)), r"config.sizes\[1\]=0"),
        (Outer(1, limit=0), "config.limit=0"),
        (Outer(1, inner=(Inner(), Inner(1.5))), r"config.inner\[1\].share=1.5: .* at most 1"),
        (Outer(1, inner=(Inner(0),)), "share=0: expected above 0"),
        (Outer(1, inner=(Inner(free=math.nan),)), "free=nan: expected a finite number"),
        (Outer(1, factors={"a": math.inf}), r"config.factors\['a'\]=inf"),
    ],
)
def test_others_are_refused_by_name(outer, message):
    with pytest.raises(ValueError, match=message):
        ranges.check(outer, "config")
