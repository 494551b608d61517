import dataclasses
import itertools
import json
import re
import shutil
import types

import cv2
import jax
import numpy as np
import pytest

from benchmarks import damage
from data_builders.scannet_frontiers import examples as examples_module
from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset
from psp_jax import cache, data
from psp_jax.io import manifest
from psp_jax.partition import frontier_classes
from tests.scans import SIZE, make_frame, small_config, write_scan


@pytest.fixture
def examples(tiny):
    return data.open_splits(tiny.data.source.prepare())["train"]


def take(examples, config, count, *, seed=0, first_step=0):
    batches = data.train_batches(examples, config, seed=seed, first_step=first_step)
    return [next(batches) for _ in range(count)]


def assert_equal(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_the_batch_of_a_step_is_a_function_of_seed_and_step(examples, tiny):
    steps = 2 * data.steps_per_epoch(examples, tiny.data) + 1
    once = take(examples, tiny.data, steps)
    for first_step in (1, steps // 2, steps - 1):
        (batch,) = take(examples, tiny.data, 1, first_step=first_step)
        assert_equal(batch, once[first_step])
    more_threads = dataclasses.replace(tiny.data, threads=5)
    assert_equal(take(examples, more_threads, steps), once)
    other = take(examples, tiny.data, 1, seed=1)[0]
    assert not np.array_equal(other.image, once[0].image)


def test_an_epoch_shows_different_images_and_the_next_one_another_order(examples, tiny):
    config = dataclasses.replace(tiny.data, flip_probability=0.0)
    per_epoch = data.steps_per_epoch(examples, config)
    epochs = take(examples, config, 2 * per_epoch)
    seen = [[image.tobytes() for batch in part for image in np.asarray(batch.image)]
            for part in (epochs[:per_epoch], epochs[per_epoch:])]  # fmt: skip
    assert len(set(seen[0])) == len(seen[0]) == per_epoch * config.batch_size
    assert seen[0] != seen[1]


def test_a_flipped_example_is_the_mirror_image_with_left_and_right_swapped(examples, tiny):
    never = dataclasses.replace(tiny.data, flip_probability=0.0)
    always = dataclasses.replace(tiny.data, flip_probability=1.0)
    plain, flipped = take(examples, never, 1)[0], take(examples, always, 1)[0]
    np.testing.assert_array_equal(flipped.image, plain.image[:, :, ::-1])
    np.testing.assert_array_equal(flipped.depth, plain.depth[:, :, ::-1])
    np.testing.assert_array_equal(flipped.filled, plain.filled[:, :, ::-1])
    np.testing.assert_array_equal(
        flipped.frontier, frontier_classes.mirror(np.asarray(plain.frontier))
    )
    left = np.asarray(plain.frontier) & 1 == 1
    mirrored_right = np.asarray(flipped.frontier)[:, :, ::-1] & 4 == 4
    np.testing.assert_array_equal(left, mirrored_right)


def test_filled_pixels_carry_no_truth_unless_asked_for(examples, tiny):
    record = examples[0]
    assert record["filled"].any()
    without = data.example_of(record, tiny.data)
    assert (without.depth[record["filled"]] == 0).all()
    np.testing.assert_array_equal(without.filled, record["filled"])
    np.testing.assert_allclose(
        without.depth[~record["filled"]], record["depth"][~record["filled"]] / 1000, rtol=1e-6
    )
    with_them = data.example_of(record, dataclasses.replace(tiny.data, ignore_filled=False))
    assert (with_them.depth > 0).all()
    assert not np.asarray(with_them.filled).any()


@pytest.mark.parametrize("labels", ["seeds", "planar"])
def test_the_label_set_of_the_config_is_read_and_is_a_whole_partition(examples, tiny, labels):
    config = dataclasses.replace(tiny.data, labels=labels)
    data.check_labels(examples, config)
    example = data.example_of(examples[0], config)
    np.testing.assert_array_equal(example.frontier, examples[0][f"frontier_{labels}"])
    assert frontier_classes.decode_exact(np.asarray(example.frontier)).max() > 0


def test_a_label_set_that_the_data_set_lacks_is_named(examples, tiny):
    with pytest.raises(ValueError, match="labels='planr': the data set has .*seeds"):
        data.check_labels(examples, dataclasses.replace(tiny.data, labels="planr"))


def test_readings_beyond_the_range_are_none(examples, tiny):
    record = examples[0]
    limit_m = float(np.median(record["depth"])) / 1000
    example = data.example_of(record, dataclasses.replace(tiny.data, max_depth_m=limit_m))
    assert example.depth.max() <= limit_m
    assert (example.depth[record["depth"] / np.float32(1000) > limit_m] == 0).all()


@pytest.mark.parametrize("batches", [data.train_batches, data.eval_batches])
def test_a_cache_changes_no_batch_and_decodes_every_record_once(examples, tiny, batches):
    config = dataclasses.replace(tiny.data, batch_size=5, threads=3)
    start = {"seed": 3, "first_step": 2} if batches is data.train_batches else {}
    cached = cache.Cached(examples, config.labels)
    for _ in range(2):
        plain, same = (list(itertools.islice(batches(each, config, **start), 20))
                       for each in (examples, cached))  # fmt: skip
        assert_equal(plain, same)
    assert cached[3] is cached[3]
    record = examples[3]
    for name, value in cached[3].items():
        np.testing.assert_array_equal(value, record[name])
    assert data.origins(cached, config, seed=0, step=1) == data.origins(
        examples, config, seed=0, step=1
    )


def test_the_cache_prints_its_size_and_is_refused_where_it_does_not_fit(
    examples, tiny, monkeypatch, capsys
):
    splits = {"train": examples, "validation": examples, "test": examples}
    cached = cache.cached(splits, tiny.data)
    record = examples[0]
    kept = [record[name] for name in ("image", "depth", "filled", "frontier_seeds")]
    needed = 2 * len(examples) * sum(array.nbytes for array in kept)
    assert cache.Cached(examples, "seeds").full_bytes() * 2 == needed and cached["test"] is examples
    assert f"{2 * len(examples)} decoded images" in capsys.readouterr().out
    memory = types.SimpleNamespace(available=needed - 1)
    monkeypatch.setattr(cache.psutil, "virtual_memory", lambda: memory)
    with pytest.raises(ValueError, match="config.data.cache=True: expected at most .* GB"):
        cache.cached(splits, tiny.data)


def test_evaluation_sees_every_example_once_in_order_and_marks_the_padding(examples, tiny):
    config = dataclasses.replace(tiny.data, batch_size=5)
    assert len(examples) % 5
    batches = list(data.eval_batches(examples, config))
    assert all(batch.image.shape[0] == 5 for batch in batches)
    valid = np.concatenate([batch.valid for batch in batches])
    assert valid.sum() == len(examples) and valid[: len(examples)].all()
    depth = np.concatenate([batch.depth for batch in batches])[valid]
    np.testing.assert_array_equal(
        depth[-1], data.example_of(examples[len(examples) - 1], config).depth
    )
    assert not batches[-1].depth[~batches[-1].valid].any()


def test_too_few_images_for_a_batch_are_refused(examples, tiny):
    config = dataclasses.replace(tiny.data, batch_size=1000)
    with pytest.raises(ValueError, match="batch_size=1000.*36"):
        data.train_batches(examples, config, seed=0, first_step=0)


def test_places_are_those_of_the_records(examples):
    places = data.places(examples)
    records = [examples[index] for index in range(len(examples))]
    assert places["scene_id"] == [record["scene_id"].decode() for record in records]
    assert places["space_id"] == [record["space_id"].decode() for record in records]
    assert places["frame_index"] == [int(record["frame_index"]) for record in records]


def test_a_jpeg_with_a_flipped_bit_is_refused_with_the_name_of_its_record(tmp_path, monkeypatch):
    scans = tmp_path / "scans"
    rng = np.random.default_rng(0)
    for space in range(9000, 9005):
        write_scan(scans, f"scene{space}_00", [make_frame(rng)])
    original = examples_module.examples_of

    def flipped(scan, report, **kwargs):
        for key, example in original(scan, report, **kwargs):
            if scan.id == "scene9003_00":
                jpeg = bytearray(example["image"])
                jpeg[len(jpeg) // 2] ^= 1
                example["image"] = bytes(jpeg)
                assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) is not None
            yield key, example

    monkeypatch.setattr(examples_module, "examples_of", flipped)
    builder = dataset.Builder(config=small_config(), data_dir=tmp_path / "data")
    dataset.build(builder, manual_dir=str(scans))
    damaged, read = [], 0
    for examples in data.open_splits(str(builder.data_path)).values():
        for index in range(len(examples)):
            try:
                assert examples[index]["image"].shape == (*SIZE, 3)
                read += 1
            except data.DamagedError as error:
                damaged.append(str(error))
    assert read == 4 and len(damaged) == 1
    assert "record 0: scene9003_00 frame 0: the JPEG" in damaged[0]


def test_a_data_set_of_a_version_without_checksums_is_refused(data_dir, tmp_path):
    old = tmp_path / "small" / "3.0.0"
    shutil.copytree(data_dir / "scannet_frontiers" / "small" / "3.0.0", old)
    features = json.loads((old / "features.json").read_text())
    del features["featuresDict"]["features"]["image_crc32"]
    (old / "features.json").write_text(json.dumps(features))
    (old / manifest.FILE).unlink()
    with pytest.raises(OSError, match="built by an older version"):
        data.open_splits(str(old))


def test_a_flipped_bit_in_a_prepared_data_set_is_seen(data_dir, tmp_path):
    """In a shard by the hash of the record, which is named; in what describes it by a digest."""
    prepared = data_dir / "scannet_frontiers" / "small" / "3.0.0"
    rng = np.random.default_rng(0)
    whole = data.open_splits(str(prepared))["test"]
    for name in ("features.json", "dataset_info.json", "metadata.json"):
        copy = tmp_path / name
        shutil.copytree(prepared, copy)
        damage.flip(copy / name, rng)
        with pytest.raises(data.DamagedError, match=f"{name} is not the file that was written"):
            data.open_splits(str(copy))
        (copy / name).write_bytes(b"{")
        (copy / manifest.FILE).unlink()
        if name != "metadata.json":
            with pytest.raises(data.DamagedError, match=": .*build the data"):
                data.open_splits(str(copy))
    copy = tmp_path / "shard"
    shutil.copytree(prepared, copy)
    (shard,) = copy.glob("*test.array_record*")
    content = bytearray(shard.read_bytes())
    content[200] ^= 4  # Within the first record.
    shard.write_bytes(content)
    splits = data.open_splits(str(copy))
    bad = []
    for index in range(len(whole)):
        try:
            record = splits["test"][index]
        except data.DamagedError as error:
            bad.append(index)
            message = rf"test, record {index}: .*hash mismatch.*data\.skip_damaged"
            assert re.search(message, str(error))
        else:
            np.testing.assert_array_equal(record["image"], whole[index]["image"])
    assert len(bad) == 1


def test_damaged_records_are_left_out_where_that_is_asked_for(data_dir, tmp_path, capsys):
    prepared = data_dir / "scannet_frontiers" / "small" / "3.0.0"
    shutil.copytree(prepared, tmp_path / "copy")
    (shard,) = (tmp_path / "copy").glob("*test.array_record*")
    content = bytearray(shard.read_bytes())
    content[200] ^= 4
    shard.write_bytes(content)
    splits = data.open_splits(str(tmp_path / "copy"))
    kept = data.without_damaged(splits)
    count = len(splits["test"])
    assert [len(kept[name]) for name in ("train", "validation", "test")] == [
        len(splits["train"]), len(splits["validation"]), count - 1,
    ]  # fmt: skip
    said = capsys.readouterr().out
    assert f"test: 1 of {count} records are damaged" in said
    assert len(data.places(kept["test"])["scene_id"]) == count - 1
    for index in range(count - 1):
        assert (
            kept["test"][index]["scene_id"].decode() == data.places(kept["test"])["scene_id"][index]
        )


def test_an_error_in_a_loader_thread_reaches_the_training_with_its_place(examples, tiny):
    class Broken:
        def __len__(self):
            return len(examples)

        def __getitem__(self, index):
            raise data.DamagedError(f"record {index} is broken")

    batches = data.train_batches(Broken(), tiny.data, seed=0, first_step=0)
    with pytest.raises(data.DamagedError, match=r"record \d+ is broken") as caught:
        next(batches)
    assert "__getitem__" in [entry.name for entry in caught.traceback]


@pytest.mark.parametrize("batches", [data.train_batches, data.eval_batches])
def test_processes_that_read_their_own_rows_read_together_what_one_would(examples, tiny, batches):
    config = dataclasses.replace(tiny.data, batch_size=5)
    start = {"seed": 3, "first_step": 6} if batches is data.train_batches else {}
    parts = [[0, 1, 2], [3, 4]]
    whole, *shares = (
        list(itertools.islice(batches(examples, config, rows=rows, **start), 9))
        for rows in (None, *parts)
    )
    assert len(whole) == len(shares[0]) == len(shares[1]) > 7
    for batch, first, second in zip(whole, *shares, strict=True):
        assert_equal(batch, jax.tree.map(lambda *x: np.concatenate(x), first, second))
