"""Where a run starts from: the variables of `init_from` in a new model."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax import checkpoints, experiment, state
from psp_jax.models.architecture import differences
from psp_jax.models.pspnet import PSPNet
from psp_jax.models.two_phase import TwoPhaseNetwork
from psp_jax.state import Variables
from psp_jax.weights import reading, surgery
from psp_jax.weights.network import Network, flatten
from psp_jax.weights.reading import Weights

SMALL_IMAGE = (64, 64)  # The variables do not depend on the size that they are drawn for.
PSPNETS = PSPNet
FIRST_KERNEL = "params/trunk/stem/conv1/kernel"
PER_CLASS = ("classifier", "auxiliary/classifier", "softmax")  # Their shapes follow the outputs.
OPTIONAL = ("auxiliary", "softmax", "classifier", "decoder")
_FIELDS = ("depth", "width")


def check(source: str, model: Any) -> None:
    """Finds what would keep a model from starting with the weights of `source`.

    Raises:
        ValueError: if the source can't be read, or is of another depth, width or architecture, or if
            the model has no network of a name in it.
        OSError: if there is none.
    """
    for name, each in _networks(source):
        _check_one(each, _network_of(model, name))


def _networks(source: str) -> list[tuple[str, str]]:
    """Reads `depth=runs/a,frontier=runs/b`; a source without a name is of the whole model."""
    if not composes(source):
        return [("", source)]
    return [(name, each) for name, _, each in (item.partition("=") for item in source.split(","))]


def _network_of(model: Any, name: str) -> Any:
    if not name:
        return model
    if name not in model.PARTS or not isinstance(model, TwoPhaseNetwork):
        whole = [part for part in model.PARTS if "/" not in part]
        known = ", ".join(whole) if isinstance(model, TwoPhaseNetwork) else "only itself"
        raise experiment.ConfigError(
            f"config.init_from names the network {name!r}; the model has {known}"
        )
    return getattr(model, name)


def _check_one(source: str, model: Any) -> None:
    if pathlib.Path(source).is_dir():
        checkpoints.require(source)
        run = experiment.load(source)
        donor = run.model.make(run.objective.channels)
        if isinstance(donor, PSPNETS) and isinstance(model, PSPNETS):
            network = Network(
                donor.depth,
                donor.width,
                surgery.RGB,
                donor.channels,
                donor.auxiliary,
                donor.architecture,
            )
            _check_network(source, network, model)
    else:
        _load_file(source, model)


def start(config: experiment.Experiment, model: Any) -> tuple[Variables, list[str]]:
    """Draws the variables a run starts from, with those of `init_from` in their place.

    Returns:
        The variables, and where they come from, in words.
    """
    variables = drawn(config, model)
    return take(config.init_from, model, variables) if config.init_from else (variables, [])


def drawn(config: experiment.Experiment, model: Any) -> Variables:
    """Draws a model's variables by the seed of the config."""
    return state.initial_variables(model, (*SMALL_IMAGE, model.INPUT_CHANNELS), config.seed)


def shapes(model: Any) -> Variables:
    """Returns the shapes and types of what `drawn` would return, without drawing it."""
    image = jax.ShapeDtypeStruct((1, *SMALL_IMAGE, model.INPUT_CHANNELS), np.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image)


def composes(source: str) -> bool:
    """Tells whether a source puts networks of several runs together, as `depth=...` does."""
    return "=" in source


def take(source: str, model: Any, variables: Variables) -> tuple[Variables, list[str]]:
    """Puts the weights of a workdir, a converted or a foreign file into a model's variables.

    Where the number of classes differs the classifier stays as it is, where that of the inputs
    differs the first convolution is adapted; what `source` lacks stays as well.

    Args:
        source: workdir or file.
        model: the module that the variables are of.
        variables: initial ones.

    Returns:
        The new variables, and what was done, in words.

    Raises:
        ValueError: see `check`; also if an array has no place in the model.
    """
    words = []
    for name, each in _networks(source):
        network = _network_of(model, name)
        own = {kind: tree[name] for kind, tree in variables.items()} if name else variables
        own, said = _take_one(each, network, own)
        words += [f"{name}: {line}" for line in said] if name else said
        if name:
            own = {kind: {**tree, name: own[kind]} for kind, tree in variables.items()}
        variables = own
    return variables, words


