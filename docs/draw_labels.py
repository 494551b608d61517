"""Draws the label sets and the frontier classes of a drawn room: the pictures of docs/labels.md.

    python -m docs.draw_labels \\
        data/rooms/scans/scene9010_00/scene9010_00.sens --frame=3 --out=docs

A run on the embedded rooms, or `python -m data_builders.rooms`, draws the scans.
"""

import argparse
import pathlib

import cv2
import matplotlib.pyplot as plt
import numpy as np

from data_builders import sources
from docs import draw_regions
from psp_jax.io import command_line
from psp_jax.partition import fill, frontier_classes
from psp_jax.partition.frontier_classes import Side
from psp_jax.recordings import images, sens

CROP = (8, 12)  # Height and width in pixels of the part whose classes are drawn.
CORNERS = {Side.LEFT: (0, 0, 0, 1), Side.UP: (0, 0, 1, 0)}
CORNERS |= {Side.RIGHT: (1, 0, 1, 1), Side.DOWN: (0, 1, 1, 1)}  # Ends of the sides of a pixel.


def read(path: pathlib.Path, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads one frame of a `.sens` file.

    Returns:
        `[H, W, 3]` uint8 RGB and `[H, W]` uint16 depth in millimetres, 0 for no reading.
    """
    for frame in sens.SensRecording(path).frames(1):
        if frame.index == index:
            depth_mm = frame.read_depth()
            image = images.decode_color(frame.read_color(), None)
            size = depth_mm.shape[1], depth_mm.shape[0]
            return cv2.resize(image, size, interpolation=cv2.INTER_AREA), depth_mm
    raise ValueError(f"{path} has no frame {index}")


def draw_label_sets(
    path: pathlib.Path, image: np.ndarray, depth_mm: np.ndarray, partitions: dict[str, np.ndarray]
) -> None:
    """Draws colour, depth and the regions of every label set side by side."""
    figure, axes = plt.subplots(1, 2 + len(partitions), figsize=(4 * (2 + len(partitions)), 3.3))
    photo = cv2.resize(image, draw_regions.TILE[::-1], interpolation=cv2.INTER_CUBIC)
    axes[0].imshow(photo)
    axes[0].set_title("image", fontsize=15)
    masked = np.ma.masked_equal(depth_mm, 0)
    axes[1].imshow(masked, cmap="viridis_r")
    axes[1].set_facecolor("black")
    axes[1].set_title("depth (black: no reading)", fontsize=15)
    for axis, (name, labels) in zip(axes[2:], partitions.items(), strict=True):
        gray = np.repeat(photo.mean(axis=2, keepdims=True), 3, axis=2)
        large = cv2.resize(
            labels.astype(np.float32), draw_regions.TILE[::-1], interpolation=cv2.INTER_NEAREST
        )
        axis.imshow(draw_regions.overlay(gray, large.astype(int)))
        axis.set_title(f"{name}: {labels.max() + 1} regions", fontsize=15)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.subplots_adjust(0, 0, 1, 0.91, wspace=0.02)
    figure.savefig(path, dpi=80)


def draw_classes(path: pathlib.Path, labels: np.ndarray) -> None:
    """Draws the frontier class of every pixel of the part of an image with most regions."""
    rows, columns = CROP
    corners = [
        (len(np.unique(labels[top : top + rows, left : left + columns])), top, left)
        for top in range(labels.shape[0] - rows)
        for left in range(labels.shape[1] - columns)
    ]
    _, top, left = max(corners)
    classes = frontier_classes.encode(labels)[top : top + rows, left : left + columns]
    regions = frontier_classes.renumber(labels[top : top + rows, left : left + columns])
    figure, axis = plt.subplots(figsize=(columns * 0.6, rows * 0.6))
    axis.imshow(regions, cmap="Pastel1", vmin=0, vmax=8, extent=(0, columns, rows, 0))
    for row, column in np.ndindex(*CROP):
        axis.text(column + 0.5, row + 0.5, str(classes[row, column]), ha="center", va="center")
        for side, (x0, y0, x1, y1) in CORNERS.items():
            if classes[row, column] & side.mask:
                x, y = np.array([x0, x1]) + column, np.array([y0, y1]) + row
                axis.plot(x, y, color="black", linewidth=3, solid_capstyle="round")
    axis.axis("off")
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99)
    figure.savefig(path, dpi=80)


def main(arguments: argparse.Namespace) -> None:
    """Draws the frame of the command line."""
    image, depth_mm = read(arguments.scan, arguments.frame)
    filled_mm, _ = fill.fill_nearest(depth_mm)
    segmentations = sources.EmbeddedRooms().segmentations()
    partitions = {name: segment(filled_mm) for name, segment in segmentations.items()}
    draw_label_sets(arguments.out / "labels.png", image, depth_mm, partitions)
    draw_classes(arguments.out / "classes.png", partitions["planar"])
    print(f"labels.png and classes.png are in {arguments.out}")


if __name__ == "__main__":
    parser = command_line.Parser(prog="python -m docs.draw_labels", description=__doc__)
    parser.add_argument("scan", type=pathlib.Path, metavar="SENS", help="scan of a drawn room")
    parser.add_argument("--frame", type=int, default=0, help="index of the frame")
    parser.add_argument("--out", type=pathlib.Path, default="docs", help="folder of the pictures")
    command_line.run(main, parser)
