"""Results that the thesis reports, with their sections.

The thesis reports four numbers and no table. It names the split of two of them: "test accuracy" of
depth, and "on training" for the last run of section 4.3.3.
"""

from typing import NamedTuple


class Result(NamedTuple):
    """A result of the thesis.

    Attributes:
        key: name of the metric in `test.json`.
        text: value as the thesis gives it.
        section: section of the thesis.
    """

    key: str
    text: str
    section: str


INTERIOR_SHARE = Result("interior_share", "85.72 % of the pixels", "3.4.3")
# Of one of the three depth losses; neither which one nor the range of gray levels is given.
DEPTH = (Result("level_accuracy", "3.78 %", "4.3.4"), Result("mad_levels", "below 12", "4.3.4"))
# By experiment, in the order of the thesis.
RESULTS = {
    "feature_classifier": (Result("accuracy", "60 %", "4.3.2, of the previous run"),),
    "finetune_head": (Result("accuracy", "nearly 90 %", "4.3.2"),),
    "weighted_ce": (Result("accuracy", "not improved", "4.3.3"),),
    "depth_ce": DEPTH,
    "depth_mse": DEPTH,
    "depth_msle": DEPTH,
    "depth_to_frontier": (Result("accuracy", "none yet", "4.3.4"),),
    "two_phase": (Result("accuracy", "none yet", "4.3.4"),),
}
FRONTIERS_ONLY = (Result("accuracy", "3.21 % on training", "4.3.3"),)  # Interior pixels weigh 0.
