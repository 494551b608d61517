import pytest

from psp_jax.models import parts, segmenter

TREE = {"trunk": {"stage1": {"a": 1}, "stage10": {"a": 2}}, "head": {"b": 3}}


def test_split_takes_the_parts_and_merge_undoes_it():
    trained, frozen = parts.split(TREE, ("trunk/stage1", "head"))
    assert trained == {"trunk": {"stage1": {"a": 1}}, "head": {"b": 3}}
    assert frozen == {"trunk": {"stage10": {"a": 2}}}
    assert parts.merge(trained, frozen) == TREE


def test_a_part_is_a_whole_name_not_a_prefix_of_one():
    assert parts.covers(("trunk/stage1",), "trunk/stage1/a")
    assert not parts.covers(("trunk/stage1",), "trunk/stage10/a")


def test_parts_seen_from_inside_a_child():
    assert parts.inside(("trunk",), "trunk") == ("",)
    assert parts.inside(("trunk/stage1", "head"), "trunk") == ("stage1",)
    assert parts.inside(("head",), "trunk") == ()
    assert parts.inside(("",), "stage1") == ("",)


def test_an_unknown_part_fails_with_a_suggestion():
    known = segmenter.Segmenter().make(1).PARTS
    with pytest.raises(ValueError, match="'haed'.*did you mean 'head'"):
        parts.check(known, ("haed",))
    with pytest.raises(ValueError, match="'trunk/stage4/block1'.*did you mean 'trunk/stage4'"):
        parts.check(known, ("trunk/stage4/block1",))
    with pytest.raises(ValueError, match="names 3"):
        parts.check(known, (3,))  # pyright: ignore
    with pytest.raises(ValueError, match=r"train=\(\)"):
        parts.check(known, ())
