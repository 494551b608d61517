"""Depth images coded as regions: a partition without loss and a patch of inverse depth for each."""

from psp_jax.codec.contours import code_length_bits
from psp_jax.codec.stream import Parts, decode, encode, encode_parts, measured_rmse_per_m

__all__ = [
    "Parts",
    "code_length_bits",
    "decode",
    "encode",
    "encode_parts",
    "measured_rmse_per_m",
]
