"""Files made to run code, to take all memory or to crash are refused in a line."""

import argparse
import collections
import functools
import http
import io
import json
import pathlib
import pickle
import struct
import tarfile
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest

from psp_jax.models import architecture
from psp_jax.weights import archive, hdf5, reading
from psp_jax.weights.network import NetworkSpec
from tests import published
from tests.published import field

MEMORY_BYTES = 8 << 20  # Far below what the files claim, far above what they are.
WEIGHT = np.arange(6, dtype=np.float32)


def refusal(path: pathlib.Path, data: bytes | None = None) -> str:
    """Reads a file, which has to fail within the memory, and returns the message."""
    if data is not None:
        path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as error:
            reading.open_archive(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_BYTES, f"{peak:,} bytes were taken"
    message = str(error.value)
    assert str(path) in message and "\n" not in message
    return message


# ----- pickles


class Runner:
    """What a pickle can do to who opens it: here it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def in_legacy(path, body):
    published.write_legacy(path, {"weight": WEIGHT}, body=body)


def in_zip(path, body):
    published.write_zip(path, {"weight": WEIGHT}, body=body)


def in_npy(path, body):
    path.write_bytes(published.npy_header() + body)


CARRIERS = {"legacy": in_legacy, "zip": in_zip, "npy": in_npy}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_something_is_refused_by_its_name(carrier, protocol, tmp_path):
    trace, path = tmp_path / "it_ran", tmp_path / "weights"
    CARRIERS[carrier](path, pickle.dumps({"weight": Runner(trace)}, protocol))
    message = refusal(path)
    assert "asks for io.open" in message or "asks for _io.open" in message
    assert not trace.exists()
    pickle.loads(pickle.dumps(Runner(trace), protocol)).close()
    assert trace.exists(), "the pickle was harmless, so the test proves nothing"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"cposix\nsystem\n(S'true'\ntR.", "asks for posix.system"),
        (b"(iposix\nsystem\n.", "asks for posix.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "asks for builtins.eval"),
        (b"ctorch.storage\n_load_from_bytes\n.", "asks for torch.storage._load_from_bytes"),
        (b"cnumpy\nload\n.", "asks for numpy.load"),
        (b"\x80\x02\x82\x01.", "uses EXT1"),
        (b"\x80\x05\x97.", "uses NEXT_BUFFER"),
        (b"\x8f.", "uses EMPTY_SET"),
        (
            b"\x8d" + struct.pack("<Q", 1 << 62) + b"abc",
            "4,611,686,018,427,387,904 more",
        ),
        (b"T" + struct.pack("<i", (1 << 31) - 1) + b"abc", "2,147,483,647 more"),
        (b"\x8b" + struct.pack("<i", (1 << 31) - 1) + b"abc", "2,147,483,647 more"),
        (b"}(" + b"K\x01" * 3 + b"u.", "not a dict"),
        (b"}))ss.", "a tuple as a key"),
        (b"K\x01K\x02a.", "appends to something that is not a list"),
        (b"K\x01)R.", "calls int"),
        (b"ccollections\nOrderedDict\n(K\x05tR.", "is damaged"),
        (b"u.", "is damaged"),
        (b"h\x07.", "is damaged"),
        (b"}", "truncated|got a list"),
        (b"\xff.", "is damaged"),
        (b"K\x05.", "expected a state_dict, got a int"),
        (b"}.", "expected a state_dict, got nothing"),
    ],
)
@pytest.mark.parametrize("carrier", ["legacy", "zip"])
def test_a_pickle_that_is_none_of_weights_is_refused(carrier, body, message, tmp_path):
    path = tmp_path / "weights"
    CARRIERS[carrier](path, body)
    assert any(each in refusal(path) for each in message.split("|"))


def test_a_large_memo_index_and_a_deep_pickle_cost_nothing(tmp_path):
    """Python's own unpickler takes 64 GB for the first."""
    path = tmp_path / "weights"
    in_legacy(path, b"}r" + struct.pack("<I", (1 << 32) - 1) + b".")
    assert "expected a state_dict" in refusal(path)
    in_legacy(path, b"\x80\x02)" + b"\x85" * 20_000 + b".")
    assert "got a tuple" in refusal(path)


def test_text_is_not_turned_into_bytes_again_and_again(tmp_path):
    text = b"X" + struct.pack("<I", 100_000) + b"a" * 100_000 + b"q\x01"
    call = b"c_codecs\nencode\n(h\x01X\x06\x00\x00\x00latin1tRa"
    in_zip(tmp_path / "weights", b"\x80\x02" + text + b"]" + call * 1000 + b".")
    assert "to more bytes than the file has" in refusal(tmp_path / "weights")


def tensors(**changed) -> bytes:
    options = {"view": False} | changed
    return b"\x80\x02" + published.dict_pickle(
        {"weight": published.tensor_pickle("0", WEIGHT, **options)}
    ) + b"."  # fmt: skip


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (tensors(shape=(10**6, 10**6)), "tensor of shape (1000000, 1000000)"),
        (tensors(shape=(3, 3)), "more than the 6 elements of its storage"),
        (tensors(shape=(-1, 6)), "tensor of shape (-1, 6)"),
        (tensors(count=1 << 60), "its storage '0' has"),
        (tensors(count=-1), "its storage '0' has -1 elements"),
        (tensors(count=5), "more than the 5 elements"),
    ],
)
def test_an_absurd_tensor_is_refused_before_memory_is_taken(body, message, tmp_path):
    for carrier in (in_zip, in_legacy):
        carrier(tmp_path / "weights", body.replace(b"tQ", b"NtQ") if carrier is in_legacy else body)
        assert message in refusal(tmp_path / "weights")


