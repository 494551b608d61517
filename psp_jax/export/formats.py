"""Formats of exported networks: StableHLO by `jax.export`, and ONNX by jax2onnx."""

import functools
import importlib.util
import logging
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax import steps
from psp_jax.models.precision import in_float32
from psp_jax.partition import calibration
from psp_jax.weights import pretrained

STABLEHLO, ONNX = "stablehlo", "onnx"
# What each format needs: names of modules, all from the extra `export`.
NEEDS = {STABLEHLO: ("flatbuffers",), ONNX: ("jax2onnx", "onnxruntime")}
PLATFORMS = ("cpu", "cuda", "tpu")
DEPTH, EDGES = "depth_m", "edge_logits"  # Names of outputs.

Size = tuple[int, int]
# Maps `[B, H, W, 3]` uint8 RGB to arrays by the names of outputs.
Network = Callable[[Any], dict[str, Any]]


def check(formats: tuple[str, ...]) -> None:
    """Raises ValueError if a package that a format needs is missing."""
    for name in formats:
        missing = [module for module in NEEDS[name] if importlib.util.find_spec(module) is None]
        if missing:
            raise ValueError(
                f'{name} needs {" and ".join(missing)}; pip install "psp_jax[export]", or leave it '
                "out of --formats"
            )


def network_of(model: pretrained.TrainedModel) -> Network:
    """Returns the function that is exported: normalisation, network and calibration, in float32."""
    config = in_float32(model.config.model)
    objective = model.config.objective
    fitted = model.calibration or calibration.Calibration()
    slope, bias = np.float32(1 / fitted.temperature), np.float32(fitted.bias)
    forward = functools.partial(
        steps.predict_images,
        model=config.make(objective.channels),
        objective=objective,
        color_scale=model.color_scale,
    )

    def network(image: Any) -> dict[str, Any]:
        predicted = forward(model.variables, jnp.asarray(image))
        outputs = {}
        if predicted.depth is not None:
            outputs[DEPTH] = predicted.depth
        if predicted.edges is not None:
            outputs[EDGES] = predicted.edges * slope + bias
        return outputs

    return network


def to_stablehlo(network: Network, size: Size) -> tuple[bytes, Network, dict[str, Any]]:
    """Exports by `jax.export`, for any batch size; returns content, function and facts."""
    from jax import export as jax_export  # Not loaded by `import jax`.

    def one(image: jax.Array) -> dict[str, jax.Array]:
        return {name: array[0] for name, array in network(image[None]).items()}

    (batch,) = jax_export.symbolic_shape("batch")
    # Layers choose between algorithms by the size of their inputs, which a batch would leave open.
    mapped = jax.jit(jax.vmap(one))
    image = jax.ShapeDtypeStruct((batch, *size, 3), np.uint8)
    content = bytes(jax_export.export(mapped, platforms=PLATFORMS)(image).serialize())
    call = jax.jit(jax_export.deserialize(bytearray(content)).call)
    facts = {"batch": "any", "platforms": list(PLATFORMS), "jax": jax.__version__}
    return content, lambda image: jax.device_get(call(image)), facts


def to_onnx(network: Network, size: Size) -> tuple[bytes, Network, dict[str, Any]]:
    """Converts by jax2onnx, for a batch of one image; returns content, function and facts."""
    import jax2onnx  # pyright: ignore[reportMissingImports]
    import onnxruntime  # pyright: ignore[reportMissingImports]

    # It warns, with tracebacks, of libraries that it supports and this JAX does not.
    logging.getLogger("jax2onnx").setLevel(logging.ERROR)
    image = jax.ShapeDtypeStruct((1, *size, 3), np.uint8)
    names = list(jax.eval_shape(network, image))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # Its errors are raised, too.
    try:
        proto: Any = jax2onnx.to_onnx(
            lambda image: tuple(network(image).values()),
            [image],
            model_name="psp_jax",
            input_names=["image"],
            output_names=names,
        )
        content = proto.SerializeToString()
        session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        session.run(names, {"image": np.zeros(image.shape, np.uint8)})
    except Exception as error:  # Neither says what it raises for a network that it does not know.
        raise ValueError(
            f"jax2onnx can't convert this network: {' '.join(str(error).split())}; "
            f"--formats={STABLEHLO} can"
        ) from error

    def call(image: np.ndarray) -> dict[str, Any]:
        return dict(zip(names, session.run(names, {"image": image}), strict=True))

    return content, call, {"batch": 1, "opset": proto.opset_import[0].version}


WRITERS = {STABLEHLO: to_stablehlo, ONNX: to_onnx}
