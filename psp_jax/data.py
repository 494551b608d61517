"""Reads prepared TFDS data sets as batches. The only module that imports Grain."""

import concurrent.futures
import copy
import pathlib
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import cv2
import grain
import jax
import numpy as np
import tensorflow_datasets as tfds

from psp_jax import experiment
from psp_jax.batch import Batch
from psp_jax.io import manifest
from psp_jax.io.units import MM_PER_M
from psp_jax.partition import frontier_classes

PLACE = ("space_id", "scene_id", "frame_index")  # Features with the origin of an image.
CHECKSUM = "image_crc32"  # Feature with the CRC-32 of the JPEG in `image`.
_REBUILD = "build the data set again, and check disk and memory"


class DamagedError(OSError):
    """A prepared data set, or a record of it, differs from what was written."""


class Examples(Protocol):
    """Decoded TFDS examples by index."""

    def __len__(self) -> int:
        """Returns their number."""
        ...

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Decodes one."""
        ...


def open_splits(directory: str) -> dict[str, Examples]:
    """Opens the train, validation and test splits of a prepared data set.

    Args:
        directory: folder of a TFDS version, such as `data/scannet_frontiers/thesis/3.0.0`.

    Raises:
        FileNotFoundError: if there is none.
        DamagedError: if its description is damaged. Examples raise it for damaged records.
        OSError: if it was built by a version that stored no checksums.
    """
    folder = pathlib.Path(directory)
    if not (folder / "dataset_info.json").exists():
        raise FileNotFoundError(f"{directory} holds no prepared data set (no dataset_info.json)")
    # The shards, which can be large, have checksums by record; sources write further files there.
    has_manifest = (folder / manifest.FILE).exists()
    if has_manifest and (damage := manifest.damage(folder, "*.json")):
        raise DamagedError(f"{directory}: {damage[0]}; {_REBUILD}")
    try:
        builder: Any = tfds.builder_from_directory(directory)
    except Exception as error:  # TFDS has no type for its errors.
        raise DamagedError(f"{directory}: {_first_line(error)}; {_REBUILD}") from error
    if CHECKSUM not in builder.info.features:
        raise OSError(f"{directory} was built by an older version; build the data set again")
    splits = ("train", "validation", "test")
    return {name: _Checked(builder, f"{directory}, {name}", name) for name in splits}


def check_labels(examples: Examples, data: experiment.Data) -> None:
    """Raises ConfigError unless the examples have the label set that the config names."""
    prefix = frontier_classes.FEATURE_PREFIX
    known = [name.removeprefix(prefix) for name in examples[0] if name.startswith(prefix)]
    if data.labels not in known:
        raise experiment.ConfigError(
            f"config.data.labels={data.labels!r}: the data set has {' and '.join(known)}; another "
            "configuration of its builder writes others"
        )


def check_batch_size(examples: Examples, data: experiment.Data) -> None:
    """Raises ConfigError if the training split holds fewer images than a batch."""
    if len(examples) < data.batch_size:
        raise experiment.ConfigError(
            f"config.data.batch_size={data.batch_size}: expected at most {len(examples)}, the "
            "number of images of the train split"
        )


def subsample(examples: Examples, share: float) -> Examples:
    """Returns a share of the examples, evenly spaced, at least one; all of them for 1."""
    if share == 1:
        return examples
    count = max(round(share * len(examples)), 1)
    return Subset(examples, np.linspace(0, len(examples) - 1, count).round().astype(int))


def without_damaged(splits: dict[str, Examples]) -> dict[str, Examples]:
    """Reads every record once, leaves the damaged ones out, and prints them."""
    kept: dict[str, Examples] = {}
    for name, examples in splits.items():
        assert isinstance(examples, _Checked), "splits come from open_splits"
        with concurrent.futures.ThreadPoolExecutor() as pool:
            messages = list(pool.map(examples.damage, range(len(examples))))
        kept[name] = examples.chosen([i for i, message in enumerate(messages) if message is None])
        if damaged := [message for message in messages if message is not None]:
            print(f"{name}: {len(damaged)} of {len(messages)} records are damaged and left out:")
            print("\n".join(f"  {message}" for message in damaged[:10]))
    return kept


def image_size(examples: Examples) -> tuple[int, int]:
    """Returns the (height, width) of the images."""
    return examples[0]["depth"].shape


def places(examples: Examples) -> dict[str, list]:
    """Returns the origin of every image of a prepared split, in order, without decoding any.

    It is `space_id`, the room, `scene_id`, the scan, and `frame_index` within it.
    """
    assert isinstance(examples, _Checked), "splits come from open_splits"
    records = [examples.undecoded(index) for index in range(len(examples))]
    return {name: [_plain(record[name]) for record in records] for name in PLACE}


def spaces_shared_with_train(examples: Examples) -> list[str]:
    """Returns the spaces of a prepared split that the train split has too."""
    assert isinstance(examples, _Checked), "splits come from open_splits"
    return examples.shared_spaces


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else int(value)


def train_batches(
    examples: Examples,
    data: experiment.Data,
    *,
    seed: int,
    first_step: int,
    rows: Sequence[int] | None = None,
) -> Iterator[Batch]:
    """Yields training batches endlessly, from `first_step` on.

    The batch of a step is a function of (seed, step) alone: every epoch is a new permutation, and
    resuming at `first_step` replays nothing. Images that do not fill a last batch are left out of
    that epoch. Where an optimizer step takes several batches, steps count batches.

    Args:
        examples: the training split.
        data: the preprocessing.
        seed: of order and flips.
        first_step: number of the first batch.
        rows: rows of every batch that this process reads; None for all.

    Raises:
        ConfigError: if the split holds fewer images than a batch.
    """
    check_batch_size(examples, data)
    dataset = _shuffled(range(len(examples)), seed).random_map(
        lambda index, rng: (index, rng.random() < data.flip_probability)
    )
    dataset = _Batches(dataset, examples, data, rows).repeat()
    iterator = iter(dataset.to_iter_dataset(_read_options(data)))
    iterator.set_state({"next_index": first_step})
    return iterator


def origins(examples: Examples, data: experiment.Data, *, seed: int, step: int) -> list[str]:
    """Returns scan and frame of every image of one of the `train_batches`."""
    shuffled = _shuffled(range(len(examples)), seed)
    chosen: Any = shuffled.batch(data.batch_size, drop_remainder=True).repeat()[step]
    records = [examples[int(index)] for index in chosen]
    return [f"{_plain(each['scene_id'])} frame {_plain(each['frame_index'])}" for each in records]


def _shuffled(examples: Any, seed: int) -> grain.MapDataset:
    return grain.MapDataset.source(examples).seed(seed).shuffle()


def eval_batches(
    examples: Examples, data: experiment.Data, *, rows: Sequence[int] | None = None
) -> Iterator[Batch]:
    """Yields every example once, in order; `valid` marks the padding of the last batch.

    Args:
        examples: a split.
        data: the preprocessing.
        rows: rows of every batch that this process reads; None for all.
    """
    indices: Any = range(-(-len(examples) // data.batch_size) * data.batch_size)
    dataset = grain.MapDataset.source(indices).map(lambda index: (index, False))
    dataset = _Batches(dataset, examples, data, rows)
    return iter(dataset.to_iter_dataset(_read_options(data)))


def _read_options(data: experiment.Data) -> grain.ReadOptions:
    # Each thread reads a batch ahead; more would only hold memory, and fewer keep threads idle.
    return grain.ReadOptions(num_threads=data.threads, prefetch_buffer_size=max(2, data.threads))


def steps_per_epoch(examples: Examples, data: experiment.Data) -> int:
    """Returns the number of full batches in the split."""
    return len(examples) // data.batch_size


def example_of(record: dict[str, Any], data: experiment.Data) -> Batch:
    """Turns a decoded record into a batch without its batch axis, stacked ones into a batch."""
    filled = record["filled"]
    filled_depth = np.divide(record["depth"], MM_PER_M, dtype=np.float32)
    known = filled_depth <= data.max_depth_m
    if data.ignore_filled:
        known &= ~filled
    else:
        filled = np.zeros_like(filled)
    return Batch(
        image=record["image"],
        depth=np.where(known, filled_depth, np.float32(0)),
        filled_depth=filled_depth,
        frontier=record[frontier_classes.FEATURE_PREFIX + data.labels],
        filled=filled,
        valid=np.ones(filled.shape[:-2], bool),
    )


def read_batch(
    chosen: Sequence[tuple[int, bool]], *, examples: Examples, data: experiment.Data
) -> Batch:
    """Reads a batch of examples, each given by its index and whether it is mirrored.

    Those of indices beyond the end are blank.
    """
    last = len(examples) - 1
    indices, mirrored = (np.array(each) for each in zip(*chosen, strict=True))
    records = {index: examples[index] for index in np.minimum(indices, last).tolist()}
    ordered = [records[min(index, last)] for index in indices.tolist()]
    frontier = frontier_classes.FEATURE_PREFIX + data.labels
    stacked = {
        name: _stack_mirrored([record[name] for record in ordered], mirrored)
        for name in ("image", "depth", "filled", frontier)
    }
    stacked[frontier][mirrored] = frontier_classes.mirror(stacked[frontier][mirrored, :, ::-1])
    batch = example_of(stacked, data)
    for array in jax.tree.leaves(batch):
        array[indices > last] = 0
    return batch


def _stack_mirrored(arrays: Sequence[np.ndarray], mirrored: np.ndarray) -> np.ndarray:
    """Stacks arrays `[H, W]` or `[H, W, C]`, those marked in `mirrored` flipped left to right."""
    stacked = np.empty((len(arrays), *arrays[0].shape), arrays[0].dtype)
    for target, array, mirror in zip(stacked, arrays, mirrored, strict=True):
        if not mirror:
            target[...] = array
        elif array.dtype == bool:
            target[...] = array[:, ::-1]
        else:
            cv2.flip(array, 1, target)  # NumPy takes seven times as long.
    return stacked


class _Batches(grain.MapDataset):
    """Batches of which this process reads `rows`, or all, as `read_batch` describes them."""

    def __init__(
        self,
        parent: grain.MapDataset,
        examples: Examples,
        data: experiment.Data,
        rows: Sequence[int] | None,
    ):
        super().__init__(parent)
        self._examples, self._data, self._size = examples, data, data.batch_size
        self._rows = range(self._size) if rows is None else rows

    def __len__(self) -> int:
        return len(self._parent) // self._size

    def __getitem__(self, index: Any) -> Any:
        epoch, batch = divmod(index, len(self))  # An index beyond the length is of a later epoch.
        start = epoch * len(self._parent) + batch * self._size
        chosen = [self._parent[start + row] for row in self._rows]
        return read_batch(chosen, examples=self._examples, data=self._data)


class Subset:
    """Chosen examples of a split, in the order they are given."""

    def __init__(self, examples: Examples, chosen: Sequence[int] | np.ndarray):
        """Takes the examples and the indices of the chosen ones."""
        self._examples, self._chosen = examples, [int(index) for index in chosen]

    def __len__(self) -> int:
        """Returns how many were chosen."""
        return len(self._chosen)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns a decoded record."""
        return self._examples[self._chosen[index]]


