"""Reads both formats of PyTorch's .pth and .pt files without PyTorch and without running code."""

import dataclasses
import math
import pathlib
import struct
import zipfile
from typing import Any, BinaryIO

import numpy as np

from psp_jax.weights import pickles
from psp_jax.weights.archive import Archive, Bounded, DamagedError, without_prefix

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
KIND = "PyTorch"
_TAR_MARK = slice(257, 262)

# bfloat16 is the upper half of a float32.
_BFLOAT16 = "bfloat16"
_STORAGES = {
    "Float": "f4",
    "Double": "f8",
    "Half": "f2",
    "BFloat16": _BFLOAT16,
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "b1",
}
# Keys under which the checkpoints of training programs store the weights.
_STATE_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "state_dict_ema")


@dataclasses.dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    count: int

    @property
    def item_bytes(self) -> int:
        return 2 if self.dtype == _BFLOAT16 else np.dtype(self.dtype).itemsize


@dataclasses.dataclass(frozen=True)
class _StorageType:
    dtype: str


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def read(path: pathlib.Path) -> Archive:
    """Reads the state dict of a file that `torch.save` wrote.

    Raises:
        DamagedError: if the file is damaged, or its pickle would run code.
    """
    with path.open("rb") as file:
        head = file.read(_TAR_MARK.stop)
        file.seek(0)
        if head.startswith(b"PK"):
            arrays = _read_zip(file)
        elif head[_TAR_MARK] == b"ustar":
            raise DamagedError(
                "it is a tar file, PyTorch's format before 0.1.10; load it with an old PyTorch and "
                "write its state_dict() with torch.save"
            )
        else:
            arrays = _read_legacy(file)
    return Archive(path, KIND, arrays, output_first=True)


def _read_zip(file: BinaryIO) -> dict[str, np.ndarray]:
    size = Bounded(file).size
    try:
        with zipfile.ZipFile(file) as archive:
            members = {member.filename: member for member in archive.infolist()}
            _check_members(members, size)
            (pickle_name,) = [n for n in members if n.count("/") == 1 and n.endswith("/data.pkl")]
            root = pickle_name.removesuffix("data.pkl")
            order = "<"
            if f"{root}byteorder" in members:
                order = ">" if archive.read(f"{root}byteorder").strip() == b"big" else "<"

            def fetch(storage: _Storage) -> bytes:
                name = f"{root}data/{storage.key}"
                if name not in members:
                    raise DamagedError(f"its storage {storage.key!r} is missing")
                return archive.read(name)

            with archive.open(pickle_name) as stream:
                given = _torch_globals(size)
                state = pickles.load(Bounded(stream), *given, with_opaque=True)  # pyright: ignore
            return _arrays(_state_dict(state), fetch, order, size)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise DamagedError(f"its zip archive is damaged ({error})") from None


def _check_members(members: dict[str, zipfile.ZipInfo], size: int) -> None:
    packed = [name for name, member in members.items() if member.compress_type]
    if packed:
        raise DamagedError(
            f"its member {packed[0]} is compressed, unlike those of torch.save; it might have any "
            "size"
        )
    total = sum(member.file_size for member in members.values())
    if total > size:
        raise DamagedError(f"its members claim {total:,} bytes of a file of {size:,}")
    if any("/code/" in name for name in members):
        raise DamagedError("it is a TorchScript program; save the model's state_dict() instead")
    if sum(name.count("/") == 1 and name.endswith("/data.pkl") for name in members) != 1:
        raise DamagedError("it is a zip file without exactly one data.pkl of torch.save")


def _read_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
    stream = Bounded(file)
    if pickles.load(stream, {}) != LEGACY_MAGIC:
        raise DamagedError("it is a pickle, but not of torch.save")
    version, system = pickles.load(stream, {}), pickles.load(stream, {})
    if version != LEGACY_VERSION or not isinstance(system, dict):
        raise DamagedError(f"its format has version {version}, expected {LEGACY_VERSION}")
    order = "<" if system.get("little_endian", True) else ">"
    storages: dict[str, _Storage] = {}
    known, persistent = _torch_globals(stream.size, storages)
    state = _state_dict(pickles.load(stream, known, persistent, with_opaque=True))
    positions: dict[str, int] = {}
    for key in pickles.load(stream, {}):
        if key not in storages:
            raise DamagedError(f"its storage {key!r} belongs to no tensor")
        storage = storages[key]
        (count,) = struct.unpack(order + "q", stream.read(8))
        if count != storage.count:
            raise DamagedError(
                f"its storage {key!r} has {count:,} elements, expected {storage.count:,}"
            )
        positions[key] = file.tell()
        left, needed = stream.size - positions[key], count * storage.item_bytes
        if not 0 <= needed <= left:
            raise DamagedError(f"it is truncated: expected {needed:,} more bytes, got {left:,}")
        file.seek(needed, 1)

    def fetch(storage: _Storage) -> bytes:
        if storage.key not in positions:
            raise DamagedError(f"its storage {storage.key!r} is missing")
        file.seek(positions[storage.key])
        return stream.read(storage.count * storage.item_bytes)

    return _arrays(state, fetch, order, stream.size)


