"""Keeps decoded examples in memory, so that only their first use reads and decodes."""

from typing import Any

import numpy as np
import psutil

from psp_jax import data, experiment
from psp_jax.partition import frontier_classes

CACHED_SPLITS = ("train", "validation")  # The test split is read once.


class Cached:
    """Examples of which every record is decoded once.

    Several threads may read it: at worst two of them decode the same record, to equal arrays.
    """

    def __init__(self, examples: data.Examples, labels: str):
        """Keeps nothing yet.

        Args:
            examples: the split.
            labels: the label set that is kept; records have no other.
        """
        frontier = frontier_classes.FEATURE_PREFIX + labels
        self._examples = examples
        self._features = ("image", "depth", "filled", frontier, *data.PLACE)
        self._records: list[dict[str, Any] | None] = [None] * len(examples)

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns a decoded record, whose arrays must not be changed."""
        record = self._records[index]
        if record is None:
            whole = self._examples[index]
            record = {name: whole[name] for name in self._features}
            self._records[index] = record
        return record

    def full_bytes(self) -> int:
        """Returns the memory that all records will take, by the size of the first one."""
        arrays = [value for value in self[0].values() if isinstance(value, np.ndarray)]
        return sum(array.nbytes for array in arrays) * len(self)


def cached(splits: dict[str, data.Examples], config: experiment.Data) -> dict[str, data.Examples]:
    """Returns the splits, those that are read more than once with a cache, and prints its size.

    Raises:
        ConfigError: if they do not fit into the memory that is free.
    """
    caches = {name: Cached(splits[name], config.labels) for name in CACHED_SPLITS}
    needed = sum(each.full_bytes() for each in caches.values())
    free = psutil.virtual_memory().available
    if needed > free:
        raise experiment.ConfigError(
            f"config.data.cache=True: expected at most {free / 1e9:.1f} GB of decoded images, the "
            f"free memory, got {needed / 1e9:.1f} GB; turn it off, or lower "
            "config.data.train_fraction"
        )
    count = sum(len(each) for each in caches.values())
    print(f"cache: {count} decoded images will take {needed / 1e9:.2f} GB of memory")
    return {**splits, **caches}
