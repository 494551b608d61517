"""Tests every file in configs/."""

import dataclasses
import functools
import importlib.util
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax import data, experiment, prepared, presets
from psp_jax.io import ranges
from psp_jax.models import parts, resnet
from tests.batches import make_batch
from tests.scans import small_config

CONFIGS = sorted((pathlib.Path(__file__).parents[1] / "configs").glob("*.py"))
EVERY = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
VARIANT = pytest.mark.parametrize("variant", ["rooms", "scannet"])
SIZE = (48, 64)  # Small; networks take any size.


def module_of(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@EVERY
@VARIANT
def test_every_config_is_valid_and_survives_its_text_form(tmp_path, path, variant):
    module = module_of(path)
    config = module.get_config(variant)
    experiment.check(config)
    model = config.model.make(config.objective.channels)
    for phase in config.phases:
        parts.check(model.PARTS, phase.train)
    experiment.save(config, tmp_path)
    assert experiment.load(tmp_path) == config
    assert config.name == path.stem + ("" if variant == "rooms" else f"-{variant}")
    assert module.__doc__ and f"--config=configs/{path.name}\n" in module.__doc__
    assert f"--config=configs/{path.name}:scannet\n" in module.__doc__
    with pytest.raises(ValueError, match="'kitchen'"):
        module.get_config("kitchen")


BAD = (math.nan, math.inf, -math.inf, -1, 0)  # 1e400 is read as inf.


def numbers_of(tree, path=()):
    """Yields the path of every number in a tree of dataclasses, with its field and owner."""
    for field in dataclasses.fields(tree):
        value = getattr(tree, field.name)
        parts = enumerate(value) if isinstance(value, tuple) else [(None, value)]
        for index, part in parts:
            at = (*path, field.name) if index is None else (*path, field.name, index)
            if dataclasses.is_dataclass(part):
                yield from numbers_of(part, at)
            elif isinstance(part, int | float) and not isinstance(part, bool):
                yield at, field, tree


def replaced(tree: Any, path, value) -> Any:
    """Returns a copy of a tree in which one number has another value."""
    if not path:
        return value
    part, *rest = path
    if isinstance(part, int):
        return (*tree[:part], replaced(tree[part], rest, value), *tree[part + 1 :])
    return dataclasses.replace(tree, **{part: replaced(getattr(tree, part), rest, value)})


@EVERY
def test_every_number_of_a_config_is_in_its_declared_range_or_refused_by_name(path):
    """Not finite, negative and zero, unless the declaration of the field allows it."""
    fields = {
        (type(owner), at[-1]): (config, at, field, owner)
        for config in map(module_of(path).get_config, ("rooms", "scannet"))
        for at, field, owner in numbers_of(config)
    }
    assert len(fields) > 30
    for config, at, field, owner in fields.values():
        range_, kind = ranges.declared(field), type(functools.reduce(part_of, at, config))
        for bad in BAD:
            changed = replaced(config, at, kind(bad) if math.isfinite(bad) else bad)
            try:
                experiment.check(changed)
            except ValueError as error:
                assert field.name in str(error) and "\n" not in str(error), (at, bad, error)
            else:
                assert range_ and range_.holds(bad, owner), f"{at}={bad} is accepted"


def part_of(tree, part):
    return tree[part] if isinstance(part, int) else getattr(tree, part)


@EVERY
@pytest.mark.parametrize("variant", presets.PREPARED)
def test_every_config_trains_on_a_prepared_data_set_of_any_recordings(
    data_dir, tmp_path, path, variant
):
    """As on drawn rooms or on ScanNet, but for the data and the runs that it starts from."""
    config = module_of(path).get_config(variant)
    experiment.check(config)
    experiment.save(config, tmp_path)
    assert experiment.load(tmp_path) == config
    assert config.name.startswith(path.stem)
    with pytest.raises(FileNotFoundError, match="there is small. Build one with"):
        config.data.source = prepared.Prepared(data_dir=str(data_dir))
        assert config.data.source.size() is None and config.data.source.color_scale == 1
        config.data.source.check()
    config.data.source.name = "small"
    examples = data.open_splits(config.data.source.prepare())["train"]
    data.check_labels(examples, config.data)
    assert config.data.source.size() == data.image_size(examples)
    assert config.data.source.segmentations() == small_config().segmentations
    scale = module_of(path).get_config(presets.PREPARED[variant])
    assert (config.model, config.objective, config.phases) == (
        (scale.model, scale.objective, scale.phases)
    )


def small(model):
    """A copy with the smallest ResNet for each one: outputs have the same shape."""
    if isinstance(model, resnet.ResNet):
        return resnet.ResNet(10, width=4)
    if not dataclasses.is_dataclass(model) or isinstance(model, type):
        return model
    fields = {each.name: small(getattr(model, each.name)) for each in dataclasses.fields(model)}
    return dataclasses.replace(model, **fields)


@functools.cache
def output_shape(model, size):
    image = jax.ShapeDtypeStruct((1, *size, model.INPUT_CHANNELS), jnp.float32)
    output, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), image)
    return output.shape


def trained_in(path):
    """Lists the small networks of a config, with their objectives; most variants have the same."""
    pairs = []
    for config in map(module_of(path).get_config, ("rooms", "scannet")):
        pair = small(config.model), config.objective
        if pair not in pairs:
            pairs.append(pair)
    return [pytest.param(*pair, id=f"{path.stem}-{index}") for index, pair in enumerate(pairs)]


@pytest.mark.parametrize(
    ("network", "objective"), [pair for path in CONFIGS for pair in trained_in(path)]
)
def test_every_objective_trains_on_outputs_of_its_model(network, objective):
    """Only shapes of the model, and the loss of random outputs."""
    model = network.make(objective.channels)
    shape = output_shape(model, SIZE)
    rng = np.random.default_rng(0)
    batch = make_batch(rng.uniform(0.5, 6, (1, *SIZE)))
    batch.frontier[:] = rng.integers(0, 16, batch.frontier.shape)

    @jax.jit
    def step(output):
        loss, gradient = jax.value_and_grad(lambda x: objective.loss(x, batch).value())(output)
        return loss, gradient, objective.predict(output, SIZE)

    loss, gradient, prediction = step(jnp.asarray(rng.normal(size=shape), jnp.float32))
    assert np.isfinite(loss) and np.isfinite(gradient).all() and np.abs(gradient).max() > 0
    for array in jax.tree.leaves(prediction):
        assert array.shape[:3] == (1, *SIZE)
