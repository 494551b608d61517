import shutil
import subprocess

import pytest

from psp_jax.io import manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "deep" / "file with spaces").write_bytes(bytes(range(256)))
    (tmp_path / "b").write_bytes(b"")
    manifest.write(tmp_path)
    return tmp_path


def test_a_folder_as_it_was_written_is_sound_for_us_and_for_sha256sum(folder):
    (folder / ".DS_Store").touch()
    assert manifest.damage(folder) == []
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", manifest.FILE], cwd=folder, check=True)


def test_a_flipped_bit_of_the_list_itself_is_seen(folder):
    path = folder / manifest.FILE
    written = path.read_bytes()
    for bit in range(0, 8 * len(written), 11):  # Of every byte some, all eight in turn.
        flipped = bytearray(written)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert manifest.damage(folder), bit


def test_a_truncated_list_is_seen_at_every_length(folder):
    path = folder / manifest.FILE
    written = path.read_bytes()
    for size in range(len(written)):
        path.write_bytes(written[:size])
        assert manifest.damage(folder), size


def test_what_is_wrong_is_named(folder):
    (folder / "b").write_bytes(b"x")
    (folder / "c").touch()
    (folder / "a" / "deep" / "file with spaces").unlink()
    assert manifest.damage(folder) == [
        "b is not the file that was written",
        "'a/deep/file with spaces' is missing",
    ]
    assert manifest.unlisted(folder) == ["c"]
    (folder / manifest.FILE).unlink()
    assert manifest.damage(folder) == [f"{manifest.FILE} can't be read: No such file or directory"]
