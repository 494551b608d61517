import dataclasses
import json
import os
import pathlib
import signal
from typing import Any

import jax
import numpy as np
import pytest

from psp_jax import data, experiment, feature_cache, objectives, state, train
from psp_jax.evaluation import run_report
from psp_jax.models import architecture, decoder, segmenter
from psp_jax.runtime import metric_log
from tests.experiments import make_tiny


@pytest.fixture(scope="module")
def heads(data_dir, tmp_path_factory) -> experiment.Experiment:
    """Trains a head, then its classifier alone, from kept features of the trunk."""
    config = make_tiny(data_dir)
    config.phases = (
        experiment.Phase(steps=6, train=("pyramid", "head", "classifier")),
        experiment.Phase(steps=4, train=("classifier",)),
    )
    config.cache_features = str(tmp_path_factory.mktemp("features"))
    return config


@pytest.fixture(scope="module")
def opened(heads):
    """The network, its variables, the splits as they are, and what is made of them."""
    network: Any = heads.model.make(1)
    variables = state.initial_variables(network, (48, 64, 3), 0)
    place = heads.data.source.prepare()
    splits = data.open_splits(place)
    rest, kept = feature_cache.open_or_build(heads, network, variables, splits, place)
    return network, variables, splits, rest, kept


def files_in(config: experiment.Experiment) -> dict[str, float]:
    found = pathlib.Path(config.cache_features).glob("*/*.array_record")
    return {str(path): path.stat().st_mtime_ns for path in found}


def test_the_rest_of_a_network_makes_of_features_what_the_whole_makes_of_images(heads, opened):
    network, variables, splits, rest, kept = opened
    flips = dataclasses.replace(heads.data, flip_probability=0.5)
    plain = data.train_batches(splits["train"], flips, seed=0, first_step=0)
    cached = data.train_batches(kept["train"], flips, seed=0, first_step=0)
    whole, part = jax.jit(network.apply), jax.jit(rest.apply)
    for _ in range(2):  # Eight images, mirrored and not.
        one, other = next(plain), next(cached)
        for name in ("depth", "frontier", "filled"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert other.image.shape == (*one.image.shape[:3], 0)
        expected = np.asarray(whole(variables, network.inputs(one)))
        actual = np.asarray(part(variables, rest.inputs(other)))
        # float16 rounds by 5e-4 of a feature.
        np.testing.assert_allclose(actual, expected, atol=1e-3 * np.abs(expected).max())
        losses = [heads.objective.loss(output, one).value() for output in (expected, actual)]
        np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    (first, *_) = data.eval_batches(kept["validation"], heads.data)
    assert first.features is not None and first.features.dtype == np.float16


def test_features_are_computed_once_and_those_of_other_weights_never_used(heads, opened):
    network, variables, splits, _, _ = opened
    before, place = files_in(heads), heads.data.source.prepare()
    assert len(before) == 2
    feature_cache.open_or_build(heads, network, variables, splits, place)
    assert files_in(heads) == before
    kernel = variables["params"]["trunk"]["stem"]["conv1"]["kernel"]
    stem = {"conv1": {"kernel": kernel + 1e-6}}
    params = variables["params"]
    trunk = params["trunk"] | {"stem": params["trunk"]["stem"] | stem}
    others = variables | {"params": params | {"trunk": trunk}}
    feature_cache.open_or_build(heads, network, others, splits, place)
    assert len(files_in(heads)) == 4
    # What is trained does not count.
    others = variables | {"params": params | {"head": jax.tree.map(np.zeros_like, params["head"])}}
    feature_cache.open_or_build(heads, network, others, splits, place)
    assert len(files_in(heads)) == 4


def test_what_a_killed_build_left_is_built_anew(heads, opened):
    network, variables, splits, _, _ = opened
    place = heads.data.source.prepare()
    for path in map(pathlib.Path, files_in(heads)):
        content = path.read_bytes()
        path.unlink()
        path.with_suffix(".partial").write_bytes(content[:1000])
    _, kept = feature_cache.open_or_build(heads, network, variables, splits, place)
    built = [pathlib.Path(path) for path in files_in(heads)]
    assert len(built) == 2 and not list(built[0].parent.glob("*.partial"))
    assert len(kept["train"]) == len(splits["train"])


def test_a_run_on_features_goes_on_bit_identically_with_averages_and_accumulated_batches(
    heads, tmp_path, monkeypatch
):
    """Broken off within a phase, between two, and within the second."""
    first = dataclasses.replace(heads.phases[0], steps=4, accumulate=2, ema_decay=0.9)
    second = dataclasses.replace(heads.phases[1], steps=4, accumulate=3, ema_decay=0.5)
    heads = dataclasses.replace(
        heads, objective=objectives.DepthBins(bins=8), phases=(first, second)
    )
    breaks, ends = (), []

    def advance(progress, losses):
        ends.append(len(ends) + 1)
        if ends[-1] in breaks:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(metric_log.Progress, "advance", advance)
    monkeypatch.setattr(run_report, "report", lambda *unused: None)
    whole = train.run(heads, str(tmp_path / "whole"))
    breaks = (2, 4, 7)
    ends.clear()
    for _ in breaks:
        with pytest.raises(SystemExit):
            train.run(heads, str(tmp_path / "parts"))
    resumed = train.run(heads, str(tmp_path / "parts"))
    assert len(ends) == 8
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)
    one, other = (
        [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("whole", "parts")
    )
    for name in ("step", "validation_loss", "validation_loss/gradient"):
        assert [record[name] for record in one] == [record[name] for record in other]
    for which in ("train", "validation"):
        terms = [one[-1][f"{which}_loss/{name}"] for name in ("cross_entropy", "silog", "gradient")]
        np.testing.assert_allclose(one[-1][f"{which}_loss"], np.dot(terms, (1, 1, 0.5)), rtol=1e-5)
    start = state.initial_variables(heads.model.make(1), (64, 64, 3), heads.seed)
    frozen = whole.params["trunk"], start["params"]["trunk"]
    jax.tree.map(np.testing.assert_array_equal, *frozen)
    trained = whole.params["head"], start["params"]["head"]
    assert not any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), *trained)))


def test_a_disk_without_room_is_said_before_anything_is_written(heads, opened, monkeypatch):
    network, variables, splits, _, _ = opened
    monkeypatch.setattr(feature_cache, "SPARE_BYTES", 2**60)
    other = dataclasses.replace(heads, data=dataclasses.replace(heads.data, train_share=0.5))
    before = files_in(heads)
    with pytest.raises(OSError, match="cache_features=.* GB are needed"):
        feature_cache.open_or_build(other, network, variables, splits, heads.data.source.prepare())
    assert files_in(heads) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phases": (experiment.Phase(steps=1, train=("trunk/stage4", "head")),)}, "stage4"),
        ({"model": decoder.FullResolution()}, "only a Segmenter"),
        ({"model": segmenter.Segmenter(sight=architecture.Sight.RGBD)}, "RGB and depth"),
    ],
)
def test_networks_that_cannot_go_on_from_features_are_refused(heads, changes, message):
    config = dataclasses.replace(heads, **changes)
    with pytest.raises(experiment.ConfigError, match=f"cache_features=.*{message}"):
        feature_cache.check(config)
    feature_cache.check(dataclasses.replace(config, cache_features=""))