def test_one_storage_is_not_read_for_a_thousand_tensors(tmp_path):
    big = np.zeros(20_000, np.float32)
    body = published.tensor_pickle("0", big, view=False)
    body = b"\x80\x02" + published.dict_pickle({f"layer{i}": body for i in range(99)}) + b"."
    published.write_zip(tmp_path / "weights", {"weight": big}, body=body)
    assert "its tensors claim 7,920,000 bytes of a file of" in refusal(tmp_path / "weights")


def test_a_legacy_file_whose_storages_lie_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    published.write_legacy(path, {"weight": WEIGHT})
    good = path.read_bytes()
    count = good.rindex(struct.pack("<q", 6))
    lie = good[:count] + struct.pack("<q", 1 << 60) + good[count + 8 :]
    assert "its storage '0' has 1,152,921,504,606,846,976 elements" in refusal(path, lie)
    other = good.replace(b"](X\x01\x00\x00\x000e.", b"](X\x01\x00\x00\x007e.")
    assert "its storage '7' belongs to no tensor" in refusal(path, other)


# ----- zip and tar


def zip_of(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def test_a_zip_bomb_is_refused_unopened(tmp_path):
    path = tmp_path / "weights.pth"
    bomb = zip_of({"a/data.pkl": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    assert "a/data.pkl is compressed" in refusal(path, bomb)


def test_zip_members_that_share_their_bytes_are_refused(tmp_path):
    """As in Fifield 2019, without compression: every entry of the directory is the same data."""
    path = tmp_path / "weights.pth"
    data = zip_of({"a/data.pkl": bytes(40_000), **{f"a/data/{i}": b"x" for i in range(9)}})
    entry = struct.pack("<II", 1, 1)  # Packed and unpacked size of one byte, in the directory.
    start = data.index(b"PK\x01\x02")
    directory = data[start:].replace(entry, struct.pack("<II", 40_000, 40_000))
    assert "members claim 400,000 bytes of a file of" in refusal(path, data[:start] + directory)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a/readme": b""}, "without exactly one data.pkl"),
        ({"a/data.pkl": b"N.", "b/data.pkl": b"N."}, "without exactly one data.pkl"),
        ({"a/data.pkl": b"N.", "a/code/__torch__.py": b""}, "a TorchScript program"),
        ({"a/data.pkl": tensors()}, "its storage '0' is missing"),
        ({"a/data.pkl": tensors(), "a/data/0": b"1234"}, "has 4 bytes, expected 6 elements"),
    ],
)
def test_a_zip_that_is_none_of_torch_is_refused(members, message, tmp_path):
    assert message in refusal(tmp_path / "weights.pt", zip_of(members))


def test_the_old_tar_format_is_refused_with_advice(tmp_path):
    path = tmp_path / "old.pth"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    assert "tar file, PyTorch's format before 0.1.10; load it with" in refusal(path)


# ----- .npy


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (10**15,), }", "header is damaged"),
        ("{'descr': [('a', '<f4')], 'shape': (), }", "header is damaged"),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }",
            "one array of shape (1000000000000,) and type <f4",
        ),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1000000000000,), }", "one array of"),
        ("__import__('os').system('true')", "header is damaged"),
    ],
)
def test_an_npy_header_of_absurd_size_is_refused(header, message, tmp_path):
    data = header.encode().ljust(118) + b"\n"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(data)) + data
    assert message in refusal(tmp_path / "weights.npy", npy)


