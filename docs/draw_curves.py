"""Draws the curves of runs beside each other: figures 4.1 to 4.3 of docs/thesis.md.

    python -m docs.draw_curves runs/feature_classifier runs/finetune_head runs/weighted_ce \\
        --out=docs/curves.svg

Every run becomes a column of losses over epochs and, for runs on frontier classes, accuracies on
the validation split, as in its `metrics.jsonl`. The dotted line is the share of interior pixels.
"""

import argparse
import io
import json
import pathlib

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from psp_jax.io import command_line, files

WIDTH, HEIGHT = 3.2, 4.2  # Of a column, in inches.
# Text stays text, and the same runs give the same file.
matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "curves", "font.size": 9}


def read(workdir: pathlib.Path) -> list[dict[str, float]]:
    """Reads the metrics of a run, a line for each validation.

    Raises:
        OSError: if there is no such run.
    """
    lines = (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def draw(axes: tuple[Axes, Axes], name: str, metrics: list[dict[str, float]]) -> None:
    """Draws loss and accuracy of a run."""
    epochs = [row["epoch"] for row in metrics]
    loss, accuracy = axes
    for key, title, style in (
        ("train_loss", "training", "--"),
        ("validation_loss", "validation", "-"),
    ):
        loss.plot(epochs, [row[key] for row in metrics], style, color="tab:blue", label=title)
    if "validation_accuracy" in metrics[0]:
        values = [row["validation_accuracy"] for row in metrics]
        accuracy.plot(epochs, values, color="tab:blue", label="validation")
        interior = metrics[0]["validation_interior_share"]
        accuracy.axhline(interior, color="gray", linestyle=":", label="always interior")
    loss.set_title(name)
    loss.set_ylabel("loss, nats")
    accuracy.set(ylabel="accuracy", xlabel="epochs", ylim=(0, 1))
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)


def main(arguments: argparse.Namespace) -> None:
    """Draws the runs of the command line."""
    runs = arguments.runs
    size = (WIDTH * len(runs), HEIGHT)
    figure, grid = plt.subplots(2, len(runs), figsize=size, layout="constrained", squeeze=False)
    for column, workdir in zip(grid.T, runs, strict=True):
        draw(tuple(column), workdir.name, read(workdir))
    content = io.StringIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    lines = (line.rstrip() for line in content.getvalue().splitlines())
    files.write(arguments.out, "\n".join(lines) + "\n")
    print(f"{arguments.out} is written")


if __name__ == "__main__":
    parser = command_line.Parser(prog="python -m docs.draw_curves", description=__doc__)
    parser.add_argument("runs", nargs="+", type=command_line.path, metavar="RUN", help="workdir")
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("docs/curves.svg"), help="file to write"
    )
    command_line.run(main, parser)
