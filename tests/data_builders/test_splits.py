from collections import Counter

import pytest

from data_builders.scannet_frontiers import splits
from psp_jax.recordings import scan_ids


def test_rescans_of_a_space_share_its_split():
    scans = [f"scene{9000 + space}_{visit:02d}" for space in range(60) for visit in range(3)]
    split_of = splits.HashSplit()(scans)
    spaces = {split: set() for split in splits.SPLITS}
    for scan, split in split_of.items():
        spaces[split].add(scan_ids.space_of(scan))
    assert all(spaces.values())
    assert not spaces["train"] & spaces["validation"]
    assert not spaces["train"] & spaces["test"]
    assert not spaces["validation"] & spaces["test"]
    assert len(split_of) == len(scans)


def test_the_thesis_split_of_scannet_has_its_counts():
    scans = splits.scannet_scans()
    assert len(scans) == 1513
    split_of = splits.HashSplit((917, 390, 198), scans)(scans)
    splits.check_disjoint(split_of)
    assert Counter(split_of.values()) == {"train": 922, "validation": 393, "test": 198}


def test_a_partial_download_is_split_as_the_whole_is():
    scans = splits.scannet_scans()
    splitter = splits.HashSplit((917, 390, 198), scans)
    whole, part = splitter(scans), splitter(scans[::7])
    assert part == {scan: whole[scan] for scan in scans[::7]}


def test_scans_that_are_not_listed_belong_to_no_split():
    splitter = splits.HashSplit(listed=("scene0000_00", "scene0001_00"))
    assert splitter(["scene0800_00"]) == {}


def test_a_space_in_two_splits_is_named():
    with pytest.raises(ValueError, match="space scene0001 is both in train and in test"):
        splits.check_disjoint(
            {"scene0000_00": "test", "scene0001_00": "train", "scene0001_01": "test"}
        )


@pytest.mark.parametrize("spaces", [3, 4, 7, 20])
def test_every_split_gets_one_of_three_spaces_or_more(spaces):
    """Even if one of them has more scans than all others together."""
    for first in range(20):
        scans = [f"scene{9000 + first + space}_00" for space in range(spaces)]
        scans += [f"scene{9000 + first}_{visit:02d}" for visit in range(1, 90)]
        split_of = splits.HashSplit()(scans)
        assert set(split_of.values()) == set(splits.SPLITS)
        splits.check_disjoint(split_of)


def test_two_spaces_cannot_fill_three_splits():
    assert len(set(splits.HashSplit()(["chess_seq-01", "fire_seq-01"]).values())) <= 2


def test_sequences_of_a_space_share_its_split():
    scans = [f"{space}_seq-{visit:02d}" for space in ("chess", "fire", "red_kitchen", "heads")
             for visit in range(1, 5)]  # fmt: skip
    split_of = splits.HashSplit()(scans)
    assert {scan_ids.space_of(scan) for scan in scans} == {"chess", "fire", "red_kitchen", "heads"}
    splits.check_disjoint(split_of)
    assert set(split_of.values()) == set(splits.SPLITS)


def test_an_id_of_another_form_is_refused():
    with pytest.raises(ValueError, match="'room_1'"):
        scan_ids.space_of("room_1")


def test_the_official_split_is_the_benchmarks():
    split_of = splits.official_lists().listed()
    assert Counter(split_of.values()) == {"train": 1201, "validation": 312, "test": 100}
    assert set(splits.scannet_scans()) < set(split_of)


def test_a_sample_of_the_thesis_has_its_images_spread_over_its_scans():
    scans = splits.scannet_scans()
    split = splits.HashSplit((917, 390, 198), scans)
    quotas = splits.Sample((4326, 1879, 981), split, scans).quotas()
    split_of, images = split(scans), Counter()
    for scan, quota in quotas.items():
        images[split_of[scan]] += quota
    assert images == {"train": 4326, "validation": 1879, "test": 981}
    assert set(quotas.values()) == {4, 5}


