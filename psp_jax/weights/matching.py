"""An archive against the network that its arrays make: what goes where, and what does not fit."""

import dataclasses
import pathlib
import re

import numpy as np

from psp_jax.models import resnet
from psp_jax.models.architecture import Architecture, differences
from psp_jax.state import Variables
from psp_jax.weights import layout, names
from psp_jax.weights.archive import Archive, Facts, Setting
from psp_jax.weights.network import Network, unflatten

SHOWN = 4  # Names that a message lists before it says how many more there are.


@dataclasses.dataclass(frozen=True)
class Row:
    """One array of the file: its name and shape there, and its path here, empty if it has none."""

    name: str
    shape: tuple[int, ...]
    path: str = ""
    fate: str = ""


@dataclasses.dataclass(frozen=True)
class Match:
    """An archive laid beside a network.

    Attributes:
        source: the family, in words.
        network: what the arrays make.
        variables: those that fit, `[k, k, I, O]`.
        rows: every array of the file.
        problems: why it must not be loaded; empty if everything fits.
        notes: what was decided on the way and has to be said.
    """

    source: str
    network: Network
    variables: Variables
    rows: list[Row]
    problems: list[str]
    notes: list[str]

    def table(self) -> str:
        """Writes what went where, what is missing and what is left over, a line per array."""
        width = max(len(row.name) for row in self.rows)
        lines = []
        for row in self.rows:
            target = f"-> {row.path}" if row.path else f"   {row.fate}"
            lines.append(f"  {row.name:<{width}}  {_by(row.shape):>16}  {target}")
        return "\n".join(lines)


def match(archive: Archive, stated: Architecture | None = None) -> Match:
    """Lays an archive beside the network that its arrays make.

    Args:
        archive: the file.
        stated: the architecture that the user says the weights are made for, if any.

    Raises:
        ValueError: if the names are of no known source, their blocks of no ResNet, or their
            architecture is not known, another than stated, or not that of the file's own settings.
    """
    layers = sorted({name.rpartition(".")[0] for name in archive.arrays})
    family = names.identify(layers)
    if family is None:
        some = ", ".join(list(archive.arrays)[:SHOWN])
        known = "; ".join(known.title for known in names.FAMILIES)
        raise ValueError(
            f"{archive.path}: its {len(archive.arrays)} arrays ({some} ...) are of no source that "
            f"is known: {known}"
        )
    placed, rows, problems = _place(archive, family)
    depth = _depth(archive, set(placed))
    architecture, notes = _geometry(archive, family, depth, stated)
    network = _network(archive, placed, depth, architecture, whole=family.whole)
    problems += _fit(placed, {row.path: row.name for row in rows if row.path}, network.shapes())
    variables = unflatten({path: np.ascontiguousarray(value) for path, value in placed.items()})
    return Match(family.title, network, variables, rows, problems, notes)


def _place(
    archive: Archive, family: names.Family
) -> tuple[dict[str, np.ndarray], list[Row], list[str]]:
    """Finds the path of every array and turns kernels to `[k, k, I, O]`."""
    placed: dict[str, np.ndarray] = {}
    rows, left_over, twice = [], [], []
    for name, array in archive.arrays.items():
        layer, _, leaf = name.rpartition(".")
        path = names.layer_path(family, layer)
        target = None if path is None else names.leaf_path(path, leaf)
        what = "only counts steps" if leaf == names.COUNTER else names.aside(family, layer)
        if target is None:
            rows.append(Row(name, array.shape, fate=f"left: {what}" if what else "LEFT OVER"))
            left_over += [] if what else [name]
            continue
        if target in placed:
            twice.append(name)
        rows.append(Row(name, array.shape, target))
        if target.endswith("/kernel") and array.ndim == 4 and archive.output_first:
            array = array.transpose(2, 3, 1, 0)
        placed[target] = array.astype(np.float32)
    problems = []
    if left_over:
        problems.append(f"{len(left_over)} arrays are left over: {_some(left_over)}")
    if twice:
        problems.append(f"{len(twice)} arrays want a place that is taken: {_some(twice)}")
    return placed, rows, problems


def _depth(archive: Archive, paths: set[str]) -> int:
    """Counts the blocks."""
    found = [re.match(r"params/trunk/stage(\d)/block(\d+)/conv(\d)", path) for path in paths]
    numbers = [tuple(map(int, each.groups())) for each in found if each]
    counts = tuple(
        max((b for s, b, _ in numbers if s == stage), default=0) for stage in range(1, 5)
    )
    bottleneck = any(convolution == 3 for _, _, convolution in numbers)
    for depth, plan in resnet.DEPTHS.items():
        if plan == (counts, bottleneck):
            return depth
    raise ValueError(
        f"{archive.path}: its stages have {_by(counts)} {'bottleneck' if bottleneck else 'basic'} "
        f"blocks, as no ResNet of {', '.join(map(str, resnet.DEPTHS))} layers has; the file is "
        "of another network, or not whole"
    )


