"""Pretrained variables for a model with other inputs or outputs than theirs."""

import math

import numpy as np

RGB = 3


def adapt_inputs(kernel: np.ndarray, inputs: int) -> np.ndarray:
    """Makes a first convolution take another number of channels, as timm does.

    One channel gets the sum over the colours, so that a gray image gives what it gave as RGB.
    More get the colours' kernels in turn, times 3 / inputs, which keeps the size of the outputs.

    Args:
        kernel: `[k, k, 3, O]`, of colours.
        inputs: channels from now on.

    Returns:
        `[k, k, inputs, O]`.

    Raises:
        ValueError: if the kernel does not take three channels.
    """
    if kernel.shape[2] != RGB:
        raise ValueError(
            f"a first convolution of {kernel.shape[2]} inputs can't become one of {inputs}: only "
            f"those of {RGB} colours can"
        )
    if inputs == 1:
        return kernel.sum(axis=2, keepdims=True)
    repeats = math.ceil(inputs / RGB)
    return np.tile(kernel, (1, 1, repeats, 1))[:, :, :inputs] * np.float32(RGB / inputs)
