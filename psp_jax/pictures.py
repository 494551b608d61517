"""Pictures of a run: sheets of predictions and curves, drawn by matplotlib into PNG files."""

import pathlib
from collections.abc import Sequence

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


def curves(path: pathlib.Path, records: Sequence[dict]) -> None:
    """Draws the losses and the validation RMSE over the steps.

    Args:
        path: PNG file to write.
        records: lines of `metrics.jsonl`, one per epoch.
    """
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    loss_axis, rmse_axis = figure.subplots(1, 2)
    steps = [record["step"] for record in records]
    for name in ("train_loss", "validation_loss"):
        label = name.partition("_")[0]
        loss_axis.plot(steps, [record[name] for record in records], marker=".", label=label)
    loss_axis.set(xlabel="step", ylabel="loss", ylim=(0, None))
    loss_axis.legend()
    rmse_axis.plot(steps, [record["rmse_m"] for record in records], marker=".", color="C1")
    rmse_axis.set(xlabel="step", ylabel="validation RMSE [m]", ylim=(0, None))
    for axis in (loss_axis, rmse_axis):
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=80)


_COLORMAPS = ("turbo_r", "inferno")
