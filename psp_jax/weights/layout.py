"""How a network of an architecture applies each of its convolutions, to hold against a file's word."""

import dataclasses

from psp_jax.models import resnet
from psp_jax.models.architecture import Architecture
from psp_jax.weights.archive import Setting


def convolutions(depth: int, architecture: Architecture) -> dict[str, Setting]:
    """Returns size, stride, dilation and padding by the path of every convolution."""
    plans: dict[str, Setting] = {}

    def put(path: str, size: int, stride: int = 1, dilation: int = 1) -> None:
        plans[path] = Setting(size, stride, dilation, padding=size // 2 * dilation)

    for index, plan in enumerate(architecture.stem, start=1):
        put(f"trunk/stem/conv{index}", plan.size, plan.stride)
    blocks, bottleneck = resnet.DEPTHS[depth]
    widths = architecture.stem[-1].widths
    for stage, count in enumerate(blocks):
        for block in range(count):
            path = f"trunk/stage{stage + 1}/block{block + 1}"
            stride = resnet.STRIDES[stage] if block == 0 else 1
            dilation = resnet.DILATIONS[stage]
            if block == 0 and architecture.contracted_dilation:
                dilation = max(dilation // 2, 1)
            before, widths = widths, 2**stage * (4 if bottleneck else 1)
            if stride > 1 or before != widths:
                put(f"{path}/shortcut_conv", 1, stride)
            if bottleneck:
                first, second = (stride, 1) if architecture.stride_on_reduce else (1, stride)
                put(f"{path}/conv1", 1, first)
                put(f"{path}/conv2", 3, second, dilation)
                put(f"{path}/conv3", 1)
            else:
                put(f"{path}/conv1", 3, stride, dilation)
                put(f"{path}/conv2", 3, 1, dilation)
    for bins in architecture.bins:
        put(f"pyramid/conv{bins}", 1)
    put("head/conv", 3)
    put("classifier", 1)
    put("auxiliary/conv", 3)
    put("auxiliary/classifier", 1)
    return plans


def derive(settings: dict[str, Setting], start: Architecture) -> Architecture:
    """Returns `start` with the stride and the dilation that the settings show.

    Args:
        settings: what a file says, by our paths.
        start: the architecture of what they do not say.
    """
    found: dict[str, bool] = {}
    reduce = settings.get("trunk/stage2/block1/conv1", Setting())
    middle = settings.get("trunk/stage2/block1/conv2", Setting())
    if 2 in (reduce.stride, middle.stride) and "trunk/stage2/block1/conv3" in settings:
        found["stride_on_reduce"] = reduce.stride == 2
    for path, blocks in (("trunk/stage3/block1/conv2", 2), ("trunk/stage4/block1/conv2", 4)):
        first = settings.get(path, Setting())
        if first.dilation in (blocks // 2, blocks):
            found["contracted_dilation"] = first.dilation != blocks
    return dataclasses.replace(start, **found)


def differences(
    settings: dict[str, Setting], depth: int, architecture: Architecture
) -> list[tuple[str, str]]:
    """Lists path and difference where a file's settings are not those of an architecture."""
    plans = convolutions(depth, architecture)
    found = []
    for path, setting in settings.items():
        plan = plans.get(path, Setting())
        for field in dataclasses.fields(Setting):
            theirs, ours = getattr(setting, field.name), getattr(plan, field.name)
            if None not in (theirs, ours) and theirs != ours:
                found.append((path, f"{field.name} {theirs} where {ours} was expected"))
    return found