@pytest.mark.parametrize("shape", [(10**6, 10**6), (2, 4), (-6,)])
def test_an_array_in_an_npy_has_the_bytes_of_its_shape(shape, tmp_path):
    value = published.python2_array(WEIGHT).replace(
        published.ints(WEIGHT.shape), published.ints(shape)
    )
    body = published.object_array(
        published.dict_pickle({"conv6": published.dict_pickle({"weights": value})})
    )
    message = refusal(tmp_path / "weights.npy", published.npy_header() + body)
    assert f"has an array of shape {shape}" in message


# ----- .h5


def h5(path, fill) -> pathlib.Path:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv6"]
        group = file.create_group("conv6")
        group.attrs["weight_names"] = [b"conv6/kernel:0"]
        fill(file, group.create_group("conv6"))
    return path


def absurd(file, group):
    group.create_dataset("kernel:0", shape=(1 << 30, 1 << 20), chunks=(64, 64), dtype="f4")


def packed(file, group):
    group.create_dataset("kernel:0", data=np.zeros(1 << 22, "f4"), compression="gzip")


def linked(file, group):
    group["kernel:0"] = h5py.ExternalLink("/etc/passwd", "/")


def soft(file, group):
    group["kernel:0"] = h5py.SoftLink("/conv6")


def outside(file, group):
    group.create_dataset("kernel:0", (100,), "u1", external=[("/etc/passwd", 0, 100)])


def virtual(file, group):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "data", (4,))
    group.create_virtual_dataset("kernel:0", layout)


def text(file, group):
    group.create_dataset("kernel:0", data=[b"abc"])


def missing(file, group):
    pass


def theano(file, group):
    file.attrs["backend"] = b"theano"


def unnamed(file, group):
    del file.attrs["layer_names"]


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (absurd, "claim 4,503,599,627,370,496 bytes of a file of"),
        (packed, "claim 16,777,216 bytes of a file of"),
        (linked, "is missing or a link"),
        (soft, "is missing or a link"),
        (outside, "is not a data set in the file"),
        (virtual, "is not a data set in the file"),
        (text, "expected numbers"),
        (missing, "is missing or a link"),
        (theano, "Keras backend is 'theano'"),
        (unnamed, "has no layer_names"),
    ],
)
def test_an_h5_that_claims_too_much_or_reaches_outside_is_refused(fill, message, tmp_path):
    path = h5(tmp_path / "weights.h5", fill)
    tracemalloc.start()
    with pytest.raises(archive.DamagedError) as error:
        hdf5.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert message in str(error.value)
    assert peak < MEMORY_BYTES


def test_a_file_that_the_subprocess_refuses_is_refused(tmp_path):
    path = h5(tmp_path / "weights.h5", absurd)
    assert "is refused: its arrays claim 4,503,599,627,370,496 bytes" in refusal(path)


def test_a_crash_of_the_hdf5_library_is_a_refusal(tmp_path, monkeypatch):
    path = h5(tmp_path / "weights.h5", absurd)
    monkeypatch.setattr(hdf5, "PROGRAM", "import os; os.abort()")
    assert "its HDF5 crashes the library (status -6)" in refusal(path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"config": {"layers": [5]}}', "[" * 100_000])
def test_a_json_that_is_no_model_is_refused(text, tmp_path):
    path = tmp_path / "weights.h5"
    published.write_h5(path, {"params/classifier/bias": WEIGHT})
    path.with_suffix(".json").write_text(text)
    assert "weights.json is not the JSON of a Keras model" in refusal(path)


