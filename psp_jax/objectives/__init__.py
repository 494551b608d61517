"""Losses. An objective is the only code that knows the meaning of a network's output channels.

The built-in objectives are exported here; a new one is imported from its module.
"""

from psp_jax.objectives.depth import DepthBerHu, DepthMSE, DepthMSLE, DepthSILog
from psp_jax.objectives.depth_and_frontier import DepthAndFrontier
from psp_jax.objectives.depth_bins import DepthBins, DepthCE, DepthOrdinal
from psp_jax.objectives.frontier import FrontierEdges, FrontierSigmoid, FrontierSoftmax
from psp_jax.objectives.losses import Mean
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
]
