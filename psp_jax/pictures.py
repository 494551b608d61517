"""Pictures of a run: sheets of predictions and curves, drawn by matplotlib into PNG files."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

ERROR_LIMIT_M = 1.0  # Errors are drawn from 0 to this; larger ones saturate.


def depth_sheet(
    path: pathlib.Path,
    rgb: Sequence[np.ndarray],
    depth: Sequence[np.ndarray],
    predicted: Sequence[np.ndarray],
) -> None:
    """Draws one row per image: RGB, depth, predicted depth and absolute error.

    Args:
        path: PNG file to write.
        rgb: `[H, W, 3]` uint8 images.
        depth: `[H, W]` float32 metres; 0 marks no reading and is drawn black.
        predicted: `[H, W]` float32 metres.
    """
    rows = len(rgb)
    height, width = depth[0].shape
    figure = Figure(figsize=(10, 0.9 + 2.5 * rows * height / width), layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False)
    colors, error_colors = (colormaps[name].with_extremes(bad="black") for name in _COLORMAPS)
    readings = np.concatenate([d[d > 0] for d in depth])
    nearest, farthest = np.percentile(readings, (1, 99))
    for row, image, truth, guess in zip(axes, rgb, depth, predicted, strict=True):
        shown = np.ma.masked_equal(truth, 0)
        row[0].imshow(image)
        row[1].imshow(shown, cmap=colors, vmin=nearest, vmax=farthest)
        depth_image = row[2].imshow(guess, cmap=colors, vmin=nearest, vmax=farthest)
        error = np.ma.masked_where(truth == 0, np.abs(guess - truth))
        error_image = row[3].imshow(error, cmap=error_colors, vmin=0, vmax=ERROR_LIMIT_M)
    for axis in axes.flat:
        axis.axis("off")
    for axis, title in zip(axes[0], ("RGB", "depth", "predicted depth", "error"), strict=True):
        axis.set_title(title, fontsize=10)
    for image, columns, label in (
        (depth_image, axes[:, 1:3], "depth [m]"),
        (error_image, axes[:, 3], "error [m]"),
    ):
        figure.colorbar(image, ax=columns, label=label, location="bottom", fraction=0.04, aspect=30)
    figure.savefig(path, dpi=80)


def curves(path: pathlib.Path, records: Sequence[dict], shown: str, title: str) -> None:
    """Draws the losses and a figure of the validation split over the steps.

    Args:
        path: PNG file to write.
        records: lines of `metrics.jsonl`, one per epoch.
        shown: name of the figure in the records, after `validation_`.
        title: what the axis calls it.
    """
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    loss_axis, figure_axis = figure.subplots(1, 2)
    steps = [record["step"] for record in records]
    for name in ("train_loss", "validation_loss"):
        label = name.partition("_")[0]
        loss_axis.plot(steps, [record[name] for record in records], marker=".", label=label)
    loss_axis.set(xlabel="step", ylabel="loss", ylim=(0, None))
    loss_axis.legend()
    values = [record[f"validation_{shown}"] for record in records]
    figure_axis.plot(steps, values, marker=".", color="C1")
    figure_axis.set(xlabel="step", ylabel=f"validation {title}", ylim=(0, None))
    for axis in (loss_axis, figure_axis):
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=80)


_COLORMAPS = ("turbo_r", "inferno")


def partition_sheet(
    path: pathlib.Path,
    depth: np.ndarray,
    rgb: np.ndarray | None,
    partitions: Mapping[str, np.ndarray],
    classes: Mapping[str, np.ndarray],
    marked: Mapping[str, np.ndarray],
) -> None:
    """Draws one row per partition of a depth image (thesis, figures 3.4 to 3.6).

    The columns are the depth with what the algorithm starts from, boundaries over depth and over
    colour, and the frontier classes in 16 colours.

    Args:
        path: PNG file to write.
        depth: `[H, W]` float32 metres without holes.
        rgb: `[H, W, 3]` uint8, or None where there is no colour.
        partitions: `[H, W]` int32 labels by name.
        classes: `[H, W]` uint8 frontier classes by name.
        marked: `[H, W]` float32 pictures of what an algorithm starts from, for those that have one.
    """
    rows, (height, width) = len(partitions), depth.shape
    figure = Figure(figsize=(13, 0.4 + 3.3 * rows * height / width), layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False)
    shown = colormaps["turbo_r"](_stretched(depth))[..., :3]
    colour = np.full_like(shown, 0.5) if rgb is None else rgb / 255.0
    for row, (name, labels) in zip(axes, partitions.items(), strict=True):
        boundary = (classes[name] > 0)[..., None]
        start = marked.get(name)
        row[0].imshow(shown if start is None else _stretched(start), cmap="gray")
        row[1].imshow(np.where(boundary, 0.0, shown))
        row[2].imshow(np.where(boundary, (1.0, 0.9, 0.0), colour))
        row[3].imshow(classes[name], cmap="tab20", vmin=0, vmax=19, interpolation="nearest")
        row[0].set_ylabel(f"{name}\n{labels.max() + 1} regions", fontsize=10)
    titles = ("depth, or gradient and markers", "on depth", "on colour", "frontier classes")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=80)


def _stretched(values: np.ndarray) -> np.ndarray:
    """Maps the 1st to 99th percentile to 0 to 1."""
    low, high = np.percentile(values, (1, 99))
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1)


def frontier_sheet(
    path: pathlib.Path,
    rgb: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    probability: Sequence[np.ndarray],
    predicted: Sequence[np.ndarray],
) -> None:
    """Draws one row per image: RGB, true regions, probability of a frontier, predicted regions.

    Args:
        path: PNG file to write.
        rgb: `[H, W, 3]` uint8 images.
        labels: `[H, W]` int32 true partitions.
        probability: `[H, W]` float32, that a pixel lies at a frontier.
        predicted: `[H, W]` int32 predicted partitions.
    """
    rows = len(rgb)
    height, width = labels[0].shape
    figure = Figure(figsize=(10, 0.4 + 2.5 * rows * height / width), layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False)
    for row, image, truth, chance, found in zip(
        axes, rgb, labels, probability, predicted, strict=True
    ):
        row[0].imshow(image)
        row[1].imshow(_outlined(image, truth), interpolation="nearest")
        row[2].imshow(chance, cmap="magma", vmin=0, vmax=1, interpolation="nearest")
        row[3].imshow(_outlined(image, found), interpolation="nearest")
    titles = ("RGB", "true regions", "probability of a frontier", "predicted regions")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    for axis in axes.flat:
        axis.axis("off")
    figure.savefig(path, dpi=80)


def _outlined(rgb: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Draws the boundaries of regions in yellow over a dimmed image."""
    boundary = np.zeros(labels.shape, bool)
    boundary[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    boundary[:-1] |= labels[1:] != labels[:-1]
    return np.where(boundary[..., None], (1.0, 0.9, 0.0), 0.2 + 0.6 * rgb / 255.0)
