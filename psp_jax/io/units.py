"""Units of depth: uint16 millimetres in files and partitions, float32 metres elsewhere."""

import numpy as np
import numpy.typing as npt

MM_PER_M = 1000.0
MAX_DEPTH_MM = 65535  # The largest uint16.


def to_millimetres(depth_m: npt.ArrayLike, *, minimum: int = 0) -> np.ndarray:
    """Rounds metres to uint16 millimetres, clipped to `MAX_DEPTH_MM`.

    Args:
        depth_m: float metres.
        minimum: smallest result; 1 for predicted depth, since 0 marks no reading.
    """
    depth_mm = np.round(np.asarray(depth_m) * MM_PER_M)
    return np.clip(depth_mm, minimum, MAX_DEPTH_MM).astype(np.uint16)
