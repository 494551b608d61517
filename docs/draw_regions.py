"""Draws photographs above the regions that a run predicts for them: the picture of the README.

    python -m docs.draw_regions --workdir=RUN IMAGE... --out=docs/regions.jpg

Every image becomes a column, cropped to 4:3, under the title of `--titles`. The network sees an
image at its own, smaller resolution, so that the edges of a region are stairs of a few pixels; the
drawing smooths them over the width of a stair. It changes nothing else.
"""

import argparse
import pathlib

import cv2
import matplotlib.pyplot as plt
import numpy as np

import psp_jax
from psp_jax.io import command_line

TILE = (480, 640)  # Height and width at which an image is drawn, in pixels.
FILL = 0.45  # Opacity of the colours of regions.
OUTLINE_PX = 3
GOLDEN_ANGLE = 0.381966  # Hues of consecutive regions are far apart.


def crop(image: np.ndarray) -> np.ndarray:
    """Returns the central 4:3 part of an image `[H, W, ...]`."""
    height, width = image.shape[:2]
    rows, columns = min(height, width * 3 // 4), min(width, height * 4 // 3)
    top, left = (height - rows) // 2, (width - columns) // 2
    return image[top : top + rows, left : left + columns]


def smooth(regions: np.ndarray, stair_px: float) -> np.ndarray:
    """Smooths the boundaries of regions and resizes them to `TILE`.

    Args:
        regions: `[H, W]` integers from 0.
        stair_px: width of a pixel of the network in pixels of `TILE`.

    Returns:
        `[*TILE]` int: at every pixel the region whose blurred mask is largest.
    """
    labels = cv2.resize(regions.astype(np.float32), TILE[::-1], interpolation=cv2.INTER_NEAREST)
    largest = np.zeros(TILE, np.float32)
    smoothed = np.zeros(TILE, int)
    for region in np.unique(labels):
        weight = cv2.GaussianBlur((labels == region).astype(np.float32), (0, 0), 0.6 * stair_px)
        smoothed = np.where(weight > largest, int(region), smoothed)
        largest = np.maximum(largest, weight)
    return smoothed


def overlay(photo: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Draws regions over a photograph.

    Args:
        photo: `[*TILE, 3]` uint8 RGB.
        regions: `[*TILE]` integers from 0.

    Returns:
        `[*TILE, 3]` float in [0, 1].
    """
    order = np.argsort(np.argsort(-np.bincount(regions.ravel())))
    hues = (order * GOLDEN_ANGLE) % 1
    colors = plt.get_cmap("hsv")(hues)[:, :3] * 0.75 + 0.2
    filled = photo / 255 * (1 - FILL) + colors[regions] * FILL
    size = (2 * TILE[1], 2 * TILE[0])  # Outlines are drawn at twice the resolution and averaged.
    labels = cv2.resize(regions.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    edges = np.zeros(labels.shape, np.uint8)
    edges[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edges[1:] |= labels[1:] != labels[:-1]
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * OUTLINE_PX - 1,) * 2)
    wide = cv2.dilate(edges, disk).astype(np.float32)
    alpha = cv2.resize(wide, TILE[::-1], interpolation=cv2.INTER_AREA)[..., None]
    return np.clip(filled * (1 - alpha) + alpha, 0, 1)


def main(arguments: argparse.Namespace) -> None:
    """Draws the images of the command line."""
    if len(arguments.titles) not in (0, len(arguments.images)):
        raise ValueError(
            f"--titles has {len(arguments.titles)} values for {len(arguments.images)} images; "
            "expected one each, or none"
        )
    predict = psp_jax.load(arguments.workdir)
    columns = len(arguments.images)
    figure, axes = plt.subplots(2, columns, figsize=(4 * columns, 6.3), squeeze=False)
    for column, path in enumerate(arguments.images):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise ValueError(f"{path} is not an image; expected a JPEG or PNG file")
        regions = predict(image).regions
        if regions is None:
            raise ValueError(f"{arguments.workdir} predicts no regions; expected a frontier run")
        cropped = crop(image)
        photo = cv2.resize(cropped, TILE[::-1], interpolation=cv2.INTER_AREA)
        stair_px = TILE[0] / predict.size[0]
        axes[0, column].imshow(photo)
        axes[1, column].imshow(overlay(photo, smooth(crop(regions), stair_px)))
        if arguments.titles:
            axes[0, column].set_title(arguments.titles[column], fontsize=15)
        for axis in axes[:, column]:
            axis.axis("off")
    figure.subplots_adjust(0, 0, 1, 0.94 if arguments.titles else 1, wspace=0.02, hspace=0.02)
    figure.savefig(arguments.out, dpi=110, pil_kwargs={"quality": 88})
    print(f"{arguments.out} is written")


if __name__ == "__main__":
    parser = command_line.Parser(prog="python -m docs.draw_regions", description=__doc__)
    parser.add_argument("images", nargs="+", type=pathlib.Path, metavar="IMAGE")
    parser.add_argument("--workdir", required=True, help="folder of a run that predicts frontiers")
    parser.add_argument("--titles", nargs="*", default=[], help="one for each image")
    parser.add_argument(
        "--out", type=pathlib.Path, default="docs/regions.jpg", help="file to write"
    )
    command_line.run(main, parser)
