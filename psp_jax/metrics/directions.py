"""Tells which of two validations is better by a metric."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

LOSS = "loss"
# Whether more is better, of the metrics of a validation by the kind of prediction.
BY_KIND: Mapping[str, Mapping[str, bool]] = {
    "depth": {"abs_rel": False, "rmse_m": False, "delta1": True},
    "edges": {"edge_bits": False, "edge_ap": True, "edge_ods": True, "edge_ois": True},
    "classes": dict.fromkeys(
        ("accuracy", "balanced_accuracy", "mean_iou", "frontier_recall"), True
    ),
}
IS_HIGHER_BETTER = {LOSS: False} | {
    name: higher for metrics in BY_KIND.values() for name, higher in metrics.items()
}


def best_step(records: Iterable[Mapping[str, Any]], metric: str = "") -> int | None:
    """Returns the step of the best record, the first of equals; None if none has a finite value.

    Args:
        records: lines of `metrics.jsonl`, one per validation.
        metric: a key of `IS_HIGHER_BETTER`; empty for the loss.
    """
    metric = metric or LOSS
    sign, best, step = (1 if IS_HIGHER_BETTER[metric] else -1), -math.inf, None
    for record in records:
        value = record.get(f"validation_{metric}")
        if isinstance(value, int | float) and math.isfinite(value) and sign * value > best:
            best, step = sign * value, int(record["step"])
    return step
