"""Results never replace, delete or read what is not theirs."""

import shutil

import pytest

from psp_jax.predict import frames, outputs, written
from psp_jax.predict.frames import Frame

SETTINGS = {"model": "m", "step": 1}


@pytest.fixture
def photos(tmp_path):
    """A folder with two photos, one of them in a folder."""
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for name in ("a.jpg", "trip/b.jpg"):
        (folder / name).write_bytes(b"photo " + name.encode())
    return folder


def frame_of(path):
    return Frame(path.stem, str(path.resolve()), path.stat().st_mtime_ns)


def names_in(folder, out):
    (sequence,) = frames.find([str(folder)], 1, out)
    return sorted(path.relative_to(folder.resolve()).as_posix() for path in sequence.sources)


def test_only_listed_files_are_replaced_or_deleted(photos, tmp_path):
    out, frame = tmp_path / "out", frame_of(photos / "a.jpg")
    (out / "overlay").mkdir(parents=True)
    (out / "notes.txt").write_text("mine")
    (out / "overlay" / "b.jpg").write_text("mine")
    folder = outputs.Folder(out, SETTINGS)
    folder.finish(frame, {"overlay/a.jpg": b"1", "depth/a.png": b"22"})
    with pytest.raises(ValueError, match="b.jpg exists"):
        folder.finish(
            frame_of(photos / "trip" / "b.jpg"), {"depth/b.png": b"", "overlay/b.jpg": b""}
        )
    assert not (out / "depth" / "b.png").exists()
    folder.finish(frame, {"overlay/a.jpg": b"333", "depth/a.png": b"22"})
    (out / "depth" / "a.png").write_bytes(b"edited by someone")
    with pytest.raises(ValueError, match="other settings.*step: 1 -> 2"):
        outputs.Folder(out, SETTINGS | {"step": 2})
    outputs.Folder(out, SETTINGS | {"step": 2}, overwrite=True)
    left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert left == {"notes.txt", "overlay/b.jpg", "depth/a.png", written.FILE}


def test_a_killed_program_can_resume(photos, tmp_path):
    out, frame = tmp_path / "out", frame_of(photos / "a.jpg")
    folder = outputs.Folder(out, SETTINGS)
    folder.finish(frame, {"overlay/a.jpg": b"1"})
    folder.start(frame, {"overlay/a.jpg": 22})  # Killed before the new file was written.
    again = outputs.Folder(out, SETTINGS)
    assert not again.holds(frame, ["overlay/a.jpg"])
    again.finish(frame, {"overlay/a.jpg": b"333"})
    assert outputs.Folder(out, SETTINGS).holds(frame, ["overlay/a.jpg"])
    assert not outputs.Folder(out, SETTINGS).holds(frame, ["depth/a.png"])


def test_overwriting_predicts_frames_again(photos, tmp_path):
    out, frame = tmp_path / "out", frame_of(photos / "a.jpg")
    outputs.Folder(out, SETTINGS).finish(frame, {"overlay/a.jpg": b"1"})
    folder = outputs.Folder(out, SETTINGS, overwrite=True)
    assert not folder.holds(frame, [])
    folder.finish(frame, {"overlay/a.jpg": b"22"})
    assert (out / "overlay" / "a.jpg").read_bytes() == b"22"


def test_repeating_does_not_lengthen_the_list(photos, tmp_path):
    out, frame = tmp_path / "out", frame_of(photos / "a.jpg")
    lists = []
    for _ in range(3):
        outputs.Folder(out, SETTINGS).finish(frame, {"overlay/a.jpg": b"1"})
        lists.append((out / written.FILE).read_bytes())
    assert lists == lists[:1] * 3


@pytest.mark.parametrize("where", ["photos", "photos/results", "elsewhere", "linked"])
def test_inputs_are_never_outputs_and_results_never_inputs(photos, tmp_path, where):
    out = tmp_path / where
    if where == "linked":
        out.symlink_to(photos)
    before = names_in(photos, out)
    assert before == ["a.jpg", "trip/b.jpg"]
    inputs = frames.find([str(photos)], 1, out)[0].sources
    folder = outputs.Folder(out, SETTINGS, inputs=inputs)
    folder.finish(frame_of(photos / "a.jpg"), {"overlay/a.jpg": b"1"})
    assert names_in(photos, out) == before
    for name in ("a.jpg", "trip/b.jpg"):
        if (out / name).exists():
            with pytest.raises(ValueError, match="is an input"):
                folder.finish(frame_of(photos / "a.jpg"), {name: b"x"})
        assert (photos / name).read_bytes() == b"photo " + name.encode()


def test_results_can_be_predicted_if_they_are_named(photos, tmp_path):
    out = photos / "results"
    outputs.Folder(out, SETTINGS).finish(frame_of(photos / "a.jpg"), {"overlay/a.jpg": b"1"})
    assert names_in(out, tmp_path / "other") == ["overlay/a.jpg"]
    (sequence,) = frames.find([str(out / "overlay" / "a.jpg")], 1, out)
    folder = outputs.Folder(out, SETTINGS, inputs=sequence.sources)
    with pytest.raises(ValueError, match="is an input"):
        folder.finish(frame_of(out / "overlay" / "a.jpg"), {"overlay/a.jpg": b"2"})


def test_results_that_move_with_their_photos_are_still_theirs(photos, tmp_path):
    frame = frame_of(photos / "a.jpg")
    outputs.Folder(tmp_path / "photos" / "out", SETTINGS).finish(frame, {"overlay/a.jpg": b"1"})
    moved = tmp_path / "moved"
    shutil.move(photos, moved)
    assert outputs.Folder(moved / "out", SETTINGS).holds(frame_of(moved / "a.jpg"), [])
    other = tmp_path / "a.jpg"
    shutil.copy(moved / "a.jpg", other)
    with pytest.raises(ValueError, match="results of this name from ../a.jpg"):
        outputs.Folder(moved / "out", SETTINGS).holds(frame_of(other), ["overlay/a.jpg"])


def test_a_photo_and_a_film_of_one_name_have_other_files_and_both_resume(photos, tmp_path):
    film = photos / "a.avi"
    film.write_bytes(b"film")
    folder = outputs.Folder(tmp_path / "out", SETTINGS)
    folder.finish(frame_of(photos / "a.jpg"), {"overlay/a.jpg": b"1"})
    folder.finish(frame_of(film), {"overlay/a.mp4": b"12"})
    again = outputs.Folder(tmp_path / "out", SETTINGS)
    assert again.holds(frame_of(photos / "a.jpg"), ["overlay/a.jpg"])
    assert again.holds(frame_of(film), ["overlay/a.mp4"])
    with pytest.raises(ValueError, match="from ../photos/a.jpg"):
        again.finish(frame_of(film), {"overlay/a.jpg": b"3"})


def test_a_list_that_names_files_elsewhere_is_not_followed(photos, tmp_path):
    out = tmp_path / "out"
    outputs.Folder(out, SETTINGS).finish(frame_of(photos / "a.jpg"), {"overlay/a.jpg": b"1"})
    (tmp_path / "precious").write_bytes(b"1")
    path = out / written.FILE
    path.write_text(path.read_text().replace("overlay/a.jpg", "../precious"))
    outputs.Folder(out, SETTINGS | {"step": 2}, overwrite=True)
    assert (tmp_path / "precious").exists()
