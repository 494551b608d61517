"""Matches the arrays of a weight file to the arrays of a network, and lists what does not fit."""

import dataclasses
import pathlib
import re

import numpy as np

from psp_jax.models import resnet
from psp_jax.models.architecture import Architecture, differences
from psp_jax.state import Variables
from psp_jax.weights import layout, names
from psp_jax.weights.archive import Archive
from psp_jax.weights.network import NetworkSpec, unflatten

SHOWN = 4  # Names that a message lists.


@dataclasses.dataclass(frozen=True)
class Row:
    """An array of the file: name, shape, and its path in our network or why it has none."""

    name: str
    shape: tuple[int, ...]
    target: str


@dataclasses.dataclass(frozen=True)
class Match:
    """The arrays of a file as those of a network.

    Attributes:
        source: title of the publisher.
        network: the network that the arrays belong to.
        variables: the matched arrays; kernels are `[k, k, I, O]`.
        rows: every array of the file; empty for converted files.
        problems: reasons not to load the arrays; empty if they are exactly the network's.
        notes: decisions to report to the user.
    """

    source: str
    network: NetworkSpec
    variables: Variables
    rows: list[Row] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def table(self) -> str:
        """Returns a line per array with its path in our network."""
        width = max(len(row.name) for row in self.rows)
        lines = [f"  {r.name:<{width}}  {_text(r.shape):>16}  {r.target}" for r in self.rows]
        return "\n".join(lines)


def match(archive: Archive, stated: Architecture | None = None) -> Match:
    """Matches the arrays of a file to those of a PSPNet or of its trunk.

    Args:
        archive: the file.
        stated: the architecture variant of the weights according to the user, if any.

    Raises:
        ValueError: if the names are of no known publisher, the blocks of no known ResNet, or the
            variant is unknown, contradicts `stated` or contradicts the file's own settings.
    """
    layers = sorted({name.rpartition(".")[0] for name in archive.arrays})
    family = names.identify(layers)
    if family is None:
        some = ", ".join(list(archive.arrays)[:SHOWN])
        known = "; ".join(known.title for known in names.FAMILIES)
        raise ValueError(
            f"{archive.path}: the names of its {len(archive.arrays)} arrays ({some} ...) are "
            f"unknown; expected one of: {known}"
        )
    arrays, rows, problems = _place(archive, family)
    depth = _depth(archive, set(arrays))
    architecture, note = _architecture(archive, family, depth, stated)
    network = _network(archive, arrays, depth, architecture, whole=family.whole)
    sources = {row.target.removeprefix("-> "): row.name for row in rows}
    problems += list_problems(arrays, sources, network.shapes())
    variables = unflatten({path: np.ascontiguousarray(value) for path, value in arrays.items()})
    return Match(family.title, network, variables, rows, problems, [note])


def _place(
    archive: Archive, family: names.Family
) -> tuple[dict[str, np.ndarray], list[Row], list[str]]:
    """Returns float32 arrays by our paths, kernels as `[k, k, I, O]`; rows; and problems."""
    arrays: dict[str, np.ndarray] = {}
    rows, unknown, repeated = [], [], []
    for name, array in archive.arrays.items():
        layer, _, leaf = name.rpartition(".")
        path = names.layer_path(family, layer)
        target = None if path is None else names.leaf_path(path, leaf)
        if target is None:
            reason = "counts steps" if leaf == names.COUNTER else names.ignored(family, layer)
            rows.append(Row(name, array.shape, f"   ignored: {reason}" if reason else "   UNKNOWN"))
            unknown += [] if reason else [name]
            continue
        repeated += [name] if target in arrays else []
        rows.append(Row(name, array.shape, f"-> {target}"))
        if target.endswith("/kernel") and array.ndim == 4 and archive.output_first:
            array = array.transpose(2, 3, 1, 0)
        arrays[target] = array.astype(np.float32)
    problems = listed("arrays are unknown", unknown)
    problems += listed("arrays have the path of another array", repeated)
    return arrays, rows, problems


def _depth(archive: Archive, paths: set[str]) -> int:
    """Returns the number of layers of the trunk, by its blocks."""
    matches = [re.match(r"params/trunk/stage(\d)/block(\d+)/conv(\d)", path) for path in paths]
    numbers = [tuple(map(int, each.groups())) for each in matches if each]
    counts = tuple(
        max((b for s, b, _ in numbers if s == stage), default=0) for stage in range(1, 5)
    )
    bottleneck = any(convolution == 3 for _, _, convolution in numbers)
    for depth, plan in resnet.DEPTHS.items():
        if plan == (counts, bottleneck):
            return depth
    raise ValueError(
        f"{archive.path}: its stages have {_text(counts)} "
        f"{'bottleneck' if bottleneck else 'basic'} blocks; expected those of a ResNet with "
        f"{', '.join(map(str, resnet.DEPTHS))} layers. The file is of another network, or "
        "incomplete"
    )