@pytest.fixture
def write_lists(tmp_path):
    def write(*lists: str) -> splits.FileSplit:
        names = [tmp_path / name for name in splits.SPLITS]
        for name, lines in zip(names, lists, strict=True):
            name.write_text(lines)
        train, validation, test = map(str, names)
        return splits.FileSplit(train, validation, test)

    return write


def test_lists_of_the_user_assign_their_scans(write_lists):
    split = write_lists("scene0000_00\nscene0000_01\n", "# empty\n\n", "scene0002_00  # good\n")
    split_of = split(["scene0000_01", "scene0001_00", "scene0002_00"])
    assert split_of == {"scene0000_01": "train", "scene0002_00": "test"}


def test_lists_of_the_user_that_share_a_space_are_refused_even_if_the_scans_are_not_there(
    write_lists,
):
    split = write_lists("scene0000_00", "scene0001_00", "scene0000_01")
    with pytest.raises(ValueError, match="space scene0000 is both in train and in test"):
        split([])
    split = write_lists("scene0000_00", "scene0000_00", "")
    with pytest.raises(ValueError, match="scene0000_00 is in both lists"):
        split([])


def test_a_line_that_is_no_scan_id_is_refused(write_lists):
    with pytest.raises(ValueError, match="validation: expected a scan id .* got 'scene1'"):
        write_lists("scene0000_00", "scene1", "")([])


def test_of_two_spaces_the_smaller_is_the_test_split():
    """The other one is divided by time in train and validation, with a gap."""
    pieces = splits.pieces_of(splits.HashSplit(), {"attic": 10, "cellar_1": 100})
    assert pieces == [
        splits.Piece("attic", "test"),
        splits.Piece("cellar_1", "train", (0, 67)),
        splits.Piece("cellar_1", "validation", (72, 100)),
    ]


@pytest.mark.parametrize("frames", range(5, 40))
def test_every_split_of_a_single_recording_has_frames_and_gaps(frames):
    pieces = splits.pieces_of(splits.HashSplit(), {"attic": frames})
    assert [piece.split for piece in pieces] == list(splits.SPLITS)
    spans = [piece.frames for piece in pieces if piece.frames]
    assert all(start < stop for start, stop in spans)
    assert spans[0][0] == 0 and spans[-1][1] == frames
    assert spans[0][1] < spans[1][0] and spans[1][1] < spans[2][0]


def test_too_few_frames_to_divide_are_refused():
    with pytest.raises(ValueError, match="attic has 4 frames: expected at least 5"):
        splits.pieces_of(splits.HashSplit(), {"attic": 4})


def test_a_pattern_tells_the_space():
    split = splits.HashSplit(space_of=splits.Spaces(r"^([a-z]+)\d"))
    scans = {f"{room}{visit}": 9 for room in ("attic", "cellar", "hall") for visit in (1, 2)}
    pieces = splits.pieces_of(split, scans)
    assert len({(piece.scan[:-1], piece.split) for piece in pieces}) == 3
    with pytest.raises(ValueError, match="does not match the recording 'Attic'"):
        splits.pieces_of(split, {"Attic": 9})
    with pytest.raises(ValueError, match="expected a regular expression"):
        splits.Spaces("(")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_lists_of_any_editor_name_recordings_of_any_form(tmp_path, encoding):
    rooms = {"train": "attic", "validation": "b\u00fcro", "test": "hall"}
    for split, room in rooms.items():
        (tmp_path / split).write_bytes(f"{room}\r\n".encode(encoding))
    train, validation, test = (str(tmp_path / name) for name in splits.SPLITS)
    split = splits.FileSplit(train, validation, test)
    pieces = splits.pieces_of(split, dict.fromkeys([*rooms.values(), "shed"], 9))
    assert {piece.split: piece.scan for piece in pieces} == rooms
