from collections import Counter

import pytest

from data_builders.scannet_frontiers import splits


def test_rescans_of_a_space_share_its_split():
    scans = [f"scene{9000 + space}_{visit:02d}" for space in range(60) for visit in range(3)]
    split_of = splits.HashSplit()(scans)
    spaces = {split: set() for split in splits.SPLITS}
    for scan, split in split_of.items():
        spaces[split].add(splits.space_of(scan))
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


def test_an_id_of_another_form_is_refused():
    with pytest.raises(ValueError, match="'room_1'"):
        splits.space_of("room_1")
