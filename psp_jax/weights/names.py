"""Under which names published files keep what the package names otherwise."""

import dataclasses
import re
from collections.abc import Callable

from psp_jax.models import architecture
from psp_jax.models.architecture import Architecture

Rule = tuple[str, Callable[..., str]]  # Pattern of a layer's name, and our path from its groups.


@dataclasses.dataclass(frozen=True)
class Family:
    """A source of weights.

    Attributes:
        title: what it is called.
        mark: pattern of a layer's name that no other family has.
        rules: from the names of its layers to our paths.
        architecture: what its weights are made for, by the number of layers.
        whole: whether it is all of PSPNet rather than its trunk.
        free: fields of the architecture that its weights do not decide.
        silent: whether nobody can know the dilation, so that the user has to state an architecture.
        aside: patterns of layers that are no part of our network, with what they are.
    """

    title: str
    mark: str
    rules: tuple[Rule, ...]
    architecture: Callable[[int], Architecture]
    whole: bool = True
    free: tuple[str, ...] = ()
    silent: bool = False
    aside: tuple[tuple[str, str], ...] = ()


# The leaf of each name, by whether its layer is a batch norm.
LEAVES = {
    False: {"kernel": ("weight", "weights", "kernel"), "bias": ("bias", "biases")},
    True: {
        "scale": ("weight", "slope", "scale", "gamma"),
        "bias": ("bias", "offset", "beta"),
        "mean": ("running_mean", "mean", "moving_mean"),
        "var": ("running_var", "variance", "moving_variance"),
    },
}
STATISTICS = ("mean", "var")
COUNTER = "num_batches_tracked"  # Of PyTorch's batch norms; nothing depends on it.
BINS = architecture.SEMSEG.bins  # The order of every PyTorch source.


def is_norm(path: str) -> bool:
    """Whether a path of ours is a batch norm's."""
    return "norm" in path.rpartition("/")[2]


def leaf_path(path: str, leaf: str) -> str | None:
    """Returns the path of an array, collection first, None if the layer has no such leaf."""
    for ours, theirs in LEAVES[is_norm(path)].items():
        if leaf in theirs:
            collection = "batch_stats" if ours in STATISTICS else "params"
            return f"{collection}/{path}/{ours}"
    return None


def layer_path(family: Family, layer: str) -> str | None:
    """Returns our path of a layer, None if it has none."""
    for pattern, make in family.rules:
        match = re.fullmatch(pattern, layer)
        if match:
            return make(*match.groups())
    return None


def aside(family: Family, layer: str) -> str | None:
    """Returns what a layer is that the network has no place for, None if nobody knows."""
    for pattern, what in family.aside:
        if re.fullmatch(pattern, layer):
            return what
    return None


def identify(layers: list[str]) -> Family | None:
    """Returns the first family that the names are of."""
    for family in FAMILIES:
        if any(re.fullmatch(family.mark, layer) for layer in layers):
            return family
    return None


def _block(prefix: str = "") -> tuple[Rule, ...]:
    """The blocks of PyTorch's ResNets, which count stages from 1 and blocks from 0."""
    kinds = {"conv": "conv", "bn": "norm"}
    shortcut = {"0": "shortcut_conv", "1": "shortcut_norm"}

    def path(stage: str, block: str) -> str:
        return f"trunk/stage{stage}/block{int(block) + 1}"

    return (
        (
            rf"{prefix}layer([1-4])\.(\d+)\.(conv|bn)([1-3])",
            lambda s, b, kind, i: f"{path(s, b)}/{kinds[kind]}{i}",
        ),
        (
            rf"{prefix}layer([1-4])\.(\d+)\.downsample\.([01])",
            lambda s, b, i: f"{path(s, b)}/{shortcut[i]}",
        ),
    )


def _in_sequence(prefix: str) -> Rule:
    """The stem as a sequence of convolution, batch norm, ReLU and so on."""
    kinds = ("conv", "norm")
    return (
        rf"{prefix}\.([013467])",
        lambda index: f"trunk/stem/{kinds[int(index) % 3]}{int(index) // 3 + 1}",
    )


def _numbered(prefix: str = "") -> tuple[Rule, ...]:
    """The stem as conv1, bn1, conv2 and so on."""
    return (
        (rf"{prefix}conv([1-3])", lambda i: f"trunk/stem/conv{i}"),
        (rf"{prefix}bn([1-3])", lambda i: f"trunk/stem/norm{i}"),
    )


def _branch(kind: str) -> Callable[[str], str]:
    return lambda index: f"pyramid/{kind}{BINS[int(index)]}"


def _fixed(path: str) -> Callable[[], str]:
    return lambda: path


def _plain(base: Architecture) -> Callable[[int], Architecture]:
    plain = dataclasses.replace(base, stem=architecture.PLAIN_STEM)
    return lambda depth: plain


# What a trunk alone leaves open, and what those of image classifiers do, which never dilated.
OF_HEADS = ("align_corners", "bins", "dropout_of_channels", "momentum")
OF_DILATION = (*OF_HEADS, "contracted_dilation")
IMAGE_CLASSIFIER = ((r"fc|head\.fc|classifier", "classifier of whole images"),)

