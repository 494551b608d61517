"""Videos as phones, cameras and failed downloads leave them."""

import contextlib
import os
import struct
from typing import Any

import av
import cv2
import numpy as np
import pytest

from psp_jax.predict import frames
from psp_jax.recordings import recording, video

FORMATS = {
    "avi": ("mpeg4", "yuv420p"),
    "mp4": ("mpeg4", "yuv420p"),
    "mkv": ("mpeg4", "yuv420p"),
    "mov": ("mjpeg", "yuvj420p"),
}
COUNT = 20


def image_at(index, size=(64, 96)):
    """Returns a picture whose gray says its number and whose top left corner is red."""
    pixels = np.full((*size, 3), 20 + 10 * index, np.uint8)
    pixels[: size[0] // 2, : size[1] // 2] = (220, 30, 30)
    noise = np.random.default_rng(index).integers(0, 255, (size[0] // 4, size[1] // 2, 3))
    pixels[-size[0] // 4 :, : size[1] // 2] = noise  # So that frames outweigh the header.
    return pixels


def write(path, *, suffix=None, times=None, count=COUNT):
    codec, pixel_format = FORMATS[suffix or path.suffix[1:]]
    with open(path, "wb") as file, av.open(file, "w", format=_format(suffix, path)) as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixel_format
        stream.codec_context.gop_size = 1
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(image_at(index), format="rgb24")
            frame.pts = index if times is None else times[index]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _format(suffix, path):
    return {"mkv": "matroska"}.get(suffix or path.suffix[1:], suffix or path.suffix[1:])


def read(path, stride=1):
    """Returns the indices, times and images, and the message at the end; empty if all is well."""
    indices, times, pictures, message = [], [], [], ""
    try:
        for frame in video.frames(path, stride):
            with contextlib.suppress(recording.Damaged):
                pictures.append(frame.read())
                indices.append(frame.index)
                times.append(frame.time_s)
    except recording.Damaged as error:
        message = str(error)
    return indices, times, pictures, message


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("stride", [1, 3])
def test_every_frame_is_read_with_its_colours_and_its_time(tmp_path, suffix, stride):
    path = write(tmp_path / f"a.{suffix}")
    indices, times, pictures, message = read(path, stride)
    assert (indices, message) == (list(range(0, COUNT, stride)), "")
    np.testing.assert_allclose(times, np.array(indices) / 10, atol=0.002)
    assert video.header(path).count == COUNT
    for index, pixels in zip(indices, pictures, strict=True):
        np.testing.assert_allclose(pixels[48, 72], 20 + 10 * index, atol=6)
        assert pixels[8, 8, 0] > 180 and pixels[8, 8, 1] < 80


@pytest.mark.parametrize("suffix", FORMATS)
def test_pictures_are_those_of_opencv(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}")
    capture = cv2.VideoCapture(str(path))
    _, _, pictures, _ = read(path)
    for pixels in pictures:
        done, bgr = capture.read()
        assert done
        assert np.abs(bgr[..., ::-1].astype(int) - pixels).mean() < 5


@pytest.mark.parametrize("share", [0.7, 0.6, 0.5])
@pytest.mark.parametrize("suffix", ["avi", "mkv"])
def test_a_video_that_ends_early_is_counted(tmp_path, suffix, share):
    path = write(tmp_path / f"a.{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    indices, _, _, message = read(path)
    assert 0 < len(indices) < COUNT
    assert "frames could be read" in message or "can't be read" in message or "ends" in message
    if suffix == "avi":
        assert message.endswith(f"of {COUNT} frames could be read")


@pytest.mark.parametrize("suffix", ["avi", "mov"])
def test_frames_that_are_lost_in_the_middle_are_counted(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}")
    with path.open("rb") as file, av.open(file) as opened:
        container: Any = opened
        packets = [p for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for packet in packets[5:9]:
        data[packet.pos + 8 : packet.pos + packet.size] = bytes(packet.size - 8)
    path.write_bytes(data)
    indices, _, _, message = read(path)
    assert message == f"{COUNT - 4} of {COUNT} frames could be read", (indices, message)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no video"),
        (b"text " * 100, "no video"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!doctype html><title>", "a web page"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "no video"),
    ],
)
def test_what_is_no_video_is_named(tmp_path, data, message):
    (tmp_path / "a.mp4").write_bytes(data)
    for call in (video.header, lambda path: list(video.frames(path))):
        with pytest.raises(recording.Damaged, match=message):
            call(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    "name", ["12:30 talk.mp4", "100%.mp4", "a%03d.mp4", "-.mp4", "é 你.mp4", b"caf\xe9.mp4"]
)
def test_any_name_can_be_read(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    write(path, suffix="mp4")
    assert len(read(path)[0]) == COUNT


def test_a_variable_rate_keeps_its_times(tmp_path):
    times = [0, 1, 2, 10, 11, 30, *range(31, 45)]
    _, read_times, _, message = read(write(tmp_path / "a.mp4", times=times))
    assert not message
    np.testing.assert_allclose(read_times, np.array(times) / 10, atol=0.01)


MATRICES = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


@pytest.mark.parametrize("degrees", MATRICES)
def test_a_film_of_a_turned_phone_is_upright(tmp_path, degrees):
    """The matrix of the header turns clockwise; OpenCV, which obeys it too, agrees."""
    path = write(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    a, b, c, d = MATRICES[degrees]
    one = 1 << 16
    data[start : start + 36] = struct.pack(
        ">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30
    )
    path.write_bytes(data)
    pixels = read(path)[2][0]
    expected = np.rot90(image_at(0), -degrees // 90)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 20
    done, bgr = cv2.VideoCapture(str(path)).read()
    assert done and np.abs(bgr[..., ::-1].astype(int) - pixels).mean() < 5


def test_predict_takes_the_frames_and_fails_at_the_end(tmp_path):
    path = write(tmp_path / "a.avi")
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    (sequence,) = frames.find([str(path)], 1)
    assert sequence.count == COUNT
    *whole, (_, read_last) = sequence.frames(lambda frame: True)
    assert len(whole) > 5 and whole[0][1]().shape == (64, 96, 3)
    with pytest.raises(ValueError, match=f"of {COUNT} frames could be read"):
        read_last()
