import re

import cv2
import numpy as np
import pytest

from psp_jax import codec
from psp_jax.codec import transcode
from psp_jax.recordings import inputs
from tests import programs, scans


def run(*arguments, cwd):
    return programs.run("psp_jax.codec", *arguments, cwd=cwd)


def wall(size=(60, 80)):
    rows, columns = np.indices(size)
    depth_mm = (1500 + 4 * columns + 2 * rows).astype(np.uint16)
    depth_mm[15:40, 20:50] = 900
    depth_mm[:4] = 0
    return depth_mm


def write_depth(path, depth_mm):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), depth_mm)


def test_a_folder_goes_to_streams_and_back(tmp_path):
    depth_mm = wall()
    write_depth(tmp_path / "kitchen" / "depth" / "7.png", depth_mm)
    write_depth(tmp_path / "kitchen" / "depth" / "8.png", np.zeros_like(depth_mm))
    (tmp_path / "kitchen" / "depth" / "9.png").write_bytes(b"no PNG")
    done = run("encode", "kitchen", "--out=coded", "--max_error=0.01", cwd=tmp_path)
    assert done.returncode == 1, done.stderr  # Two of three frames were skipped.
    assert re.search(r"depth/7: \d+ regions, \d+ bytes, 0\.\d+ bpp, RMSE", done.stdout)
    assert "depth/8.png: skipped, no reading at all" in done.stdout
    assert "1 frames are in coded" in done.stdout
    assert re.search(r"2 skipped: .*depth/8.png, .*depth/9.png", done.stdout)
    done = run("decode", "coded", "--out=decoded", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    decoded = cv2.imread(str(tmp_path / "decoded" / "depth" / "depth" / "7.png"), -1)
    regions = cv2.imread(str(tmp_path / "decoded" / "regions" / "depth" / "7.png"), -1)
    assert decoded is not None and regions is not None
    stream = (tmp_path / "coded" / "depth" / "7.pdr").read_bytes()
    expected, labels = codec.decode(stream)
    np.testing.assert_array_equal(decoded, expected)
    np.testing.assert_array_equal(regions, labels)
    np.testing.assert_array_equal(decoded == 0, depth_mm == 0)
    seen = depth_mm > 0
    assert np.abs(1000 / decoded[seen] - 1000 / depth_mm[seen]).max() < 0.0105


def test_every_frame_of_a_scan_is_coded(scans_dir, tmp_path):
    scan = next(scans_dir.glob("scans/*/*.sens"))
    count, frames = transcode.frames(inputs.find_depth(scan), 1)
    assert count == 3
    assert [frame.name for frame in frames] == [f"{scan.stem}/{index:06d}" for index in range(3)]

    def code(depth_mm):
        return transcode.segment_and_encode(depth_mm, trade=1e-3)

    summary = transcode.encode_all([scan], tmp_path / "coded", 2, code)
    assert summary.done == 2 and not summary.skipped
    assert summary.pixels == 2 * scans.SIZE[0] * scans.SIZE[1]
    assert sorted(path.name for path in tmp_path.glob("coded/*/*")) == ["000000.pdr", "000002.pdr"]


def test_a_scan_that_is_cut_off_keeps_what_was_read(scans_dir, tmp_path):
    scan = next(scans_dir.glob("scans/*/*.sens"))
    cut = tmp_path / "scene9000_00.sens"
    cut.write_bytes(scan.read_bytes()[: scan.stat().st_size * 2 // 3])
    summary = transcode.encode_all(
        [cut],
        tmp_path / "coded",
        1,
        lambda depth_mm: transcode.segment_and_encode(depth_mm, trade=1e-3),
    )
    assert 1 <= summary.done < 3
    assert "can't be read" in summary.skipped["scene9000_00/..."]


def test_two_frames_of_one_name_do_not_overwrite_each_other(tmp_path):
    for folder in ("a", "b"):
        write_depth(tmp_path / folder / "1.png", wall())
    summary = transcode.encode_all(
        [tmp_path / "a" / "1.png", tmp_path / "b" / "1.png"],
        tmp_path / "coded",
        1,
        lambda depth_mm: transcode.segment_and_encode(depth_mm, trade=1e-3),
    )
    assert summary.done == 1
    assert "another frame has that name" in summary.skipped[str(tmp_path / "b" / "1.png")]


def test_a_target_error_is_met_and_a_tighter_one_takes_more_bytes():
    depth_mm = wall((120, 160))
    seen, sizes = depth_mm > 0, []
    depth_mm[seen] += np.random.default_rng(0).integers(0, 30, seen.sum()).astype(np.uint16)
    for target in (0.02, 0.003):
        stream = transcode.segment_and_encode_within(depth_mm, rmse_per_m=target)
        found, _ = codec.decode(stream)
        assert np.sqrt(np.mean((1000 / found[seen] - 1000 / depth_mm[seen]) ** 2)) <= target
        sizes.append(len(stream))
    assert sizes[0] < sizes[1]
    with pytest.raises(ValueError, match="exceed an RMSE of 1e-06"):
        transcode.segment_and_encode_within(depth_mm, rmse_per_m=1e-6)


def test_damaged_streams_are_skipped_and_counted(tmp_path):
    good = transcode.segment_and_encode(wall(), trade=1e-3)
    (tmp_path / "coded").mkdir()
    (tmp_path / "coded" / "good.pdr").write_bytes(good)
    (tmp_path / "coded" / "short.pdr").write_bytes(good[:-9])
    summary = transcode.decode_all([tmp_path / "coded"], tmp_path / "decoded")
    assert summary.done == 1
    assert "damaged or truncated" in summary.skipped[str(tmp_path / "coded" / "short.pdr")]


def test_wrong_commands_are_refused_in_one_line(tmp_path):
    write_depth(tmp_path / "1.png", wall())
    for arguments, message in (
        (["decode", "nowhere"], "nowhere: expected a .pdr file"),
        (["encode", "1.png", "--out=.", "--rmse=0.01"], "--out=. holds files"),
        (["encode", "1.png", "--out=new", "--rmse=-1"], "--rmse: expected a positive number"),
        (["encode", "1.png", "--stride=0"], "--stride: expected an integer from 1"),
        ([], "COMMAND"),
    ):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_help_ends_well_and_a_run_without_a_result_does_not(tmp_path):
    done = run("encode", "--help", cwd=tmp_path)
    assert done.returncode == 0 and "--no-holes" in done.stdout
    write_depth(tmp_path / "empty.png", np.zeros((60, 80), np.uint16))
    done = run("encode", "empty.png", "--out=coded", cwd=tmp_path)
    assert done.returncode == 1 and "no reading at all" in done.stdout


def test_holes_are_filled_on_request():
    depth_mm = wall()
    kept, filled = (
        codec.decode(transcode.segment_and_encode(depth_mm, trade=1e-3, holes=holes))[0]
        for holes in (True, False)
    )
    np.testing.assert_array_equal(kept == 0, depth_mm == 0)
    assert (filled > 0).all()
