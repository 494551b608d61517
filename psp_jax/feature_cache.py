"""Features of the frozen parts of a network, computed once and read ever after.

Where no phase trains the trunk, it makes the same of an image every epoch. Its features, or those
of the head where that is frozen too, are kept of every training image, as it is and mirrored, and
of every validation image; what is trained goes on from there.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import tqdm
from array_record.python import array_record_module  # pyright: ignore

from psp_jax import data
from psp_jax.batch import Batch
from psp_jax.experiment import ConfigError, Experiment
from psp_jax.models import parts, pspnet, segmenter
from psp_jax.models.architecture import Sight, normalise
from psp_jax.state import Variables

STORED = np.dtype(np.float16)  # Half of float32; losses differ by less than 1e-4, see benchmarks.
CHECKSUM_BYTES = 4  # Every record begins with the checksum of its image.
SPARE_BYTES = 2**28  # What the disk is to have left.
WRITING = "group_size:1,uncompressed"  # Packing saves two fifths and takes longer than to read.
READING = "readahead_buffer_size:0,max_parallelism:0"  # One record at a time.


def check(config: Experiment) -> None:
    """Raises ConfigError if features are to be kept which the run would change or can't go on from.

    Args:
        config: the experiment; nothing is checked unless its `cache_features` names a folder.
    """
    if not config.cache_features:
        return
    name = f"config.cache_features={config.cache_features!r}"
    if not isinstance(config.model, segmenter.Segmenter):
        kind = type(config.model).__name__
        raise ConfigError(f"{name}: only a Segmenter can go on from features, not a {kind}")
    if config.model.sight != Sight.RGB:
        raise ConfigError(f"{name}: only features of colours are kept, not of {config.model.sight}")
    for index, phase in enumerate(config.phases):
        moving = [part for part in phase.train if parts.covers(("trunk", "auxiliary"), part)]
        if moving:
            raise ConfigError(
                f"{name}: phases[{index}] trains {', '.join(moving)}, whose features would change "
                "or are needed; leave it out of its train, or cache_features empty"
            )


@dataclasses.dataclass(frozen=True)
class Rest:
    """A network from a frozen part on, with what steps ask of a model.

    Attributes:
        network: the whole of it.
        part: the frozen part whose features it is given.
    """

    network: pspnet.PSPNet
    part: str

    def inputs(self, batch: Batch) -> Any:
        """Returns what of a batch the rest sees."""
        return batch.features

    def apply(self, variables: Variables, features: jax.Array, **options: Any) -> Any:
        """Maps features to outputs; see flax's `apply` for the options."""

        def outputs(network: pspnet.PSPNet, train: tuple[str, ...] = ()) -> jax.Array:
            return network.features(None, train=train, known={self.part: features})[network.last]

        return self.network.apply(variables, method=outputs, **options)


def frozen_part(config: Experiment) -> str:
    """Returns the last part that no phase trains: `head` or `trunk`."""
    trained = [part for phase in config.phases for part in phase.train]
    return "trunk" if {"pyramid", "head"} & set(trained) else "head"


def open_or_build(
    config: Experiment,
    network: pspnet.PSPNet,
    variables: Variables,
    splits: Mapping[str, data.Examples],
    place: str,
) -> tuple[Rest, dict[str, data.Examples]]:
    """Returns the rest of the network, and splits whose records hold features for images.

    Args:
        config: an experiment that `check` has passed.
        network: the whole network.
        variables: those its frozen parts have throughout the run.
        splits: by name; `test` is left as it is.
        place: folder of the prepared data set.

    Raises:
        ConfigError: if a feature is too large for float16.
        OSError: if the disk has no room, or can't be written.
    """
    rest = Rest(network, frozen_part(config))
    flips = config.data.flip_probability
    sides = {"train": (flips < 1) * (False,) + (flips > 0) * (True,), "validation": (False,)}

    def features(variables: Variables, images: jax.Array) -> jax.Array:
        all_of_them = network.apply(variables, normalise(images), method="features")
        return all_of_them[rest.part]  # pyright: ignore

    compute = functools.partial(jax.jit(features), variables)
    kept: dict[str, data.Examples] = {}
    key = _key(config, rest, variables, sides["train"], place)
    folder = pathlib.Path(config.cache_features) / key
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        for stray in folder.glob("*.partial"):  # Of a run that was killed.
            stray.unlink()
        size = data.image_size(splits["train"])
        shape = jax.eval_shape(compute, jax.ShapeDtypeStruct((1, *size, 3), np.uint8)).shape[1:]
        missing = [name for name in sides if not (folder / f"{name}.array_record").exists()]
        _make_room({name: len(splits[name]) * len(sides[name]) for name in missing}, shape, folder)
        for name in missing:
            _write(folder / f"{name}.array_record", splits[name], sides[name], compute, config)
        for name in sides:
            examples = data.without_images(splits[name])
            kept[name] = _Kept(examples, folder / f"{name}.array_record", sides[name], shape)
    return rest, dict(splits) | kept


