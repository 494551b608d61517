"""Units of depth: uint16 millimetres in files and partitions, float32 metres elsewhere."""

import numpy as np

MM_PER_M = 1000.0
MAX_DEPTH_MM = 65535  # The largest uint16.


def to_millimetres(depth_m: np.ndarray) -> np.ndarray:
    """Rounds predicted metres to uint16 millimetres.

    Args:
        depth_m: float metres; values are clipped to 1 to `MAX_DEPTH_MM` millimetres, since 0 marks
            no reading.
    """
    return np.clip(np.round(depth_m * MM_PER_M), 1, MAX_DEPTH_MM).astype(np.uint16)