# ----- .safetensors


def safe(header: dict | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + data


def entry(shape, offsets, dtype="F32"):
    return {"weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize(
    "data",
    [
        safe(entry([2], [0, 8]), bytes(8), length=1 << 60),
        safe(entry([1 << 40], [0, 1 << 42]), bytes(8)),
        safe(entry([1 << 33, 1 << 33], [0, 8]), bytes(8)),
        safe(entry([3], [0, 8]), bytes(8)),
        safe(entry([2], [8, 16]), bytes(16)),
        safe(entry([-2], [0, 8]), bytes(8)),
        safe(entry([2], [0, 8], "OBJECT"), bytes(8)),
        safe(b"{" + b"[" * 100_000),
        safe(b"{}}"),
    ],
)
def test_a_safetensors_header_that_lies_is_refused(data, tmp_path):
    assert "its safetensors is damaged" in refusal(tmp_path / "weights.safetensors", data)


# ----- .caffemodel


def layer(name: str, kind: str, *blobs: bytes, more: bytes = b"") -> bytes:
    body = field(1, name) + field(2, kind) + b"".join(field(7, blob) for blob in blobs)
    return field(100, body + more)


SIX = field(5, WEIGHT.tobytes())


def shaped(*sizes: int) -> bytes:
    return field(7, field(1, b"".join(map(published.varint, sizes)))) + SIX


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (field(2, field(4, "conv1")), "first format (V1); convert it with"),
        (layer("conv6", "Convolution", shaped(1 << 40, 1 << 40)), "with 6 values"),
        (layer("conv6", "Convolution", shaped(7)), "shape (7,) with 6 values"),
        (layer("conv6", "Convolution", field(1, 7) + SIX), "shape (7, 1, 1, 1) with 6"),
        (layer("conv6", "BN", shaped(6)), "has 1 arrays, expected slope, bias, mean, variance"),
        (layer("bn", "BatchNorm", shaped(6)), "type 'BatchNorm', expected Convolution or the BN"),
        (layer("fc", "InnerProduct", shaped(6)), "type 'InnerProduct', expected"),
        (layer("conv6", "Convolution", shaped(6)) * 2, "it has two layers conv6"),
        (
            layer("conv6", "Convolution", shaped(6), more=field(106, field(5, 2))),
            "grouped convolutions",
        ),
        (
            layer("conv6", "Convolution", more=field(106, field(13, 1) + field(14, 2))),
            "a stride of [1, 2], not square",
        ),
        (
            layer("pool1", "Pooling", more=field(121, field(2, 3) + field(3, 2))),
            "expected (3, 2, 1)",
        ),
        (
            layer("x_pool6", "Pooling", more=field(121, field(1, 1) + field(2, 9) + field(3, 10))),
            "padding (9, 10, 0), expected (9, 9, 0)",
        ),
        (
            layer("x_pool6", "Pooling", more=field(121, field(1, 1) + field(2, 9) + field(3, 9)))
            + layer("x_pool3", "Pooling", more=field(121, field(1, 1) + field(2, 9) + field(3, 9))),
            "maps of different sizes",
        ),
        (
            layer("c", "Concat", more=field(3, "x_pool6") + field(3, "y")),
            "expected the trunk",
        ),
        (layer("conv6", "Convolution", field(8, bytes(8))), "arrays of float64"),
        (layer("c", "Convolution", field(5, bytes(4)) * 200), "values are not packed"),
        (layer("conv6", "Convolution", shaped(6))[:-3], "it is truncated"),
        (b"\xa2\x06\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "it is truncated"),
        (b"\xa2\x06" + b"\xff" * 30, "more than 64 bits"),
        (b"\xa2", "truncated inside a number"),
        (b"\xa2\x06\x02\x0a\x05", "it is truncated"),
        (field(100, field(1, b"\xff\xfe")), "a name that is not text"),
        (field(1, "net"), "it has no layers"),
        (b"\x0b", "wire type 3"),
    ],
)
def test_a_caffemodel_of_anything_else_is_refused(net, message, tmp_path):
    assert message in refusal(tmp_path / "weights.caffemodel", net)


