import dataclasses
import struct
import zlib

import numpy as np
import pytest

from psp_jax.recordings import recording, sens
from tests.scans import SIZE, make_frame, write_scan


@pytest.fixture
def frames():
    rng = np.random.default_rng(1)
    return [make_frame(rng) for _ in range(7)]


def test_frames_are_read_as_they_were_written(tmp_path, frames):
    path = write_scan(tmp_path, "scene9000_00", frames)
    header, read = sens.read_header(path), list(sens.SensRecording(path).frames(1))
    assert header.color_size == (2 * SIZE[0], 2 * SIZE[1])
    assert header.depth_size == SIZE
    assert header.depth_shift == 1000
    assert [frame.index for frame in read] == list(range(7))
    for written, frame in zip(frames, read, strict=True):
        assert written.color == frame.read_color()
        np.testing.assert_array_equal(sens.decode_depth(written.depth, SIZE), frame.read_depth())
        np.testing.assert_array_equal(written.camera_to_world, frame.read_pose())


def test_the_layout_is_that_of_scannet(tmp_path, frames):
    """Parsed here by hand, field by field, independently of the reader."""
    data = write_scan(tmp_path, "scene9000_00", frames[:1]).read_bytes()
    version, name_length = struct.unpack_from("<IQ", data)
    assert (version, data[12 : 12 + name_length]) == (4, b"StructureSensor")
    offset = 12 + name_length + 4 * 64
    color_kind, depth_kind, *sides, shift, count = struct.unpack_from("<iiIIIIfQ", data, offset)
    assert (color_kind, depth_kind, shift, count) == (2, 1, 1000.0, 1)
    assert sides == [2 * SIZE[1], 2 * SIZE[0], SIZE[1], SIZE[0]]
    offset += 36
    color_bytes, depth_bytes = struct.unpack_from("<QQ", data, offset + 64 + 16)
    color = data[offset + 96 : offset + 96 + color_bytes]
    assert color == frames[0].color
    depth = data[offset + 96 + color_bytes : offset + 96 + color_bytes + depth_bytes]
    assert zlib.decompress(depth) == zlib.decompress(frames[0].depth)
    assert data[offset + 96 + color_bytes + depth_bytes :] == struct.pack("<Q", 0)


def test_a_lost_pose_stays_minus_infinity(tmp_path, frames):
    lost = dataclasses.replace(frames[0], camera_to_world=np.full((4, 4), -np.inf))
    path = write_scan(tmp_path, "scene9000_00", [lost])
    (read,) = sens.SensRecording(path).frames(1)
    assert np.isneginf(read.read_pose()).all()


def test_a_stride_yields_every_nth_frame_by_index(tmp_path, frames):
    read = list(sens.SensRecording(write_scan(tmp_path, "scene9000_00", frames)).frames(3))
    assert [frame.index for frame in read] == [0, 3, 6]
    assert read[1].read_color() == frames[3].color


def test_a_truncated_file_yields_its_complete_frames(tmp_path, frames):
    path = write_scan(tmp_path, "scene9000_00", frames)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    read = []
    with pytest.raises(recording.Damaged, match="ends inside"):
        for frame in sens.SensRecording(path).frames(1):
            read.append(frame)
    assert 0 < len(read) < 7
    assert read[-1].read_color() == frames[len(read) - 1].color


def test_truncation_inside_a_skipped_frame_is_detected(tmp_path, frames):
    path = write_scan(tmp_path, "scene9000_00", frames[:2])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(recording.Damaged, match="ends inside frame 1"):
        list(sens.SensRecording(path).frames(2))


def test_a_frame_that_claims_absurd_sizes_is_refused(tmp_path, frames):
    path = write_scan(tmp_path, "scene9000_00", frames[:1])
    data = bytearray(path.read_bytes())
    sizes_at = 12 + 15 + 4 * 64 + 36 + 64 + 16
    struct.pack_into("<Q", data, sizes_at, 1 << 62)
    path.write_bytes(data)
    with pytest.raises(recording.Damaged, match=f"got {1 << 62} and"):
        list(sens.SensRecording(path).frames(1))


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, 3, "version 3"),
        (4, 1 << 31, "sensor name"),
        (12 + 15 + 256, 0, "compression .* got 0 and 1"),
    ],
)
def test_a_header_of_another_kind_is_refused(tmp_path, frames, position, value, message):
    path = write_scan(tmp_path, "scene9000_00", frames[:1])
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, position, value)
    path.write_bytes(data)
    with pytest.raises(recording.Damaged, match=message):
        sens.SensRecording(path).calibration()
    assert sens.SensRecording(path).count(1) == 0


def test_depth_survives_compression_bit_by_bit():
    depth = np.random.default_rng(0).integers(0, 65536, SIZE).astype(np.uint16)
    np.testing.assert_array_equal(sens.decode_depth(sens.encode_depth(depth), SIZE), depth)


def test_depth_in_other_units_becomes_millimetres():
    depth = np.full(SIZE, 5000, np.uint16)
    decoded = sens.decode_depth(sens.encode_depth(depth), SIZE, units_per_m=5000.0)
    np.testing.assert_array_equal(decoded, 1000)


def test_a_depth_stream_of_another_length_is_refused_without_being_expanded():
    bomb = zlib.compress(bytes(1 << 26))
    with pytest.raises(recording.Damaged, match=f"expected {2 * SIZE[0] * SIZE[1]} bytes"):
        sens.decode_depth(bomb, SIZE)
    with pytest.raises(recording.Damaged, match="depth stream"):
        sens.decode_depth(b"not zlib", SIZE)


def test_a_depth_stream_without_its_checksum_is_refused():
    depth = np.random.default_rng(0).integers(0, 65536, SIZE).astype(np.uint16)
    with pytest.raises(recording.Damaged, match="without an end"):
        sens.decode_depth(sens.encode_depth(depth)[:-4], SIZE)


def test_a_stride_touches_few_of_the_bytes(tmp_path, frames, monkeypatch):
    path = write_scan(tmp_path, "scene9000_00", [frames[index % 7] for index in range(90)])
    touched, read = [], sens._read
    monkeypatch.setattr(
        sens, "_read", lambda file, count, what: touched.append(count) or read(file, count, what)
    )
    for frame in sens.SensRecording(path).frames(30):
        frame.read_color()
        frame.read_depth()
    assert len(touched) > 90
    # Frames of this size are mostly headers; of ScanNet's, 96 bytes of each are next to nothing.
    headers = 90 * sens.FRAME_HEADER_BYTES
    assert sum(touched) - headers < path.stat().st_size / 20


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"), (b"<html>", "a web page")],
)
def test_what_stands_in_the_place_of_a_recording_is_named(tmp_path, data, message):
    (tmp_path / "a.sens").write_bytes(data)
    with pytest.raises(recording.Damaged, match=message):
        sens.read_header(tmp_path / "a.sens")
