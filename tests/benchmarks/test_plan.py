from typing import Any

import jax
import numpy as np
import pytest

from benchmarks import plan
from configs import depth_mse
from psp_jax.models import profile, resnet, segmenter


def test_a_step_counts_forward_and_backward_and_grows_with_the_image():
    config = depth_mse.get_config("rooms")
    source: Any = config.data.source
    config.model = segmenter.Segmenter(resnet.ResNet(10, width=4), dropout=0.0)
    gflop = plan.gflop_per_image(config)
    model = config.model.make(config.objective.channels)
    height, width = source.size()
    image = jax.ShapeDtypeStruct((1, height, width, 3), np.float32)
    variables = jax.eval_shape(lambda image: model.init(jax.random.key(0), image), image)
    forward = profile.gflop(jax.make_jaxpr(model.apply)(variables, image).jaxpr)
    # Each convolution is computed again for the gradients of its input and of its kernel, but the
    # first one only for its kernel; Adam and the loss add little.
    assert 2.5 < gflop / forward < 3.2
    # Twice the sides are four times the pixels; padding, which XLA does not count, is less of it.
    source.rooms.depth_height, source.rooms.depth_width = 2 * height, 2 * width
    assert plan.gflop_per_image(config) / gflop == pytest.approx(4, rel=0.1)


def test_the_builders_rate_is_of_whole_examples(monkeypatch):
    monkeypatch.setattr(plan, "COLOR_SIZE", (96, 128))
    monkeypatch.setattr(plan, "ROUNDS", 1)
    rng = np.random.default_rng(0)
    depth_mm = rng.integers(500, 3000, (480, 640), np.uint16)  # zlib can save little of it.
    color = np.zeros((48, 64, 3), np.uint8)
    build = plan.measure("thesis", [(color, depth_mm)])
    assert 1.2 * depth_mm.size < build.stored_bytes < 2.2 * depth_mm.size
    assert 0 < build.core_s < 60


def test_the_plan_multiplies_the_measured_rates():
    config = depth_mse.get_config("scannet")
    builds = {"thesis": plan.Build(core_s=0.04, stored_bytes=1e5)}
    gflop = 100 * plan.PUBLISHED_GFLOP
    text = plan.describe(builds, "2 frames", config, gflop, passes=3)
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    assert rows[1] == ["90,000", "`thesis`", "1.0", "0.0", "9", "0.1", "1"]
    assert rows[2] == ["2,500,000", "`thesis`", "27.8", "0.9", "250", "1.4", "34"]
    # 938 and 2470 images/s of ResNet-50, each a hundredth of the work.
    (a100,) = (row for row in rows if row[0].startswith("A100") and row[2] == "float32")
    assert a100[1:4] == ["1.79", "float32", "9.4"]
    # The thesis trains on 917 of its 1505 scans.
    hours = [images / 9.38 / 3600 for images in (2.4e6, 3 * 917 / 1505 * 2.5e6)]
    assert a100[4:] == [f"{x:,.0f}" for h in hours for x in (h, h * 1.79)]
    assert "3,024 $, 2,580 EUR" in text and "210,000 images" in text
    assert "Measured" in text and "Assumed" in text
