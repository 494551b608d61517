"""Names of layers in published weight files and the matching paths in our networks."""

import dataclasses
import re
from collections.abc import Callable

from psp_jax.models import architecture
from psp_jax.models.architecture import Architecture

# Pattern of a layer's name, and our path: a template of `re.Match.expand`, or a function of the
# groups of the match.
Rule = tuple[str, str | Callable[..., str]]


@dataclasses.dataclass(frozen=True)
class Family:
    """A publisher of weights and its names.

    Attributes:
        title: name in messages.
        mark: pattern of a layer's name that only this family has.
        rules: from the names of its layers to our paths.
        architecture: its architecture variant, by the number of layers.
        whole: whether the weights are of a whole PSPNet and not only of its trunk.
        free: fields of the variant that the weights do not determine.
        needs_architecture: whether the dilation is unknown, so that the user must state a variant.
        ignored: patterns of layers that our network does not have, each with a description.
    """

    title: str
    mark: str
    rules: tuple[Rule, ...]
    architecture: Callable[[int], Architecture]
    whole: bool = True
    free: tuple[str, ...] = ()
    needs_architecture: bool = False
    ignored: tuple[tuple[str, str], ...] = ()


# Our name of each array and its names in files, of convolutions and of batch norms.
CONVOLUTION_LEAVES = {"kernel": ("weight", "weights", "kernel"), "bias": ("bias", "biases")}
NORM_LEAVES = {
    "scale": ("weight", "slope", "scale", "gamma"),
    "bias": ("bias", "offset", "beta"),
    "mean": ("running_mean", "mean", "moving_mean"),
    "var": ("running_var", "variance", "moving_variance"),
}
COUNTER = "num_batches_tracked"  # Of PyTorch's batch norms; it has no effect.


def leaf_path(path: str, leaf: str) -> str | None:
    """Returns the path of an array, starting with its collection; None if the layer has no such."""
    is_norm = "norm" in path.rpartition("/")[2]
    for ours, theirs in (NORM_LEAVES if is_norm else CONVOLUTION_LEAVES).items():
        if leaf in theirs:
            collection = "batch_stats" if ours in ("mean", "var") else "params"
            return f"{collection}/{path}/{ours}"
    return None


def layer_path(family: Family, layer: str) -> str | None:
    """Returns our path of a layer, None if our network has no such layer."""
    for pattern, path in family.rules:
        match = re.fullmatch(pattern, layer)
        if match:
            return match.expand(path) if isinstance(path, str) else path(*match.groups())
    return None


def ignored(family: Family, layer: str) -> str | None:
    """Returns the description of a layer that is known but not in our network, else None."""
    for pattern, description in family.ignored:
        if re.fullmatch(pattern, layer):
            return description
    return None


def identify(layers: list[str]) -> Family | None:
    """Returns the first family that has one of the names."""
    for family in FAMILIES:
        if any(re.fullmatch(family.mark, layer) for layer in layers):
            return family
    return None


def _torch_blocks(prefix: str = "") -> tuple[Rule, ...]:
    """Returns the rules of PyTorch's ResNets, which count stages from 1 and blocks from 0."""
    names = {"conv": "conv", "bn": "norm", "downsample.0": "shortcut_conv"}
    names |= {"downsample.1": "shortcut_norm"}

    def path(stage: str, block: str, name: str, index: str) -> str:
        return f"trunk/stage{stage}/block{int(block) + 1}/{names[name]}{index}"

    return (
        (rf"{prefix}layer([1-4])\.(\d+)\.(conv|bn)([1-3])", path),
        (rf"{prefix}layer([1-4])\.(\d+)\.(downsample\.[01])()", path),
    )


def _stem_in_sequence(prefix: str) -> Rule:
    """Returns the rule of a stem that is a sequence of convolution, batch norm, ReLU and so on."""
    kinds = ("conv", "norm")
    return (
        rf"{prefix}\.([013467])",
        lambda index: f"trunk/stem/{kinds[int(index) % 3]}{int(index) // 3 + 1}",
    )


def _stem_by_number(prefix: str = "") -> tuple[Rule, ...]:
    """Returns the rules of a stem of conv1, bn1, conv2 and so on."""
    return (
        (rf"{prefix}conv([1-3])", r"trunk/stem/conv\1"),
        (rf"{prefix}bn([1-3])", r"trunk/stem/norm\1"),
    )


def _branch(kind: str) -> Callable[[str], str]:
    bins = architecture.SEMSEG.bins  # All PyTorch sources have this order.
    return lambda index: f"pyramid/{kind}{bins[int(index)]}"


def _always(variant: Architecture) -> Callable[[int], Architecture]:
    return lambda depth: variant


# Fields that a trunk does not determine, and those that an image classifier, which has no dilation,
# does not determine.
HEAD_FIELDS = ("align_corners", "bins", "dropout_of_channels", "momentum")
_CLASSIFIER_FIELDS = (*HEAD_FIELDS, "contracted_dilation")
_IMAGE_CLASSIFIER = ((r"fc|head\.fc|classifier", "classifier of whole images"),)

