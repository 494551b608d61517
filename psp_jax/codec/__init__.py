"""Depth images coded as regions: a partition without loss and a patch of inverse depth for each."""

from psp_jax.codec.contours import partition_bits
from psp_jax.codec.stream import (
    Parts,
    decode,
    encode,
    encode_parts,
    encode_within,
    measured_rmse_per_m,
)

__all__ = [
    "Parts",
    "decode",
    "encode",
    "encode_parts",
    "encode_within",
    "measured_rmse_per_m",
    "partition_bits",
]