def _torch_globals(
    size: int, storages: dict[str, _Storage] | None = None
) -> tuple[dict[str, Any], pickles.Persistent]:
    """Returns replacements of the globals in `torch.save`'s pickles, and a reader of storages."""

    def storage(reference: Any) -> _Storage:
        tag, kind, *rest = reference
        if isinstance(kind, pickles.Opaque):  # Of a storage, or the class of a whole model.
            kind.refuse()
        if len(rest) < 3:
            raise DamagedError(f"its pickle refers to {tag!r}, expected a storage")
        key, _, count, *view = rest
        if tag != "storage" or not isinstance(kind, _StorageType) or any(view):
            raise DamagedError(f"its pickle refers to {tag!r}, expected a storage")
        if not isinstance(count, int) or count < 0:
            raise DamagedError(f"its storage {key!r} has {count} elements")
        result = _Storage(str(key), kind.dtype, count)
        if storages is not None and storages.setdefault(result.key, result) != result:
            raise DamagedError(f"its storage {key!r} has two sizes")
        return result

    def tensor(storage: Any, offset: Any, shape: Any, strides: Any, *unused: Any) -> _Tensor:
        result = _Tensor(storage, offset, tuple(shape), tuple(strides))
        numbers = (offset, *result.shape, *result.strides)
        valid = all(isinstance(number, int) and number >= 0 for number in numbers)
        if not isinstance(storage, _Storage) or not valid or len(shape) != len(strides):
            raise DamagedError(f"its pickle has a tensor of shape {shape} and strides {strides}")
        pairs = zip(result.shape, result.strides, strict=True)
        last = offset + sum((length - 1) * stride for length, stride in pairs)
        # A tensor with more elements than its storage would repeat them.
        if result.size and not max(last + 1, result.size) <= storage.count:
            raise DamagedError(
                f"its pickle has a tensor of shape {result.shape}, more than the "
                f"{storage.count:,} elements of its storage"
            )
        return result

    known = pickles.numpy_globals(size)
    known |= {
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_parameter": lambda data, *unused: data,
        "torch.Size": lambda sizes=(): tuple(sizes),
        "torch.device": lambda *unused: None,
    }
    for name, dtype in _STORAGES.items():
        known[f"torch.{name}Storage"] = _StorageType(dtype)
        known[f"torch.cuda.{name}Storage"] = _StorageType(dtype)
    return known, storage


def _state_dict(state: Any) -> dict[str, _Tensor]:
    """Returns the tensors of a state dict, which may be part of a checkpoint.

    Checkpoints of training programs hold objects of theirs, too, such as settings and logs.
    """
    for name in _STATE_KEYS:
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
            break
    if isinstance(state, pickles.Opaque):
        state.refuse()
    if not isinstance(state, dict):
        raise DamagedError(f"expected a state_dict, got a {type(state).__name__}")
    tensors = {str(name): value for name, value in state.items() if isinstance(value, _Tensor)}
    if not tensors:
        for value in state.values():
            if isinstance(value, pickles.Opaque):
                value.refuse()
        keys = ", ".join(map(str, list(state)[:5])) or "nothing"
        raise DamagedError(f"expected a state_dict, got {keys}")
    return without_prefix(tensors)


def _arrays(
    tensors: dict[str, _Tensor], fetch: Any, order: str, size: int
) -> dict[str, np.ndarray]:
    """Returns the arrays of tensors; every storage is read once."""
    total = sum(tensor.size * tensor.storage.item_bytes for tensor in tensors.values())
    if total > size:
        raise DamagedError(f"its tensors claim {total:,} bytes of a file of {size:,}")
    flats: dict[str, np.ndarray] = {}
    arrays = {}
    for name, tensor in tensors.items():
        storage = tensor.storage
        if storage.key not in flats:
            flats[storage.key] = _decode(fetch(storage), storage, order)
        flat = flats[storage.key]
        steps = [stride * flat.itemsize for stride in tensor.strides]
        arrays[name] = np.lib.stride_tricks.as_strided(
            flat[tensor.offset :], tensor.shape, steps, writeable=False
        )
    return arrays


def _decode(data: bytes, storage: _Storage, order: str) -> np.ndarray:
    if len(data) != storage.count * storage.item_bytes:
        raise DamagedError(
            f"its storage {storage.key!r} has {len(data):,} bytes, expected {storage.count:,} "
            "elements"
        )
    if storage.dtype == _BFLOAT16:
        upper = np.frombuffer(data, order + "u2").astype(np.uint32)
        return (upper << 16).view(np.float32)
    return np.frombuffer(data, order + storage.dtype)
