"""The report's tables: which figures of which runs, as text in cells."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from psp_jax.metrics import bootstrap
from psp_jax.report import runs, thesis
from psp_jax.report.runs import Run

NOTHING = "–"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: what it is called.
        columns: titles of its columns; the first is of names.
        rows: cells, as many as columns; one that begins with `SUB` is no run's own.
        notes: what has to be known to read it, a sentence each.
        text: how many columns, from the first, hold words; the others hold figures.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: tuple[str, ...] = ()
    text: int = 1


SUB = "· "  # Begins the names of rows that are not of a trained run: baselines and ceilings.


def make(found: Sequence[Run]) -> list[Table]:
    """Makes the tables that the finished runs among those found have figures for."""
    finished = [run for run in found if run.status == runs.FINISHED]
    tables = [
        _side_by_side(finished),
        _asked(finished),
        _depth([run for run in finished if run.predicts_depth]),
        _classes([run for run in finished if run.figure("accuracy") is not None]),
        _regions([run for run in finished if run.result.get("regions")]),
    ]
    return [table for table in tables if table.rows]


def percent(value: float | None) -> str:
    """Formats a share."""
    return NOTHING if value is None else f"{100 * value:.2f} %"


def fixed(digits: int) -> Callable[[float | None], str]:
    """Returns what formats numbers with so many digits after the point."""
    return lambda value: NOTHING if value is None else f"{value:.{digits}f}"


# How a figure is called and written, wherever it stands alone.
FIGURES: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "accuracy": ("accuracy", percent),
    "level_accuracy": ("right gray level", percent),
    "mad_levels": ("MAD, gray levels", fixed(2)),
    "abs_rel": ("AbsRel", fixed(4)),
    "rmse_m": ("RMSE, m", fixed(4)),
    "f_1px": ("boundary F, 1 px", fixed(4)),
    "edge_bits": ("bits/edge", fixed(4)),
}


def _range_of(run: Run, key: str) -> str:
    """What a figure says nothing without: the range of gray levels."""
    gray = key in ("level_accuracy", "mad_levels")
    return f" (255 = {run.figure('max_depth_m') or float('nan'):g} m)" if gray else ""


def _side_by_side(finished: list[Run]) -> Table:
    rows = []
    for run in finished:
        said = {figure.key: figure for figure in run.thesis_figures}
        keys = list(said)
        keys += ["rmse_m"] if run.predicts_depth else []
        keys += ["accuracy", "f_1px"] if run.predicts_frontiers else []
        for key in dict.fromkeys(keys):
            title, write = FIGURES[key]
            figure = said.get(key)
            low, high = _interval(run, key)
            rows.append(
                (
                    run.name,
                    run.labels if run.predicts_frontiers else NOTHING,
                    title + _range_of(run, key),
                    NOTHING if figure is None else f"{figure.text} ({figure.section})",
                    write(_value(run, key)),
                    NOTHING if low is None else f"{write(low)} to {write(high)}",
                    write(_baseline(run, key)),
                    write(run.figure("ceiling", key)),
                )
            )
    columns = (
        "experiment", "labels", "figure", "thesis (section)", "ours", "95 % interval", "baseline",
        "ceiling",
    )  # fmt: skip
    share = thesis.INTERIOR_SHARE
    notes = [
        "Ours are of the test split, and intervals draw its rooms again.",
        "Baseline: of depth the mean depth image of the training set; of accuracy, always saying "
        f"interior (thesis: {share.text}, section {share.section}); of boundary F, SLIC on the "
        "colours with as many regions.",
        "Ceiling: outputs of the size this network has, fitted straight to the truth of test "
        "images by the run's own loss, with no network between. Only where outputs are smaller "
        "than images.",
    ]
    if any(figure is thesis.DEPTH[0] for run in finished for figure in run.thesis_figures):
        notes.append(
            "The thesis says neither which of its three losses of depth its figures are of, nor "
            "the range of its gray levels."
        )
    return Table("Experiments side by side", columns, rows, tuple(notes), text=4)


_OWN = ("decoded frontiers", "predicted depth, cut")  # Names of a run's partition.


def _own_regions(run: Run) -> str:
    partitions = runs.look_up(run.result, "regions", "partitions") or {}
    return next((name for name in _OWN if name in partitions), "")


def _value(run: Run, key: str) -> float | None:
    if key == "f_1px":
        return run.figure("regions", "partitions", _own_regions(run), key)
    return run.figure(key)


def _interval(run: Run, key: str) -> tuple[float | None, float | None]:
    ends = runs.look_up(run.result, "intervals", key)
    if not isinstance(ends, list) or len(ends) != 2:
        return None, None
    low, high = (runs.number({"end": end}, "end") for end in ends)
    return (low, high) if low is not None and high is not None else (None, None)


def _baseline(run: Run, key: str) -> float | None:
    if key == "accuracy":
        return run.figure("baselines", "always_interior", key)
    if key == "f_1px":
        return run.figure("regions", "partitions", "SLIC on RGB", key)
    return run.figure("baselines", "mean_image", key)


@dataclasses.dataclass(frozen=True)
class _Question:
    """Whether one run is better than another, or than its own parts before training."""

    first: str
    second: str
    keys: tuple[str, ...]


UNTRAINED = "its parts, not trained together"
_QUESTIONS = (
    _Question("depth_bins", "depth_mse", ("abs_rel", "rmse_m")),
    _Question("frontier_edges", "frontier_softmax", ("f_1px",)),
    _Question("two_phase", UNTRAINED, ("accuracy", "edge_bits", "f_1px")),
)
_LESS_IS_BETTER = ("abs_rel", "rmse_m", "edge_bits")


def _asked(finished: list[Run]) -> Table:
    by_name = {run.name: run for run in reversed(finished)}
    rows = []
    for question in _QUESTIONS:
        first, second = by_name.get(question.first), by_name.get(question.second)
        if first is None:
            continue
        if question.second == UNTRAINED:
            second = dataclasses.replace(first, result=first.result.get("untrained") or {})
        if second is None or (first.data, first.labels) != (second.data, second.labels):
            continue  # Figures of other images or labels are no answer.
        rows += [_answer(question, key, first, second) for key in question.keys]
    columns = (
        "is", "better than", "in", "answer", "its own", "the other's",
        "95 % interval of the difference", "steps",
    )  # fmt: skip
    note = (
        "The interval draws rooms again, with the difference of each image; without one the answer "
        "is of the figures alone."
    )
    return Table("Questions", columns, [row for row in rows if row], (note,), text=4)


def _answer(question: _Question, key: str, first: Run, second: Run) -> tuple[str, ...]:
    title, write = FIGURES[key]
    own, other = _value(first, key), _value(second, key)
    if own is None or other is None:
        return ()
    interval = None if question.second == UNTRAINED else _paired(first, second, key)
    better = own < other if key in _LESS_IS_BETTER else own > other
    answer = "equal" if own == other else "yes" if better else "no"
    if interval is not None and interval[0] <= 0 <= interval[1]:
        answer += ", within chance"
    steps = f"{first.steps:,}"
    if second.steps != first.steps:
        steps += f" against {second.steps:,}"
    ends = NOTHING if interval is None else " to ".join(_signed(end, write) for end in interval)
    return first.name, question.second, title, answer, write(own), write(other), ends, steps


def _signed(value: float, write: Callable[[float | None], str]) -> str:
    return ("+" if value >= 0 else "-") + write(abs(value))


def _paired(first: Run, second: Run, key: str) -> tuple[float, float] | None:
    """The interval of the mean difference over the images that both runs have."""
    mine, others = runs.images(first), runs.images(second)
    differences, spaces = [], []
    for place, row in mine.items():
        try:
            differences.append(float(row[key]) - float(others[place][key]))
            spaces.append(row["space_id"])
        except (KeyError, TypeError, ValueError):  # An image or a figure that one does not have.
            continue
    if not differences:
        return None
    return bootstrap.intervals({key: np.array(differences)}, spaces)[key]


_DEPTH_COLUMNS = (
    ("AbsRel", "abs_rel", fixed(3)),
    ("RMSE, m", "rmse_m", fixed(3)),
    ("MAE, m", "mae_m", fixed(3)),
    ("RMSE log", "rmse_log", fixed(3)),
    ("SILog", "silog", fixed(2)),
    ("δ < 1.25", "delta1", fixed(3)),
    ("AbsRel, affine", "abs_rel_affine", fixed(3)),
    ("boundary F1", "boundary_f1", fixed(4)),
    ("MAD, levels", "mad_levels", fixed(2)),
    ("right level", "level_accuracy", percent),
)


def _depth(chosen: list[Run]) -> Table:
    rows = []
    for run in chosen:
        cells = [write(run.figure(key)) for _, key, write in _DEPTH_COLUMNS]
        rows.append((run.name, f"{run.steps:,}", *cells, f"{run.figure('max_depth_m') or 0:g} m"))
    seen = []
    for run in chosen:
        for name, title in (("mean_image", "mean depth image"), ("constant", "mean depth")):
            keys = [(key, write) for _, key, write in _DEPTH_COLUMNS]
            cells = [write(run.figure("baselines", name, key)) for key, write in keys]
            row = (SUB + title, NOTHING, *cells, f"{run.figure('max_depth_m') or 0:g} m")
            if row not in seen:
                seen.append(row)
    columns = ("depth", "steps", *(title for title, *_ in _DEPTH_COLUMNS), "255 levels are")
    notes = (
        "Means over test images. Affine: fitted to the readings of each image, and not comparable "
        "with the others. MAD and right level are in gray levels of the range named.",
    )
    return Table("Depth", columns, rows + seen, notes)


_CLASS_COLUMNS = (
    ("accuracy", "accuracy", percent),
    ("balanced", "balanced_accuracy", percent),
    ("mIoU", "mean_iou", percent),
    ("mIoU, absent 0", "mean_iou_absent_0", percent),
    ("frontiers found", "frontier_found", percent),
    ("bits/edge", "edge_bits", fixed(4)),
    ("by share alone", "edge_bits_prior", fixed(4)),
    ("edge AP", "edge_ap", fixed(3)),
    ("edge ODS", "edge_ods", fixed(3)),
)


def _classes(chosen: list[Run]) -> Table:
    rows, baselines = [], []
    for run in sorted(chosen, key=lambda run: run.labels):
        parts = (
            (run.name, ()),
            (SUB + "its parts, not trained together", ("untrained",)),
            (SUB + "its ceiling", ("ceiling",)),
        )
        for name, path in parts:
            if path and not runs.look_up(run.result, *path):
                continue
            cells = [write(run.figure(*path, key)) for _, key, write in _CLASS_COLUMNS]
            rows.append((name, run.labels, *cells))
        path = ("baselines", "always_interior")
        cells = [write(run.figure(*path, key)) for _, key, write in _CLASS_COLUMNS]
        row = (SUB + "always interior", run.labels, *cells)
        if row not in baselines:
            baselines.append(row)
    columns = ("frontier classes", "labels", *(title for title, *_ in _CLASS_COLUMNS))
    notes = (
        "Pixels of the test split, pooled. mIoU leaves out classes that are neither true nor "
        "predicted anywhere; absent 0 counts them as 0. Found: frontier pixels that are not taken "
        "for interior. Edges at 0 px, uncalibrated; by share alone: the bits of one who knows "
        "only how many edges are frontiers.",
    )
    return Table("Frontier classes", columns, rows + baselines, notes, text=2)


_REGION_COLUMNS = (
    ("regions", "regions", fixed(1)),
    ("ARI", "ari", fixed(3)),
    ("VI, bits", "vi_bits", fixed(3)),
    ("ASA", "asa", fixed(3)),
    ("UE", "ue", fixed(3)),
    ("F 0 px", "f_0px", fixed(3)),
    ("F 1 px", "f_1px", fixed(3)),
    ("F 2 px", "f_2px", fixed(3)),
)
_BOUNDARY_COLUMNS = (("ODS 1 px", "ods"), ("OIS 1 px", "ois"), ("AP 1 px", "ap"))
_RIVAL_COLUMNS = (("SLIC: ARI", "ari"), ("SLIC: F 1 px", "f_1px"))


def _regions(chosen: list[Run]) -> Table:
    rows = []
    for run in sorted(chosen, key=lambda run: run.labels):
        own, write = _own_regions(run), fixed(3)
        for name, path in ((run.name, ()), (SUB + UNTRAINED, ("untrained",))):
            if not runs.look_up(run.result, *path, "regions"):
                continue
            place = (*path, "regions", "partitions")
            cells = [write(run.figure(*place, own, key)) for _, key, write in _REGION_COLUMNS]
            place = (*path, "regions", "boundaries", "1px")
            cells += [write(run.figure(*place, key)) for _, key in _BOUNDARY_COLUMNS]
            cells += [write(run.figure(*path, "regions", "coding", "ratio"))]
            place = (*path, "regions", "partitions", "SLIC on RGB")
            cells += [write(run.figure(*place, key)) for _, key in _RIVAL_COLUMNS]
            rows.append((name, run.labels, *cells))
    columns = (
        "regions",
        "labels",
        *(title for title, *_ in _REGION_COLUMNS),
        *(title for title, _ in _BOUNDARY_COLUMNS),
        "bits, given it",
        *(title for title, _ in _RIVAL_COLUMNS),
    )
    notes = (
        "Predicted frontiers, calibrated and decoded, or predicted depth cut by what made the "
        "labels, against the true partitions of test images. Bits, given it: those of the true "
        "frontiers given the prediction, over those without. SLIC: on the colours, with as many "
        "regions as the run's own.",
    )
    return Table("Regions", columns, rows, notes, text=2)