SEMSEG = Family(
    "hszhao/semseg PSPNet",
    r"ppm\.features\.0\.1",
    (
        _in_sequence("layer0"),
        *_block(),
        (r"ppm\.features\.([0-3])\.1", _branch("conv")),
        (r"ppm\.features\.([0-3])\.2", _branch("norm")),
        (r"cls\.0", _fixed("head/conv")),
        (r"cls\.1", _fixed("head/norm")),
        (r"cls\.4", _fixed("classifier")),
        (r"aux\.0", _fixed("auxiliary/conv")),
        (r"aux\.1", _fixed("auxiliary/norm")),
        (r"aux\.4", _fixed("auxiliary/classifier")),
    ),
    lambda depth: architecture.SEMSEG,
)
_MMSEGMENTATION_RULES = (
    (r"decode_head\.psp_modules\.([0-3])\.1\.conv", _branch("conv")),
    (r"decode_head\.psp_modules\.([0-3])\.1\.bn", _branch("norm")),
    (r"decode_head\.bottleneck\.conv", _fixed("head/conv")),
    (r"decode_head\.bottleneck\.bn", _fixed("head/norm")),
    (r"decode_head\.conv_seg", _fixed("classifier")),
    (r"auxiliary_head\.convs\.0\.conv", _fixed("auxiliary/conv")),
    (r"auxiliary_head\.convs\.0\.bn", _fixed("auxiliary/norm")),
    (r"auxiliary_head\.conv_seg", _fixed("auxiliary/classifier")),
    *_block(r"backbone\."),
)
# "v1c" trunks have a deep stem; those of the "b" configs a plain one.
MMSEGMENTATION = Family(
    "mmsegmentation PSPNet",
    r"backbone\.stem\.0",
    (_in_sequence(r"backbone\.stem"), *_MMSEGMENTATION_RULES),
    lambda depth: architecture.MMSEGMENTATION,
)
MMSEGMENTATION_PLAIN = Family(
    "mmsegmentation PSPNet with a 7x7 stem",
    r"decode_head\.psp_modules\.0\.1\.conv",
    (*_numbered(r"backbone\."), *_MMSEGMENTATION_RULES),
    _plain(architecture.MMSEGMENTATION),
)
MMSEGMENTATION_TRUNK = Family(
    "mmsegmentation trunk",
    r"stem\.0",
    (_in_sequence("stem"), *_block()),
    lambda depth: architecture.MMSEGMENTATION,
    whole=False,
    free=OF_DILATION,
    aside=IMAGE_CLASSIFIER,
)
TORCHVISION_SEGMENTATION = Family(
    "trunk of a torchvision segmentation model",
    r"backbone\.conv1",
    (*_numbered(r"backbone\."), *_block(r"backbone\.")),
    lambda depth: architecture.TORCHVISION_TRUNK,
    whole=False,
    free=OF_HEADS,
    aside=((r"(aux_)?classifier\..*", "head of another network"),),
)
TIMM_DEEP = Family(
    "timm ResNet with a deep stem",
    r"conv1\.0",
    (
        _in_sequence("conv1"),
        (r"bn1", _fixed("trunk/stem/norm3")),
        *_block(),
    ),
    lambda depth: architecture.SEMSEG,
    whole=False,
    free=(*OF_DILATION, "stem"),
    silent=True,
    aside=IMAGE_CLASSIFIER,
)
SEMSEG_TRUNK = Family(
    "initial trunk of hszhao/semseg",
    r"conv3",
    (*_numbered(), *_block()),
    lambda depth: architecture.SEMSEG,
    whole=False,
    free=OF_DILATION,
    aside=IMAGE_CLASSIFIER,
)
TORCHVISION = Family(
    "torchvision or timm ResNet",
    r"conv1",
    (*_numbered(), *_block()),
    lambda depth: architecture.TORCHVISION_TRUNK,
    whole=False,
    free=OF_DILATION,
    silent=True,
    aside=IMAGE_CLASSIFIER,
)
_CAFFE_KINDS = {None: "conv", "/bn": "norm"}
_CAFFE_LAYERS = {"1x1_reduce": "1", "3x3": "2", "1x1_increase": "3"}


def _caffe_block(stage: str, block: str, layer: str, norm: str | None) -> str:
    path = f"trunk/stage{int(stage) - 1}/block{block}"
    kind = _CAFFE_KINDS[norm]
    return (
        f"{path}/{kind}{_CAFFE_LAYERS[layer]}"
        if layer != "1x1_proj"
        else (f"{path}/shortcut_{kind}")
    )


CAFFE = Family(
    "hszhao/PSPNet, in Caffe or converted to Keras",
    r"conv1_1_3x3_s2",
    (
        (r"conv1_([1-3])_3x3(?:_s2)?(/bn)?", lambda i, n: f"trunk/stem/{_CAFFE_KINDS[n]}{i}"),
        (r"conv([2-5])_(\d+)_(1x1_reduce|3x3|1x1_increase|1x1_proj)(/bn)?", _caffe_block),
        (r"conv5_3_pool(\d)_conv(/bn)?", lambda bins, n: f"pyramid/{_CAFFE_KINDS[n]}{bins}"),
        (r"conv5_4(/bn)?", lambda n: f"head/{_CAFFE_KINDS[n]}"),
        (r"conv6", _fixed("classifier")),
        (r"conv4_\d+(/bn)?", lambda n: f"auxiliary/{_CAFFE_KINDS[n]}"),
        (r"conv6_1", _fixed("auxiliary/classifier")),
    ),
    lambda depth: architecture.CAFFE_50 if depth < 101 else architecture.CAFFE_101,
)
FAMILIES = (
    CAFFE,
    SEMSEG,
    MMSEGMENTATION,
    MMSEGMENTATION_PLAIN,
    MMSEGMENTATION_TRUNK,
    TORCHVISION_SEGMENTATION,
    TIMM_DEEP,
    SEMSEG_TRUNK,
    TORCHVISION,
)
