"""The report of runs of every kind of output."""

import collections
import csv
import dataclasses
import json
import re

import jax
import numpy as np
import optax
import pytest

from data_builders import sources
from psp_jax import calibrate, checkpoints, data, experiment, objectives, state, train
from psp_jax.evaluation import partition_scores, predictions, run_report
from psp_jax.models import decoder, resnet, segmenter, two_phase, unet
from psp_jax.partition import calibration
from tests import scans, untrained

NARROW = segmenter.Segmenter(resnet.ResNet(10, width=4), dropout=0.0)
PSPNET = ("trunk", "pyramid", "head")
PARTS, DECODED = "parts_before_joint_training", partition_scores.DECODED
COMPONENTS = partition_scores.COMPONENTS
KINDS = {
    "depth": (unet.DepthCNN(width=2, levels=1), objectives.DepthMSE(), unet.DepthUNet.PARTS),
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
    tiny, tmp_path, kind, capsys, monkeypatch, drawn_quickly
):
    monkeypatch.setattr(
        sources.ScanNet, "segmentations", lambda self: scans.small_config().segmentations
    )
    model, objective, parts = KINDS[kind]
    tiny.model, tiny.objective = model, objective
    tiny.data.labels = "planar"
    # At a rate that changes nothing: without batch norms in the parts, the run stays as it began.
    tiny.phases = (experiment.Phase(steps=2, train=parts, learning_rate=1e-30),)
    if kind == "two phases":
        tiny.init_from_parts = leave_parts(tmp_path, tiny)
    train.run(tiny, str(tmp_path / "run"))
    result = json.loads((tmp_path / "run" / "test.json").read_text())
    rows = result["regions"]["partitions"]
    baselines = list(partition_scores.BASELINES)
    from_depth = [partition_scores.SEGMENTED_DEPTH] * ("depth" in kind or kind == "two phases")
    if kind == "depth":
        assert list(rows) == [*from_depth, *baselines]
        assert "coding" not in result["regions"]
        with pytest.raises(ValueError, match="predicts no frontiers"):
            calibrate.calibrate(tmp_path / "run")
    else:
        assert list(rows) == [DECODED, COMPONENTS, *from_depth, *baselines]
        assert result["regions"]["coding"]["ratio"] > 0
        fitted = calibration.load(tmp_path / "run" / "calibration.json")
        (tmp_path / "run" / "calibration.json").unlink()
        if fitted != calibration.Calibration():  # Otherwise the fit failed.
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
        expect_class_metrics(tmp_path / "run", result, printed)
        assert result["oracle"] is None  # The outputs are as large as the images.
        assert (result[PARTS] is not None) == (kind == "two phases")
    if kind == "two phases":
        parts, own = result[PARTS], DECODED
        for name in ("accuracy", "mean_iou", "edge_bits", "edge_ap"):
            np.testing.assert_allclose(parts[name], result[name], rtol=1e-6)
        assert parts["regions"]["partitions"][own] == rows[own]
        assert "parts before joint training" in printed


def expect_class_metrics(workdir, result, printed):
    """The confusion matrix of `test.json` agrees with its metrics, the table and the CSV file."""
    counts = np.asarray(result["confusion"])
    interior = counts[0].sum() / counts.sum()
    np.testing.assert_allclose(result["accuracy"], np.trace(counts) / counts.sum())
    baseline = result["baselines"]["always_interior"]
    np.testing.assert_allclose([baseline["accuracy"], result["interior_share"]], interior)
    np.testing.assert_allclose(baseline["balanced_accuracy"], 1 / (counts.sum(1) > 0).sum())
    assert baseline["frontier_recall"] == 0
    low, high = result["intervals"]["accuracy"]
    assert low <= result["accuracy"] <= high
    lines = printed.splitlines()
    (first,) = [index for index, line in enumerate(lines) if line.startswith("classes, ")]
    assert lines[first + 1].split()[2] == f"{result['accuracy']:.4f}"
    (always,) = [line for line in lines[first:] if line.startswith("always interior")]
    assert always.split()[2] == f"{interior:.4f}"
    assert re.search(r"  accuracy \d\.\d{3}  always interior \d\.\d{3}  ", printed)
    with (workdir / "test_images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == result["images"]
    known = [float(row["interior_share"]) for row in rows]
    np.testing.assert_allclose(np.mean(known), interior, atol=0.05)  # Images have other shares.


def leave_parts(folder, config):
    """Writes runs of the two networks, never trained, and returns `init_from_parts` of both."""
    drawn = untrained.variables(config.model.make(config.objective.channels))
    # Other values than the run draws itself.
    drawn = jax.tree.map(lambda leaf: np.asarray(leaf) + np.float32(0.01), drawn)
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


def test_every_image_is_decoded_and_predicted_once(tiny, tmp_path, monkeypatch):
    tiny.model, tiny.objective, _ = KINDS["depth and frontiers"]
    tiny.data.labels, tiny.data.batch_size = "planar", 3  # No batch is padded.
    model = tiny.model.make(tiny.objective.channels)
    splits = data.open_splits(tiny.data.source.prepare())
    decoded, predicted = collections.Counter(), 0
    decode, predict = data._Checked.__getitem__, predictions.BatchPredictor.__call__

    def counting_decode(self, index):
        decoded[self._place, index] += 1
        return decode(self, index)

    def counting_predict(self, variables, batch):
        nonlocal predicted
        predicted += int(np.sum(batch.valid))
        return predict(self, variables, batch)

    monkeypatch.setattr(data._Checked, "__getitem__", counting_decode)
    monkeypatch.setattr(predictions.BatchPredictor, "__call__", counting_predict)
    variables = untrained.variables(model)
    records = [{"step": 1, "train_loss": 1.0, "validation_loss": 1.0, "validation_rmse_m": 1.0}]
    run_report.report(tiny, model, variables, splits, tmp_path, records)
    assert set(decoded.values()) == {1}
    assert len(decoded) == sum(len(examples) for examples in splits.values())
    assert predicted == len(splits["validation"]) + len(splits["test"])
    assert json.loads((tmp_path / "test.json").read_text())["images"] == len(splits["test"])