# ----- anything at all


@functools.cache
def small_leaves():
    network = NetworkSpec(10, 2, 3, 3, False, architecture.SEMSEG)
    return network, published.make_leaves(network)


def write_small_npy(path):
    names = {"params/classifier/kernel": WEIGHT, "params/classifier/bias": WEIGHT}
    published.write_npy(path, published.keras_npy(names))


def write_small_torch(write, path):
    write(path, published.torch_names(small_leaves()[1], published.semseg))


FUZZED = {
    "zip": functools.partial(write_small_torch, published.write_zip),
    "legacy": functools.partial(write_small_torch, published.write_legacy),
    "npy": write_small_npy,
    "caffemodel": lambda path: path.write_bytes(
        layer("conv6", "Convolution", shaped(1, 2, 3), more=field(106, field(4, 3)))
    ),
}


@pytest.mark.parametrize("format", FUZZED)
def test_random_damage_ends_in_a_refusal_or_in_arrays(format, tmp_path):
    path = tmp_path / "weights.caffemodel"
    FUZZED[format](path)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        data = bytearray(good)
        # The structure is at the ends; in between are the values, of which none is wrong.
        for _ in range(rng.integers(1, 4)):
            place = min(int(rng.exponential(len(good) / 20)), len(good) - 1)
            data[place if rng.random() < 0.5 else -1 - place] = rng.integers(256)
        path.write_bytes(bytes(data))
        try:
            reading.open_archive(path)
        except ValueError:
            refused += 1
    assert refused > 10


# ----- what training programs store next to the weights, and what stands in their place


class HistoryBuffer:
    """As mmengine's, which mmsegmentation 1.0 stores next to the state dict."""

    def __init__(self):
        self._log_history, self._methods = np.arange(3.0), {"mean": len}


def foreign(value, protocol=2):
    """Pickles an object without the first and the last operation."""
    return pickle.dumps(value, protocol)[2:-1]


def checkpoint(meta, *, view):
    weights = published.state_body({"weight": WEIGHT}, view=view)
    return published.dict_pickle({"meta": meta, "state_dict": weights, "args": meta})


FOREIGN = {
    "HistoryBuffer": HistoryBuffer(),
    "Namespace": argparse.Namespace(lr=0.1, data=pathlib.PurePosixPath("/data")),
    "defaultdict": collections.defaultdict(list, {"a": [1]}),
    "set": {1, 2},
    "counter": collections.Counter("abc"),
    "enum": http.HTTPStatus.OK,
    "list of them": [argparse.Namespace(a=1), HistoryBuffer()],
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("write", [published.write_zip, published.write_legacy])
def test_objects_next_to_the_weights_are_skipped(name, write, tmp_path):
    state = checkpoint(foreign(FOREIGN[name]), view=write is published.write_legacy)
    write(tmp_path / "a.pth", {"weight": WEIGHT}, body=b"\x80\x02" + state + b".")
    arrays = reading.open_archive(tmp_path / "a.pth").arrays
    assert list(arrays) == ["weight"]
    np.testing.assert_array_equal(arrays["weight"], WEIGHT)


def test_nothing_next_to_the_weights_is_run(tmp_path):
    trace, path = tmp_path / "it_ran", tmp_path / "a.pth"
    state = checkpoint(foreign(Runner(trace)), view=False)
    published.write_zip(path, {"weight": WEIGHT}, body=b"\x80\x02" + state + b".")
    assert list(reading.open_archive(path).arrays) == ["weight"]
    assert not trace.exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"/annex/objects/SHA256E-s9--0.pth\n", "git annex get"),
        (b"<!DOCTYPE html>\n<html><head><title>Sign in</title>", "a web page"),
        (b"\xef\xbb\xbf\n  <html lang=en>", "a web page"),
        (b'<?xml version="1.0"?><!doctype html>', "a web page"),
        (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "a server"),
        (b'{"error": "not found"}', "a server"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".caffemodel", ".h5"])
def test_what_a_failed_download_left_is_named(tmp_path, data, message, suffix):
    assert message in refusal(tmp_path / f"weights{suffix}", data)
