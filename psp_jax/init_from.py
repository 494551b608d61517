"""Variables that a run starts from: initial ones, replaced by those of `config.init_from`.

A source is the workdir of an earlier run, an exported model, `pretrained` (the model that ships), a
file of weights, or `imagenet`: the weights of the trunk in an installed package. Arrays are matched
by their paths.
The first convolution is adapted to another number of inputs; classifiers with another number of
outputs, and arrays that the source does not have, keep their initial values.
"""

import dataclasses
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax import checkpoints, experiment, state
from psp_jax.experiment import ConfigError
from psp_jax.models.architecture import differences
from psp_jax.models.efficientnet_lite import EfficientNetLiteTrunk
from psp_jax.models.pspnet import PSPNet
from psp_jax.models.two_phase import TwoPhaseNetwork
from psp_jax.state import Variables
from psp_jax.weights import efficientnet, pretrained, reading
from psp_jax.weights.network import flatten

IMAGENET = "imagenet"  # The source that is an installed package; a folder would be ./imagenet.
SMALL_IMAGE = (64, 64)  # The variables do not depend on the size of the image.
RGB = 3
FIRST_KERNEL = "params/trunk/stem/conv1/kernel"
# Their shapes depend on the outputs.
CLASSIFIERS = ("classifier", "auxiliary/classifier", "softmax", "decoder/classifier")
OPTIONAL = ("auxiliary", "softmax", "classifier", "decoder")  # Parts that a model may lack.


def check(config: experiment.Experiment, model: Any) -> None:
    """Finds reasons why a model cannot start from the sources of its config.

    Raises:
        ValueError: if a source can't be read or has another trunk or architecture, or if the
            model has no part of that name.
        OSError: if a source does not exist or is not installed.
    """
    for name, source in _sources(config).items():
        network = _part(model, name)
        if _is_run(source):
            _check_run(source, network)
        else:
            _read_file(source, network)


def start(config: experiment.Experiment, model: Any) -> tuple[Variables, list[str]]:
    """Returns the variables that a run starts from, and lines that report their origin.

    Raises:
        ValueError, OSError: see `check`; also if an array of a source has no place in the model.
    """
    return take(config, model, drawn(config, model))


def take(
    config: experiment.Experiment, model: Any, variables: Variables
) -> tuple[Variables, list[str]]:
    """Replaces variables by those of the sources of a config; see `start`."""
    report = []
    for name, source in _sources(config).items():
        network = _part(model, name)
        if not name:
            return _take_one(source, network, variables)
        own = {collection: tree[name] for collection, tree in variables.items()}
        own, lines = _take_one(source, network, own)
        variables = {c: {**tree, name: own[c]} for c, tree in variables.items()}
        report += [f"{name}: {line}" for line in lines]
    return variables, report


def _take_one(source: str, model: Any, variables: Variables) -> tuple[Variables, list[str]]:
    """Replaces variables of a model by those of one source; see `start`."""
    given, report = _read(source, model)
    own = flatten(variables)
    report += _adapt_inputs(given, own)
    report += _drop_classifiers(given, own)
    report += _match(source, given, own)
    merged = [
        jnp.asarray(given[path], leaf.dtype) if path in given else leaf
        for path, leaf in own.items()
    ]
    return jax.tree.unflatten(jax.tree.structure(variables), merged), report


def drawn(config: experiment.Experiment, model: Any) -> Variables:
    """Draws the initial variables of a model with the seed of the config."""
    return state.initial_variables(model, (*SMALL_IMAGE, model.INPUT_CHANNELS), config.seed)


def shapes(model: Any) -> Variables:
    """Returns the shapes and types of `drawn` without computing it."""
    image = jax.ShapeDtypeStruct((1, *SMALL_IMAGE, model.INPUT_CHANNELS), np.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image)


def _sources(config: experiment.Experiment) -> dict[str, str]:
    """Returns the source of each part; the name "" is the whole model."""
    sources = {"": config.init_from} if config.init_from else config.init_from_parts
    return {
        name: source if source == IMAGENET else str(pretrained.locate(source))
        for name, source in sources.items()
    }


def _part(model: Any, name: str) -> Any:
    """Returns the network of a part of a model, or the model if the name is empty."""
    if not name:
        return model
    parts = ("depth", "frontier") if isinstance(model, TwoPhaseNetwork) else ()
    if name not in parts:
        expected = (
            f"expected one of {', '.join(parts)}" if parts else "set config.init_from instead"
        )
        raise ConfigError(f"config.init_from_parts names {name!r}; {expected}")
    return getattr(model, name)


def _read(source: str, model: Any) -> tuple[dict[str, Any], list[str]]:
    """Returns the arrays of a source by their paths, and notes on how they were read."""
    if _is_run(source):
        _check_run(source, model)
        return flatten(pretrained.load(pathlib.Path(source)).variables), []
    variables, notes = _read_file(source, model)
    return flatten(variables), notes


def _is_run(source: str) -> bool:
    return source != IMAGENET and pathlib.Path(source).is_dir()


def _check_run(source: str, model: Any) -> None:
    if not pretrained.is_exported(pathlib.Path(source)):
        checkpoints.require(source)
    run = experiment.load(source)
    donor = run.model.make(run.objective.channels)
    if isinstance(donor, PSPNet) and isinstance(model, PSPNet):
        _check_network(source, donor, model)