def _key(
    config: Experiment, rest: Rest, variables: Variables, sides: tuple[bool, ...], place: str
) -> str:
    """Digests all that decides the features."""
    digest = hashlib.sha256()
    network = rest.network
    described = {
        "part": rest.part,
        "network": [network.depth, network.width, network.geometry, network.precision],
        "data": [os.path.abspath(place), config.data.train_share, sides],
        "stored": str(STORED),
    }
    digest.update(json.dumps(described, default=str, sort_keys=True).encode())
    digest.update((pathlib.Path(place) / "dataset_info.json").read_bytes())
    before = ("trunk",) if rest.part == "trunk" else ("trunk", "pyramid", "head")
    for name, tree in variables.items():
        frozen, _ = parts.split(tree, before)
        for path, leaf in jax.tree.leaves_with_path(frozen):
            array = np.ascontiguousarray(leaf)
            digest.update(f"{name}{jax.tree_util.keystr(path)}{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
    """Lets one process at a time build; the system frees the lock of one that is killed."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_room(records: dict[str, int], shape: tuple[int, ...], folder: pathlib.Path) -> None:
    """Says what is about to be written; raises OSError if the disk has no room for it."""
    if not records:
        print(f"features of the frozen parts are in {folder}")
        return
    size = sum(records.values()) * (int(np.prod(shape)) * STORED.itemsize + CHECKSUM_BYTES)
    free = shutil.disk_usage(folder).free
    count = f"{sum(records.values())} times {'x'.join(map(str, shape))}"
    print(f"keeping features of the frozen parts in {folder}: {count}, {size / 1e6:,.0f} MB")
    if size + SPARE_BYTES > free:
        raise OSError(
            f"config.cache_features={folder.parent}: {size / 1e9:.1f} GB are needed, and of "
            f"{free / 1e9:.1f} GB free {SPARE_BYTES / 1e9:.1f} are to stay so; name a folder "
            "elsewhere, lower data.train_share, or leave it empty"
        )


def _write(
    target: pathlib.Path,
    examples: data.Examples,
    sides: tuple[bool, ...],
    compute: Any,
    config: Experiment,
) -> None:
    """Writes the features of every image, a record for every side, then names the file."""
    partial = target.with_suffix(".partial")
    writer = array_record_module.ArrayRecordWriter(str(partial), WRITING)
    with tqdm.tqdm(total=len(examples), desc=f"features, {target.stem}", unit="image") as bar:
        for batch, checksums in data.images(examples, config.data):
            batches = [compute(batch[:, :, ::-1] if mirrored else batch) for mirrored in sides]
            arrays = [_narrowed(np.asarray(side, np.float32)) for side in batches]
            count = len(checksums)
            if not all(np.isfinite(array[:count]).all() for array in arrays):
                raise ConfigError(
                    "config.cache_features: features are not finite, or above 65,504, which "
                    "float16 can't hold; leave it empty"
                )
            for index, checksum in enumerate(checksums):
                for array in arrays:
                    mark = checksum.to_bytes(CHECKSUM_BYTES, "little")
                    writer.write(mark + array[index].tobytes())
            bar.update(count)
    writer.close()
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)


def _narrowed(features: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # Infinity is what the caller looks for.
        return features.astype(STORED)


class _Kept:
    """Examples whose records hold a reader of their features."""

    def __init__(
        self,
        examples: data.Examples,
        path: pathlib.Path,
        sides: tuple[bool, ...],
        shape: tuple[int, ...],
    ):
        self._examples, self._path, self._sides, self._shape = examples, path, sides, shape
        self._reader = array_record_module.ArrayRecordReader(str(path), READING)
        if self._reader.num_records() != len(examples) * len(sides):
            raise OSError(f"{path} holds the features of other images; delete it")

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self._examples[index]

        def read(*, mirrored: bool) -> np.ndarray:
            place = index * len(self._sides) + self._sides.index(mirrored)
            (content,) = self._reader.read([place])
            checksum = int.from_bytes(content[:CHECKSUM_BYTES], "little")
            if checksum != record[data.CHECKSUM]:
                raise data.DamagedError(
                    f"{self._path}, record {place}: the features are not those of this image; "
                    "delete the file"
                )
            return np.frombuffer(content, STORED, offset=CHECKSUM_BYTES).reshape(self._shape)

        return record | {data.FEATURES: read}