def _architecture(
    archive: Archive, family: names.Family, depth: int, stated: Architecture | None
) -> tuple[Architecture, str]:
    """Returns the variant of the weights and a note on its origin.

    The file's own settings decide where it has them, then what the user states, then the family.
    """
    paths = {name: names.layer_path(family, name) for name in archive.settings}
    settings = {path: archive.settings[name] for name, path in paths.items() if path}
    known = layout.derive(settings, family.architecture(depth))
    stored = {name: getattr(archive, name) for name in ("bins", "ceil_pool", "epsilon")}
    known = dataclasses.replace(known, **{k: v for k, v in stored.items() if v is not None})
    if stated is None and family.needs_architecture:
        raise ValueError(
            f"{archive.path}: the weights of a {family.title} do not determine the dilation; state "
            "it with --architecture=TORCHVISION_TRUNK (contracted, as in their own dilated "
            "variants) or --architecture=TORCHVISION_TRUNK,contracted_dilation=False (full)"
        )
    chosen = reconcile(archive.path, known, stated, family.free)
    wrong = layout.differences(settings, depth, chosen)
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ValueError(f"{archive.path}: its settings are not a PSPNet's: {wrong[0]}{more}")
    if settings:
        return chosen, f"architecture read from the settings of {len(settings)} convolutions"
    if stated and family.free:
        return chosen, f"architecture as stated; the file leaves open {', '.join(family.free)}"
    return chosen, f"architecture assumed: that of {family.title}, {depth} layers"


def reconcile(
    path: pathlib.Path, known: Architecture, stated: Architecture | None, free: tuple[str, ...]
) -> Architecture:
    """Returns the known variant of weights with its free fields as stated.

    Raises:
        ValueError: if another field is stated differently.
    """
    if stated is None:
        return known
    chosen = dataclasses.replace(known, **{name: getattr(stated, name) for name in free})
    if chosen != stated:
        raise ValueError(
            f"{path}: its weights are of another architecture than the stated one: "
            f"{'; '.join(differences(chosen, stated))}"
        )
    return chosen


def _network(
    archive: Archive,
    arrays: dict[str, np.ndarray],
    depth: int,
    architecture: Architecture,
    *,
    whole: bool,
) -> NetworkSpec:
    """Reads width, inputs and classes from the shapes of arrays."""

    def size(path: str, axis: int) -> int:
        array = arrays.get(f"params/{path}")
        if array is None or array.ndim < abs(axis):
            raise ValueError(
                f"{archive.path}: its {path} is {'missing' if array is None else array.shape}; "
                "the file is of another network, or incomplete"
            )
        return array.shape[axis]

    return NetworkSpec(
        depth,
        width=size("trunk/stage1/block1/conv1/kernel", -1),
        inputs=size("trunk/stem/conv1/kernel", -2),
        channels=size("classifier/bias", -1) if whole else 0,
        auxiliary=any(path.startswith("params/auxiliary/") for path in arrays),
        architecture=architecture,
    )


def list_problems(
    arrays: dict[str, np.ndarray], sources: dict[str, str], shapes: dict[str, tuple[int, ...]]
) -> list[str]:
    """Lists reasons why `arrays` are not those of a network with `shapes`."""
    other_shape = [
        f"{sources[path]} is {_text(arrays[path].shape)}, expected {_text(shape)} for {path}"
        for path, shape in shapes.items()
        if path in arrays and arrays[path].shape != shape
    ]
    variances = {path: value for path, value in arrays.items() if path.endswith("/var")}
    return [
        *listed("arrays are missing", [path for path in shapes if path not in arrays]),
        *listed(
            "arrays are of layers that it does not have",
            [sources[path] for path in arrays if path not in shapes],
        ),
        *listed("arrays have another shape", other_shape),
        *listed(
            "arrays have values that are not finite",
            [sources[path] for path, value in arrays.items() if not np.isfinite(value).all()],
        ),
        *listed(
            "variances are negative, so batch norms may be stored in another order",
            [sources[path] for path, value in variances.items() if (value < 0).any()],
        ),
    ]


def listed(problem: str, items: list[str]) -> list[str]:
    """Returns the problem with the number of items and the first of them; nothing without items."""
    if not items:
        return []
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return [f"{len(items)} {problem}: {', '.join(items[:SHOWN])}{more}"]


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"