def _geometry(
    archive: Archive, family: names.Family, depth: int, stated: Architecture | None
) -> tuple[Architecture, list[str]]:
    """Reads the architecture from the file where it says it, and holds it against what is stated."""
    facts = archive.facts
    settings = _settings(family, facts)
    known = layout.derive(settings, family.architecture(depth))
    said = {"bins": facts.bins, "ceil_pool": facts.ceil_pool, "epsilon": facts.epsilon}
    known = dataclasses.replace(known, **{k: v for k, v in said.items() if v is not None})
    if stated is None and family.silent:
        raise ValueError(
            f"{archive.path}: a {family.title} says nothing of the stride and the dilation it "
            "shall have here, so state it: --architecture=TORCHVISION_TRUNK for contracted dilation, "
            "as their own dilated variants have it, or "
            "--architecture=TORCHVISION_TRUNK,contracted_dilation=False for full dilation"
        )
    chosen = reconcile(archive.path, known, stated, family.free)
    wrong = layout.differences(settings, depth, chosen)
    if wrong:
        path, difference = wrong[0]
        more = f" (and {len(wrong) - 1} more such)" if len(wrong) > 1 else ""
        raise ValueError(
            f"{archive.path}: it does not apply {path} as a PSPNet does: {difference}{more}"
        )
    if settings:
        notes = [f"architecture read from the file's settings of {len(settings)} convolutions"]
    elif stated and family.free:
        notes = [f"architecture as stated; the file does not decide its {', '.join(family.free)}"]
    else:
        notes = [f"architecture assumed: that of {family.title}, {depth} layers"]
    return chosen, notes


def reconcile(
    path: pathlib.Path, known: Architecture, stated: Architecture | None, free: tuple[str, ...]
) -> Architecture:
    """Returns the architecture of weights, with what they leave free as it is stated.

    Raises:
        ValueError: if another field is stated otherwise.
    """
    if stated is None:
        return known
    chosen = dataclasses.replace(known, **{name: getattr(stated, name) for name in free})
    if chosen != stated:
        raise ValueError(
            f"{path}: its weights are made for another architecture than is asked for: "
            f"{'; '.join(differences(chosen, stated))}"
        )
    return chosen


def _settings(family: names.Family, facts: Facts) -> dict[str, Setting]:
    paths = {name: names.layer_path(family, name) for name in facts.settings}
    return {path: facts.settings[name] for name, path in paths.items() if path}


def _network(
    archive: Archive,
    placed: dict[str, np.ndarray],
    depth: int,
    architecture: Architecture,
    *,
    whole: bool,
) -> Network:
    """Reads the free sizes off the arrays that show them."""

    def size(path: str, axis: int) -> int:
        array = placed.get(f"params/{path}")
        if array is None or array.ndim < abs(axis):
            raise ValueError(
                f"{archive.path}: its {path} is {'missing' if array is None else array.shape}; "
                "the file is of another network, or not whole"
            )
        return array.shape[axis]

    return Network(
        depth,
        width=size("trunk/stage1/block1/conv1/kernel", -1),
        inputs=size("trunk/stem/conv1/kernel", -2),
        channels=size("classifier/bias", -1) if whole else 0,
        auxiliary=any(path.startswith("params/auxiliary/") for path in placed),
        architecture=architecture,
    )


def _fit(
    placed: dict[str, np.ndarray], sources: dict[str, str], shapes: dict[str, tuple[int, ...]]
) -> list[str]:
    """Lists what keeps the arrays from being the network's."""
    problems = []
    missing = [path for path in shapes if path not in placed]
    foreign = [sources[path] for path in placed if path not in shapes]
    unequal = [
        f"{sources[path]} is {_by(placed[path].shape)} where {path} is {_by(shape)}"
        for path, shape in shapes.items()
        if path in placed and placed[path].shape != shape
    ]
    odd = [sources[path] for path, value in placed.items() if not np.isfinite(value).all()]
    variances = [
        sources[path]
        for path, value in placed.items()
        if path.endswith("/var") and not (value > 0).all()
    ]
    if missing:
        problems.append(f"{len(missing)} arrays are missing: {_some(missing)}")
    if foreign:
        problems.append(f"{len(foreign)} arrays are of layers it does not have: {_some(foreign)}")
    if unequal:
        problems.append(f"{len(unequal)} arrays have another shape: {_some(unequal)}")
    if odd:
        problems.append(f"{len(odd)} arrays have values that are not finite: {_some(odd)}")
    if variances:
        problems.append(
            f"{len(variances)} variances are not positive, so batch norms may be stored in "
            f"another order: {_some(variances)}"
        )
    return problems


def _some(items: list[str]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"