SEMSEG = Family(
    "hszhao/semseg PSPNet",
    r"ppm\.features\.0\.1",
    (
        _stem_in_sequence("layer0"),
        *_torch_blocks(),
        (r"ppm\.features\.([0-3])\.1", _branch("conv")),
        (r"ppm\.features\.([0-3])\.2", _branch("norm")),
        (r"cls\.0", "head/conv"),
        (r"cls\.1", "head/norm"),
        (r"cls\.4", "classifier"),
        (r"aux\.0", "auxiliary/conv"),
        (r"aux\.1", "auxiliary/norm"),
        (r"aux\.4", "auxiliary/classifier"),
    ),
    _always(architecture.SEMSEG),
)
_MMSEGMENTATION_RULES = (
    (r"decode_head\.psp_modules\.([0-3])\.1\.conv", _branch("conv")),
    (r"decode_head\.psp_modules\.([0-3])\.1\.bn", _branch("norm")),
    (r"decode_head\.bottleneck\.conv", "head/conv"),
    (r"decode_head\.bottleneck\.bn", "head/norm"),
    (r"decode_head\.conv_seg", "classifier"),
    (r"auxiliary_head\.convs\.0\.conv", "auxiliary/conv"),
    (r"auxiliary_head\.convs\.0\.bn", "auxiliary/norm"),
    (r"auxiliary_head\.conv_seg", "auxiliary/classifier"),
    *_torch_blocks(r"backbone\."),
)
# "v1c" trunks have a deep stem; those of the "b" configs have a plain one.
MMSEGMENTATION = Family(
    "mmsegmentation PSPNet",
    r"backbone\.stem\.0",
    (_stem_in_sequence(r"backbone\.stem"), *_MMSEGMENTATION_RULES),
    _always(architecture.MMSEGMENTATION),
)
MMSEGMENTATION_PLAIN = Family(
    "mmsegmentation PSPNet with a 7x7 stem",
    r"decode_head\.psp_modules\.0\.1\.conv",
    (*_stem_by_number(r"backbone\."), *_MMSEGMENTATION_RULES),
    _always(dataclasses.replace(architecture.MMSEGMENTATION, stem=architecture.PLAIN_STEM)),
)
MMSEGMENTATION_TRUNK = Family(
    "mmsegmentation trunk",
    r"stem\.0",
    (_stem_in_sequence("stem"), *_torch_blocks()),
    _always(architecture.MMSEGMENTATION),
    whole=False,
    free=_CLASSIFIER_FIELDS,
    ignored=_IMAGE_CLASSIFIER,
)
TORCHVISION_SEGMENTATION = Family(
    "trunk of a torchvision segmentation model",
    r"backbone\.conv1",
    (*_stem_by_number(r"backbone\."), *_torch_blocks(r"backbone\.")),
    _always(architecture.TORCHVISION_TRUNK),
    whole=False,
    free=HEAD_FIELDS,
    ignored=((r"(aux_)?classifier\..*", "head of another network"),),
)
TIMM_DEEP = Family(
    "timm ResNet with a deep stem",
    r"conv1\.0",
    (_stem_in_sequence("conv1"), (r"bn1", "trunk/stem/norm3"), *_torch_blocks()),
    _always(architecture.SEMSEG),
    whole=False,
    free=(*_CLASSIFIER_FIELDS, "stem"),
    needs_architecture=True,
    ignored=_IMAGE_CLASSIFIER,
)
SEMSEG_TRUNK = Family(
    "initial trunk of hszhao/semseg",
    r"conv3",
    (*_stem_by_number(), *_torch_blocks()),
    _always(architecture.SEMSEG),
    whole=False,
    free=_CLASSIFIER_FIELDS,
    ignored=_IMAGE_CLASSIFIER,
)
TORCHVISION = Family(
    "torchvision or timm ResNet",
    r"conv1",
    (*_stem_by_number(), *_torch_blocks()),
    _always(architecture.TORCHVISION_TRUNK),
    whole=False,
    free=_CLASSIFIER_FIELDS,
    needs_architecture=True,
    ignored=_IMAGE_CLASSIFIER,
)


def _caffe(template: str) -> Callable[..., str]:
    """Returns a path of the groups of a match, of which the last is `/bn` for batch norms."""
    return lambda *groups: template.format(*groups, kind="norm" if groups[-1] else "conv")


def _caffe_block(stage: str, block: str, layer: str, norm: str | None) -> str:
    kind = "norm" if norm else "conv"
    names = {"1x1_reduce": f"{kind}1", "3x3": f"{kind}2", "1x1_increase": f"{kind}3"}
    return f"trunk/stage{int(stage) - 1}/block{block}/{names.get(layer, f'shortcut_{kind}')}"


CAFFE = Family(
    "hszhao/PSPNet, in Caffe or converted to Keras",
    r"conv1_1_3x3_s2",
    (
        (r"conv1_([1-3])_3x3(?:_s2)?(/bn)?", _caffe("trunk/stem/{kind}{0}")),
        (r"conv([2-5])_(\d+)_(1x1_reduce|3x3|1x1_increase|1x1_proj)(/bn)?", _caffe_block),
        (r"conv5_3_pool(\d)_conv(/bn)?", _caffe("pyramid/{kind}{0}")),
        (r"conv5_4(/bn)?", _caffe("head/{kind}")),
        (r"conv6", "classifier"),
        (r"conv4_\d+(/bn)?", _caffe("auxiliary/{kind}")),
        (r"conv6_1", "auxiliary/classifier"),
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
