import dataclasses
import json

import numpy as np
import pytest

import psp_jax
from psp_jax import data, evaluate, prepared
from psp_jax.evaluation import predictions, views
from psp_jax.weights import pretrained
from tests import programs


@pytest.mark.parametrize("kind", ["depth_run", "edges_run"])
def test_a_run_is_scored_on_a_data_set_by_name_and_is_not_changed(
    kind, request, data_dir, tmp_path, capsys
):
    workdir = request.getfixturevalue(kind)
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    source = prepared.Prepared("small", str(data_dir))
    evaluate.evaluate(workdir, source, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == before
    result = json.loads((tmp_path / "out" / "test.json").read_text())
    printed = capsys.readouterr().out
    assert f"test split, {result['images']} images" in printed
    assert result["spaces_shared_with_train"] == []
    assert result["regions"]["partitions"]
    if kind == "depth_run":
        assert f"{result['rmse_m']:.3f}" in printed and "mean depth image" in printed
    else:
        assert f"{result['edge_ap']:.3f}" in printed
    lines = (tmp_path / "out" / "test_images.csv").read_text().splitlines()
    assert len(lines) == result["images"] + 1


def test_another_split_has_files_by_its_name(depth_run, data_dir, tmp_path):
    source = prepared.Prepared("small", str(data_dir))
    evaluate.evaluate(depth_run, source, tmp_path, split="validation")
    assert json.loads((tmp_path / "validation.json").read_text())["split"] == "validation"
    assert not (tmp_path / "test.json").exists()


@pytest.mark.parametrize("kind", ["depth_run", "edges_run"])
def test_the_mirror_image_and_scales_are_averaged_as_predict_does(
    kind, request, data_dir, tmp_path
):
    workdir, source = request.getfixturevalue(kind), prepared.Prepared("small", str(data_dir))
    averaged = views.Views(flip=True, scales=(0.75, 1.0))
    evaluate.evaluate(workdir, source, tmp_path, averaged=averaged)
    result = json.loads((tmp_path / "test.json").read_text())
    assert result["flip"] is True and result["scales"] == [0.75, 1.0]
    assert "accuracy" not in result and result["regions"]["partitions"]
    trained, splits = pretrained.load(workdir), data.open_splits(source.prepare())
    config = trained.config
    model = config.model.make(config.objective.channels)
    predict = predictions.BatchPredictor(config, model, averaged)
    image = next(predict.split(trained.variables, splits["test"]))
    predictor = psp_jax.load(workdir, flip=True, scales=(0.75, 1.0))
    (expected,) = predictor.run([predictor.prepare(np.asarray(image.truth.image))])
    for name in ("depth", "edges", "classes"):
        one, other = getattr(image.prediction, name), getattr(expected, name)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_images_are_resized_to_those_of_the_models_training(edges_run, data_dir):
    trained = pretrained.load(edges_run)
    config, splits = (
        trained.config,
        data.open_splits(prepared.Prepared("small", data_dir).prepare()),
    )
    model = config.model.make(config.objective.channels)
    batch = next(data.eval_batches(splits["test"], config.data))
    size = 2 * batch.size[0], 2 * batch.size[1]
    larger = np.stack([views.resize_image(image, size) for image in np.asarray(batch.image)])
    predict = predictions.BatchPredictor(config, model, color_scale=2)
    _, resized = predict(trained.variables, batch)
    as_they_are = predictions.BatchPredictor(config, model)
    _, expected = as_they_are(trained.variables, dataclasses.replace(batch, image=larger))
    assert resized.edges is not None and resized.edges.shape[1:3] == batch.size
    np.testing.assert_array_equal(resized.edges, expected.edges)
    _, unchanged = as_they_are(trained.variables, batch)
    assert unchanged.edges is not None
    assert not np.allclose(resized.edges, unchanged.edges, atol=1e-3)


def test_the_folder_of_a_run_is_no_output(depth_run, data_dir):
    source = prepared.Prepared("small", str(data_dir))
    with pytest.raises(ValueError, match="is the folder of a model"):
        evaluate.evaluate(depth_run, source, depth_run)


def test_without_a_workdir_the_model_that_ships_is_scored(
    edges_run, data_dir, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["evaluate", "--data=small", f"--data_dir={data_dir}"])
    with pytest.raises(SystemExit, match="2"):
        evaluate.main()
    assert "ships no trained model" in capsys.readouterr().err
    pretrained.export(edges_run, pretrained.SHIPPED)
    with pytest.raises(SystemExit, match="0"):
        evaluate.main()
    source = prepared.Prepared("small", str(data_dir))
    evaluate.evaluate(edges_run, source, tmp_path / "run")
    shipped, run = (
        json.loads((tmp_path / folder / "test.json").read_text())
        for folder in ("evaluate/small", "run")
    )
    assert shipped["images"] == run["images"]
    # Kernels are exported in float16.
    assert shipped["edge_ap"] == pytest.approx(run["edge_ap"], abs=0.02)


def test_an_unknown_data_set_is_one_line(depth_run, data_dir):
    flags = (f"--workdir={depth_run}", "--data=attic", f"--data_dir={data_dir}")
    done = programs.run("psp_jax.evaluate", *flags)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "got 'attic'; there is small" in done.stderr
