"""What the thesis reports, with the place that says it.

It gives four figures in all and no table of them. Which split an accuracy is of it says for two:
"test accuracy" of depth, "on training" for the last run of 4.3.3.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        key: name of the figure in `test.json`.
        text: what the thesis says.
        section: where it says so.
    """

    key: str
    text: str
    section: str


# The order of its experiments, and the section that describes each.
SECTIONS = {
    "feature_classifier": "3.4.1",
    "finetune_head": "3.4.2",
    "weighted_ce": "3.4.3",
    "depth_ce": "3.4.4.1",
    "depth_mse": "3.4.4.1",
    "depth_msle": "3.4.4.1",
    "depth_to_frontier": "3.4.4.2",
    "two_phase": "3.4.4.2",
}
INTERIOR_SHARE = Figure("interior_share", "85.72 % of the pixels", "3.4.3")
# Of one of the three losses of depth, without saying which, nor the range of the gray levels.
DEPTH = (
    Figure("level_accuracy", "3.78 %", "4.3.4"),
    Figure("mad_levels", "below 12", "4.3.4"),
)
FIGURES = {
    "feature_classifier": (Figure("accuracy", "60 %", "4.3.2, of the run before"),),
    "finetune_head": (Figure("accuracy", "nearly 90 %", "4.3.2"),),
    "weighted_ce": (Figure("accuracy", "not improved", "4.3.3"),),
    "depth_ce": DEPTH,
    "depth_mse": DEPTH,
    "depth_msle": DEPTH,
    "depth_to_frontier": (Figure("accuracy", "none yet", "4.3.4"),),
    "two_phase": (Figure("accuracy", "none yet", "4.3.4"),),
}
FRONTIERS_ONLY = (Figure("accuracy", "3.21 % on training", "4.3.3"),)  # Interior pixels weigh 0.