def _read_file(source: str, model: Any) -> tuple[Variables, list[str]]:
    """Returns the variables of a file or an installed package, and notes on them."""
    path = pathlib.Path(source)
    if source != IMAGENET and not path.exists():
        raise FileNotFoundError(f"config.init_from={source}: there is no such workdir or file")
    if not isinstance(model, PSPNet):
        raise ConfigError(
            f"config.init_from={source}: files hold the weights of a PSPNet, the model is a "
            f"{type(model).__name__}; name a workdir"
        )
    if isinstance(model.trunk, EfficientNetLiteTrunk):
        variant = model.trunk.variant
        path = efficientnet.installed(variant) if source == IMAGENET else path
        variables, notes = efficientnet.load(path, variant)
        return variables, [f"{IMAGENET} is {path}", *notes] if source == IMAGENET else notes
    if source == IMAGENET:
        raise ConfigError(
            f"config.init_from={source}: expected the trunk EfficientNetLite, got "
            f"{type(model.trunk).__name__}; name a file, such as one of torchvision's"
        )
    weights = reading.load(path, model.architecture)
    _check_network(source, weights.network.make(), model)
    return weights.variables, list(weights.notes)


def _check_network(source: str, donor: PSPNet, model: PSPNet) -> None:
    """Raises ConfigError if two networks differ in their trunks or architectures."""
    theirs, ours = _trunk_fields(donor.trunk), _trunk_fields(model.trunk)
    wrong = [
        f"{name}: {theirs[name]} against {ours[name]}"
        for name in (theirs if theirs["trunk"] == ours["trunk"] else ["trunk"])
        if theirs[name] != ours[name]
    ]
    wrong += differences(donor.architecture, model.architecture)
    if wrong:
        raise ConfigError(
            f"config.init_from={source} is of another network than config.model: {'; '.join(wrong)}"
        )


def _trunk_fields(trunk: Any) -> dict[str, Any]:
    """Returns the class of a trunk and the fields that decide on its arrays."""
    other = ("architecture", "remat", "parent", "name")
    fields = [f.name for f in dataclasses.fields(trunk) if f.name not in other]
    return {"trunk": type(trunk).__name__, **{name: getattr(trunk, name) for name in fields}}


def _adapt_inputs(given: dict[str, Any], own: dict[str, Any]) -> list[str]:
    """Adapts the first convolution in `given` to the inputs of the model."""
    if FIRST_KERNEL not in given or FIRST_KERNEL not in own:
        return []
    inputs, expected = given[FIRST_KERNEL].shape[2], own[FIRST_KERNEL].shape[2]
    if inputs == expected:
        return []
    given[FIRST_KERNEL] = adapt_inputs(np.asarray(given[FIRST_KERNEL]), expected)
    return [f"the first convolution is adapted from {inputs} to {expected} inputs"]


def adapt_inputs(kernel: np.ndarray, inputs: int) -> np.ndarray:
    """Adapts a first convolution to another number of channels, as timm does.

    One channel gets the sum over the colours, so that a gray image gives the same outputs as in
    RGB. More channels repeat the kernels of the colours, times 3 / inputs, which keeps the
    magnitude of the outputs.

    Args:
        kernel: `[k, k, 3, O]`, of colours.
        inputs: new number of channels.

    Returns:
        `[k, k, inputs, O]`.

    Raises:
        ValueError: if the kernel does not take three channels.
    """
    if kernel.shape[2] != RGB:
        raise ValueError(
            f"the first convolution cannot be adapted to {inputs} inputs: expected one of {RGB} "
            f"inputs, got {kernel.shape[2]}"
        )
    if inputs == 1:
        return kernel.sum(axis=2, keepdims=True)
    repeats = math.ceil(inputs / RGB)
    return np.tile(kernel, (1, 1, repeats, 1))[:, :, :inputs] * np.float32(RGB / inputs)


def _drop_classifiers(given: dict[str, Any], own: dict[str, Any]) -> list[str]:
    """Removes classifiers with another number of outputs from `given`."""
    report = []
    for name in CLASSIFIERS:
        paths = [path for path in given if path.startswith(f"params/{name}/") and path in own]
        if any(given[path].shape != own[path].shape for path in paths):
            theirs, ours = (tree[paths[0]].shape[-1] for tree in (given, own))
            report.append(f"the {name} is reinitialised: {theirs} outputs there, {ours} here")
            for path in paths:
                del given[path]
    return report


def _match(source: str, given: dict[str, Any], own: dict[str, Any]) -> list[str]:
    """Reports which arrays are taken, cast, left out and initialised.

    Raises:
        ConfigError: if an array of the source has another shape, or no place in the model.
    """
    extra = [path for path in given if path not in own]
    wrong = [
        f"{path} is {given[path].shape} there, {own[path].shape} here"
        for path in given
        if path in own and given[path].shape != own[path].shape
    ] or [path for path in extra if path.split("/")[1] not in OPTIONAL]
    if wrong:
        raise ConfigError(
            f"config.init_from={source}: {len(wrong)} of its {len(given)} arrays do not fit this "
            f"model, such as {wrong[0]}"
        )
    new = [path for path in own if path not in given]
    line = f"{len(own) - len(new)} of {len(own)} arrays are from {source}"
    line += f"; {len(new)} are initialised: {_parts(new)}" if new else ""
    report = [f"its {_parts(extra)} is left out: the model has none"] if extra else []
    report.append(line)
    cast = [path for path in given if path in own and given[path].dtype != own[path].dtype]
    if cast:
        types = ", ".join(sorted({str(given[path].dtype) for path in cast}))
        report.append(f"{len(cast)} arrays are cast from {types}, such as {cast[0]}")
    return report


def _parts(paths: list[str]) -> str:
    return ", ".join(sorted({path.split("/")[1] for path in paths}))