class _Checked:
    """A split that raises DamagedError for records that differ from what was written.

    Every record has a hash. A JPEG decodes without an error although bits flipped, so it has a
    checksum, which was computed before it was stored.
    """

    def __init__(self, builder: Any, place: str, split: str):
        skip = dict.fromkeys(builder.info.features, tfds.decode.SkipDecoding())
        self._source: Any = builder.as_data_source(split, decoders=skip)
        self._features, self._place = builder.info.features, place
        self._chosen: Sequence[int] = range(len(self._source))
        shared = (builder.info.metadata or {}).get("shared_spaces", {})
        self.shared_spaces: list[str] = shared.get(split, [])

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.undecoded(index)
        try:
            return self._features.decode_example_np(record)
        except Exception as error:
            raise self._damaged(index, _first_line(error)) from error

    def chosen(self, indices: Sequence[int]) -> "_Checked":
        """Returns the split without the others."""
        smaller = copy.copy(self)
        smaller._chosen = [self._chosen[index] for index in indices]
        return smaller

    def undecoded(self, index: int) -> dict[str, Any]:
        """Reads a record and compares its JPEG with the checksum."""
        try:
            record = self._source[self._chosen[index]]
        except Exception as error:  # RuntimeError, or any of protobuf's.
            raise self._damaged(index, _first_line(error)) from error
        if zlib.crc32(record["image"]) != record[CHECKSUM]:
            where = f"{record['scene_id'].decode()} frame {record['frame_index']}"
            raise self._damaged(index, f"{where}: the JPEG differs from its checksum")
        return record

    def damage(self, index: int) -> str | None:
        """Describes the damage of a record; None for an intact one."""
        try:
            self.undecoded(index)
        except DamagedError as error:
            return str(error)
        return None

    def _damaged(self, index: int, reason: str) -> DamagedError:
        return DamagedError(
            f"{self._place}, record {self._chosen[index]}: {reason}; {_REBUILD}. "
            "config.data.skip_damaged leaves such records out"
        )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