def _take_one(source: str, model: Any, variables: Variables) -> tuple[Variables, list[str]]:
    if pathlib.Path(source).is_dir():
        _check_one(source, model)
        donor, words = checkpoints.load_variables(source), []
    else:
        weights = _load_file(source, model)
        donor, words = weights.variables, list(weights.notes)
    given, own = flatten(donor), flatten(variables)
    words += _fit_ends(given, own)
    unequal = [
        f"{path} is {given[path].shape} there, {own[path].shape} here"
        for path in given
        if path in own and given[path].shape != own[path].shape
    ]
    left = [path for path in given if path not in own]
    unused = [path for path in left if path.split("/")[1] in OPTIONAL]
    if unequal or len(left) > len(unused):
        wrong = unequal or [path for path in left if path not in unused]
        raise experiment.ConfigError(
            f"config.init_from={source}: {len(wrong)} of its {len(given)} arrays have no place in "
            f"this model, such as {wrong[0]}"
        )
    if unused:
        words.append(f"its {_parts(unused)} has no place in the model and is left out")
    new = [path for path in own if path not in given]
    words.append(
        f"{len(own) - len(new)} of {len(own)} arrays are those of {source}"
        + (f"; {len(new)} have no match in it and are new: {_parts(new)}" if new else "")
    )
    cast = [path for path in given if path in own and given[path].dtype != own[path].dtype]
    if cast:
        kinds = ", ".join(sorted({str(given[path].dtype) for path in cast}))
        words.append(f"{len(cast)} arrays are cast from {kinds}, such as {cast[0]}")
    taken = {
        path: jnp.asarray(given[path], leaf.dtype) if path in given else leaf
        for path, leaf in own.items()
    }
    return jax.tree.unflatten(jax.tree.structure(variables), list(taken.values())), words


def _load_file(source: str, model: Any) -> Weights:
    path = pathlib.Path(source)
    if not path.exists():
        raise FileNotFoundError(f"config.init_from={source}: there is no such workdir or file")
    weights = reading.load(path, model.architecture)
    _check_network(source, weights.network, model)
    return weights


def _check_network(source: str, network: Network, model: Any) -> None:
    found = [
        f"{name}: {getattr(network, name)} against {getattr(model, name)}"
        for name in _FIELDS
        if getattr(network, name) != getattr(model, name)
    ]
    found += differences(network.architecture, model.architecture)
    if found:
        raise experiment.ConfigError(
            f"config.init_from={source} is of another model than config.model: {'; '.join(found)}"
        )


def _fit_ends(given: dict[str, Any], own: dict[str, Any]) -> list[str]:
    """Adapts the first convolution, drops classifiers of other classes, and says so."""
    words = []
    both = FIRST_KERNEL in given and FIRST_KERNEL in own
    inputs, wanted = (side[FIRST_KERNEL].shape[2] if both else 0 for side in (given, own))
    if inputs != wanted:
        given[FIRST_KERNEL] = surgery.adapt_inputs(np.asarray(given[FIRST_KERNEL]), wanted)
        words.append(f"the first convolution is adapted from {inputs} to {wanted} inputs")
    for name in PER_CLASS:
        paths = [path for path in given if path.startswith(f"params/{name}/") and path in own]
        if any(given[path].shape != own[path].shape for path in paths):
            there, here = (tree[paths[0]].shape[-1] for tree in (given, own))
            words.append(f"the {name} is new: {there} outputs there, {here} here")
            for path in paths:
                del given[path]
    return words


def _parts(paths: list[str]) -> str:
    return ", ".join(sorted({path.split("/")[1] for path in paths}))
