"""What a run of each kind of output leaves behind."""

import csv
import dataclasses
import json
import re

import jax
import numpy as np
import optax
import pytest

from data_builders import sources
from psp_jax import calibrate, checkpoints, experiment, init_from, objectives, state, train
from psp_jax.evaluation import partition_scores
from psp_jax.models import decoder, segmenter, two_phase, unet
from psp_jax.partition import calibration, edge_logits, frontier_classes
from tests import scans

NARROW = segmenter.Segmenter(depth=10, width=4, dropout=0.0)
PSPNET = ("trunk", "pyramid", "head")
KINDS = {
    "depth": (NARROW, objectives.DepthMSE(), (*PSPNET, "classifier")),
    "depth and frontiers": (
        decoder.FullResolution(NARROW, decoder_width=4),
        objectives.DepthAndFrontier(),
        (*PSPNET, "decoder"),
    ),
    "two phases": (
        two_phase.TwoPhase(NARROW, objectives.DepthMSE(), unet.DepthCNN(width=4, levels=2)),
        objectives.FrontierSoftmax(),
        ("frontier/classifier",),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_network_trains_and_reports_its_regions(
    tiny, tmp_path, kind, capsys, monkeypatch
):
    monkeypatch.setattr(
        sources.ScanNet, "segmentations", lambda self: scans.small_config().segmentations
    )
    model, objective, parts = KINDS[kind]
    tiny.model, tiny.objective = model, objective
    tiny.data.labels = "planar"
    # At a rate that moves nothing: without batch norms in the parts, the run is what it began as.
    tiny.phases = (experiment.Phase(steps=2, train=parts, learning_rate=1e-30),)
    if kind == "two phases":
        tiny.init_from_parts = leave_parts(tmp_path, tiny)
    train.run(tiny, str(tmp_path / "run"))
    result = json.loads((tmp_path / "run" / "test.json").read_text())
    rows = result["regions"]["partitions"]
    rivals = ["grid", "SEEDS on RGB", "SLIC on RGB", "SLIC on true depth"]
    from_depth = ["predicted depth, cut"] * ("depth" in kind or kind == "two phases")
    if kind == "depth":
        assert list(rows) == [*from_depth, *rivals]
        assert "coding" not in result["regions"]
        with pytest.raises(ValueError, match="predicts no frontiers"):
            calibrate.calibrate(tmp_path / "run")
    else:
        assert list(rows) == ["decoded frontiers", "connected components", *from_depth, *rivals]
        assert result["regions"]["coding"]["ratio"] > 0
        fitted = calibration.load(tmp_path / "run" / "calibration.json")
        (tmp_path / "run" / "calibration.json").unlink()
        if fitted != calibration.Calibration():  # Else nothing could be told from six steps.
            assert calibrate.calibrate(tmp_path / "run") == fitted
            assert calibration.load(tmp_path / "run" / "calibration.json") == fitted
    if kind in ("depth and frontiers", "two phases"):
        assert {"rmse_m", "edge_ap", "baselines"} <= result.keys()
        assert (tmp_path / "run" / "frontiers.png").stat().st_size > 1000
    assert all(0 <= row["asa"] <= 1 and row["regions"] >= 1 for row in rows.values())
    assert (tmp_path / "run" / "test.png").stat().st_size > 1000
    printed = capsys.readouterr().out
    assert "SLIC on true depth" in printed
    if kind != "depth":
        expect_figures_of_classes(tmp_path / "run", result, printed)
        assert result["ceiling"] is None  # The outputs are as large as the images.
        assert (result["untrained"] is not None) == (kind == "two phases")
    if kind == "two phases":
        parts, own = result["untrained"], "decoded frontiers"
        for name in ("accuracy", "mean_iou", "edge_bits", "edge_ap"):
            np.testing.assert_allclose(parts[name], result[name], rtol=1e-6)
        assert parts["regions"]["partitions"][own] == rows[own]
        assert "parts, not yet trained" in printed


def expect_figures_of_classes(workdir, result, printed):
    """What the counts of `test.json` say is what it and the table say, overall and by image."""
    counts = np.asarray(result["confusion"])
    interior = counts[0].sum() / counts.sum()
    np.testing.assert_allclose(result["accuracy"], np.trace(counts) / counts.sum())
    baseline = result["baselines"]["always_interior"]
    np.testing.assert_allclose([baseline["accuracy"], result["interior_share"]], interior)
    np.testing.assert_allclose(baseline["balanced_accuracy"], 1 / (counts.sum(1) > 0).sum())
    assert baseline["frontier_found"] == 0
    low, high = result["intervals"]["accuracy"]
    assert low <= result["accuracy"] <= high
    lines = printed.splitlines()
    (first,) = [index for index, line in enumerate(lines) if line.startswith("classes, of")]
    assert lines[first + 1].split()[2] == f"{result['accuracy']:.4f}"
    assert lines[first + 4].split()[2] == f"{interior:.4f}"
    assert re.search(r"  accuracy \d\.\d{3}  always interior \d\.\d{3}  ", printed)
    with (workdir / "test_images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == result["images"]
    known = [float(row["interior_share"]) for row in rows]
    np.testing.assert_allclose(np.mean(known), interior, atol=0.05)  # Images have other shares.


def leave_parts(folder, config):
    """Writes runs of the two networks, never trained, and returns `init_from_parts` of both."""
    drawn = init_from.drawn(config, config.model.make(config.objective.channels))
    drawn = jax.tree.map(lambda leaf: leaf + 0.01, drawn)  # Unlike what the run draws itself.
    runs = {
        "depth": (config.model.depth, config.model.to_depth),
        "frontier": (config.model.frontier, config.objective),
    }
    for name, (model, objective) in runs.items():
        (folder / name).mkdir()
        run = dataclasses.replace(config, model=model, objective=objective)
        experiment.save(run, folder / name)
        variables = {kind: tree[name] for kind, tree in drawn.items()}
        with checkpoints.Store(folder / name, keep=1) as store:
            store.save(state.create(variables, optax.sgd(1.0), (), 1))
    return {name: str(folder / name) for name in runs}


def view_of(labels, logits=None, depth_m=None):
    height, width = labels.shape
    rng = np.random.default_rng(0)
    return partition_scores.View(
        rgb=rng.integers(0, 256, (height, width, 3), np.uint8),
        depth_mm=np.asarray(1000 + 500 * (labels % 5), np.uint16),
        classes=frontier_classes.encode(labels),
        known=np.ones(labels.shape, bool),
        depth_m=depth_m,
        edges=logits,
    )


def test_the_truth_scores_perfectly_and_costs_almost_no_bits():
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 5, (4, 5))
    labels = frontier_classes.split_connected(np.kron(blocks, np.ones((12, 12), int)))
    sure = edge_logits.from_labels(labels)
    logits = np.full((*labels.shape, 2), -8, np.float32)
    logits[:, :-1, 0], logits[:-1, :, 1] = 2 * sure.across, 2 * sure.along
    table = partition_scores.Table(calibration.Calibration(), None)
    table.add(view_of(labels, logits))
    figures = table.figures()
    decoded = figures["partitions"]["decoded frontiers"]
    assert decoded["ari"] == decoded["asa"] == decoded["f_0px"] == 1.0
    assert decoded["vi_bits"] == 0
    assert decoded["ari"] > figures["partitions"]["grid"]["ari"]
    assert figures["coding"]["ratio"] < 0.2
    assert figures["boundaries"]["0px"]["ods"] == 1.0


def test_calibration_finds_the_temperature_of_overconfident_logits():
    labels = [
        frontier_classes.split_connected(
            np.kron(np.random.default_rng(seed).integers(0, 4, (3, 4)), np.ones((8, 8), int))
        )
        for seed in range(4)
    ]
    rng = np.random.default_rng(1)
    views = []
    for each in labels:
        cut = edge_logits.from_labels(each)
        logits = np.zeros((*each.shape, 2), np.float32)
        logits[:, :-1, 0] = np.sign(cut.across) + rng.normal(0, 1, cut.across.shape)
        logits[:-1, :, 1] = np.sign(cut.along) + rng.normal(0, 1, cut.along.shape)
        views.append(view_of(each, 3 * logits))
    fitted = partition_scores.calibrate(iter(views), count=len(views), images=2)
    sharper = [dataclasses.replace(view, edges=2 * view.edges) for view in views]
    again = partition_scores.calibrate(iter(sharper), count=len(sharper), images=2)
    np.testing.assert_allclose(again.temperature, 2 * fitted.temperature, rtol=0.02)
