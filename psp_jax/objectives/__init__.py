"""Loss variants. An objective is the only code that knows what a network's channels mean.

One dataclass per variant, named here in full: `objectives.DepthMSE`.
"""

from psp_jax.objectives.depth import DepthBerHu, DepthMSE, DepthMSLE, DepthSILog
from psp_jax.objectives.depth_and_frontier import DepthAndFrontier
from psp_jax.objectives.depth_bins import DepthBins, DepthCE, DepthOrdinal
from psp_jax.objectives.frontier import FrontierEdges, FrontierSigmoid, FrontierSoftmax
from psp_jax.objectives.losses import Mean, masked_mean
from psp_jax.objectives.objective import Objective

__all__ = [
    "DepthAndFrontier",
    "DepthBerHu",
    "DepthBins",
    "DepthCE",
    "DepthMSE",
    "DepthMSLE",
    "DepthOrdinal",
    "DepthSILog",
    "FrontierEdges",
    "FrontierSigmoid",
    "FrontierSoftmax",
    "Mean",
    "Objective",
    "masked_mean",
]
