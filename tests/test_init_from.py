"""Runs start from workdirs, converted and raw files; what differs is adapted aloud or refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax import checkpoints, experiment, init_from, objectives, state, train
from psp_jax.models import architecture, decoder, segmenter, two_phase, unet
from psp_jax.weights import surgery
from psp_jax.weights.__main__ import main
from psp_jax.weights.network import Network, flatten, unflatten
from tests import published
from tests.experiments import make_tiny

CLASSES = 7
NETWORK = Network(10, 4, 3, CLASSES, True, architecture.SEMSEG)


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
    main(["convert", str(raw), str(path)])
    return path


def start(source, *, channels=CLASSES, inputs=3, **fields):
    """The flat initial and grafted variables of a model, and the words."""
    fields = {"depth": 10, "width": 4, "auxiliary": True} | fields
    model = segmenter.Segmenter(**fields).make(channels)
    network = Network(
        model.depth, model.width, inputs, channels, model.auxiliary, model.architecture
    )
    drawn = unflatten(published.make_leaves(network, seed=1))
    init_from.check(str(source), model)
    taken, words = init_from.take(str(source), model, drawn)
    assert jax.tree.structure(taken) == jax.tree.structure(drawn)
    return flatten(drawn), flatten(taken), " / ".join(words)


@pytest.mark.parametrize("source", ["raw", "converted"])
def test_every_array_of_a_file_is_taken(source, leaves, request):
    path = request.getfixturevalue(source)
    _, taken, words = start(path)
    for name, value in leaves.items():
        np.testing.assert_array_equal(taken[name], value)
    assert f"{len(leaves)} of {len(leaves)} arrays are those of {path}" in words


def test_a_classifier_of_other_classes_stays_new_and_is_said(raw, leaves):
    drawn, taken, words = start(raw, channels=16)
    assert "the classifier is new: 7 outputs there, 16 here" in words
    assert "the auxiliary/classifier is new: 7 outputs there, 16 here" in words
    assert "4 have no match in it and are new: auxiliary, classifier" in words
    for path in taken:
        is_new = "classifier" in path
        np.testing.assert_array_equal(taken[path], (drawn if is_new else leaves)[path])


def test_an_auxiliary_head_without_place_is_said(raw, leaves):
    _, taken, words = start(raw, auxiliary=False)
    assert "its auxiliary has no place in the model and is left out" in words
    assert taken.keys() == {path for path in leaves if "auxiliary" not in path}


@pytest.mark.parametrize("inputs", [1, 4])
def test_a_model_of_other_inputs_gets_an_adapted_first_convolution(inputs, raw, leaves):
    _, taken, words = start(raw, inputs=inputs)
    assert f"the first convolution is adapted from 3 to {inputs} inputs" in words
    theirs, ours = leaves[init_from.FIRST_KERNEL], np.asarray(taken[init_from.FIRST_KERNEL])
    if inputs == 1:
        expected = theirs[:, :, :1] + theirs[:, :, 1:2] + theirs[:, :, 2:]
    else:
        expected = np.concatenate([theirs, theirs[:, :, :1]], axis=2) * 0.75
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_a_gray_image_gives_with_one_channel_what_it_gave_with_three():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 5))
    one = surgery.adapt_inputs(kernel, 1)
    gray = np.random.default_rng(1).normal(size=(3, 3, 1))
    colours = np.repeat(gray, 3, axis=-1)
    np.testing.assert_allclose(
        np.einsum("hwi,hwio->o", colours, kernel), np.einsum("hwi,hwio->o", gray, one)
    )
    for inputs in (4, 6, 7):  # Equal channels give a response of the same size.
        wide = surgery.adapt_inputs(kernel[..., :1, :].repeat(3, axis=2), inputs)
        np.testing.assert_allclose(wide.sum(2), 3 * kernel[..., 0, :])
    with pytest.raises(ValueError, match="of 4 inputs can't become one of 1"):
        surgery.adapt_inputs(np.zeros((3, 3, 4, 5)), 1)


def test_a_trunk_alone_leaves_the_rest_new(tmp_path, leaves):
    flavour = architecture.TORCHVISION_TRUNK
    network = Network(10, 4, 3, 0, False, flavour)
    own = published.make_leaves(network)
    path = tmp_path / "resnet10.pth"
    published.write_legacy(path, published.torch_names(own, published.torchvision))
    # What the heads are like is the model's own affair.
    wanted = dataclasses.replace(flavour, align_corners=False, bins=(6, 3, 2, 1))
    drawn, taken, words = start(path, architecture=wanted, auxiliary=False)
    assert "are new: classifier, head, pyramid" in words
    for name in taken:
        np.testing.assert_array_equal(taken[name], own.get(name, drawn[name]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 18}, "depth: 10 against 18"),
        ({"width": 5}, "width: 4 against 5"),
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
    model = segmenter.Segmenter(depth=10, width=4).make(CLASSES)
    with pytest.raises(FileNotFoundError, match="there is no such workdir or file"):
        init_from.check(str(tmp_path / "nothing.pth"), model)


# ----- the command line


def run(capsys, *arguments, fails: bool = False) -> str:
    capsys.readouterr()
    if not fails:
        main(list(map(str, arguments)))
        return capsys.readouterr().out
    with pytest.raises(SystemExit) as status:
        main(list(map(str, arguments)))
    assert status.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def test_convert_prints_where_everything_went(raw, tmp_path, capsys):
    output = run(capsys, "convert", raw, tmp_path / "out.safetensors", "--classes=7")
    assert "layer4.0.downsample.0.weight" in output
    assert "32x16x1x1  -> params/trunk/stage4/block1/shortcut_conv/kernel" in output
    assert "layer4.0.bn1.num_batches_tracked" in output and "left: only counts steps" in output
    assert "stride_on_reduce      False" in output
    assert (tmp_path / "out.json").exists()


def test_verify_agrees_with_what_convert_stored_and_not_with_other_weights(
    converted, tmp_path, capsys
):
    assert run(capsys, "verify", converted).endswith("verified\n")
    golden = converted.with_suffix(".golden.safetensors")
    data = bytearray(converted.read_bytes())
    data[-40_000:-39_996] = np.float32(3.0).tobytes()
    other = tmp_path / "other.safetensors"
    other.write_bytes(bytes(data))
    assert "other.golden.safetensors is missing" in run(capsys, "verify", other, fails=True)
    other.with_suffix(".golden.safetensors").write_bytes(golden.read_bytes())
    assert "does not give what" in run(capsys, "verify", other, fails=True)
    run(capsys, "verify", other, "--golden")
    assert run(capsys, "verify", other).endswith("verified\n")


def test_inspect_says_what_can_load_a_file(raw, converted, capsys):
    for path in (raw, converted):
        output = run(capsys, "inspect", path)
        assert "into Segmenter(depth=10, width=4, architecture=SEMSEG)" in output
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
    assert "copy.json beside it is another file's: network" in run(
        capsys, "inspect", copy, fails=True
    )
    text = text.replace('"width": 8', '"width": 4000000000')
    copy.with_suffix(".json").write_text(text)
    assert "width 4000000000" in run(capsys, "inspect", copy, fails=True)
    copy.with_suffix(".json").write_text("{}")
    assert "is no description of a network" in run(capsys, "inspect", copy, fails=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("convert", "RAW", "out.npz"), "a name that ends in .safetensors was expected"),
        (("convert", "RAW", "out.safetensors", "--classes=19"), "--classes=19 was expected"),
        (("convert", "CONVERTED", "out.safetensors"), "is converted already"),
        (("inspect", "RAW", "--architecture=VGG"), "'VGG' is none of SEMSEG"),
        (("inspect", "RAW", "--architecture=SEMSEG,strid=1"), "an architecture has no 'strid'"),
        (("inspect", "RAW", "--architecture=SEMSEG,ceil_pool=7"), "ceil_pool is a bool, not '7'"),
        (
            ("inspect", "RAW", "--architecture=SEMSEG,channel_order=BGR"),
            "channel_order: RGB against",
        ),
        (("inspect", "nothing.pth"), "No such file"),
    ],
)
def test_a_wrong_command_ends_in_one_line(arguments, message, raw, converted, capsys):
    names = {"RAW": raw, "CONVERTED": converted}
    given = [names.get(argument, argument) for argument in arguments]
    assert message in run(capsys, *given, fails=True)


def test_a_run_starts_from_a_file(tiny, raw, leaves, tmp_path, monkeypatch):
    """The config names a .pth, and training begins from it."""
    network = Network(10, 4, 3, 1, False, architecture.SEMSEG)
    drawn = unflatten(published.make_leaves(network, seed=1))
    monkeypatch.setattr(state, "initial_variables", lambda *unused: drawn)
    tiny.init_from = str(raw)
    train.check(tiny, str(tmp_path / "run"))
    variables, words = init_from.start(tiny, tiny.model.make(tiny.objective.channels))
    assert "the classifier is new: 7 outputs there, 1 here" in words
    found = flatten(variables)
    np.testing.assert_array_equal(
        found["params/head/conv/kernel"], leaves["params/head/conv/kernel"]
    )
    tiny.model = dataclasses.replace(tiny.model, architecture=architecture.CAFFE_101)
    with pytest.raises(ValueError, match="another architecture .*: ceil_pool"):
        train.check(tiny, str(tmp_path / "run"))


def test_a_workdir_of_another_geometry_is_refused(tiny, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    experiment.save(tiny, folder)
    monkeypatch.setattr(init_from.checkpoints, "require", lambda workdir: 1)
    model = dataclasses.replace(tiny.model, architecture=architecture.CAFFE_50).make(1)
    with pytest.raises(experiment.ConfigError, match="stride_on_reduce: False against True"):
        init_from.check(str(folder), model)


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


def test_the_networks_of_a_model_start_from_runs_of_their_own(tmp_path):
    pspnet, cnn = segmenter.Segmenter(depth=10, width=4), unet.DepthCNN(width=4, levels=1)
    depth, frontier = objectives.DepthMSE(), objectives.FrontierSoftmax()
    first = run_of(tmp_path / "depth", pspnet, depth, seed=1)
    second = run_of(tmp_path / "frontier", cnn, frontier, seed=2)
    model = two_phase.TwoPhase(pspnet, depth, cnn).make(16)
    source = f"depth={tmp_path}/depth,frontier={tmp_path}/frontier"
    init_from.check(source, model)
    taken, words = init_from.take(source, model, drawn_for(model, seed=3))
    for name, donor in (("depth", first), ("frontier", second)):
        own = {kind: tree[name] for kind, tree in taken.items()}
        jax.tree.map(np.testing.assert_array_equal, own, donor)
        assert any(line.startswith(f"{name}: ") for line in words)
    with pytest.raises(ValueError, match="names the network 'dpeth'; the model has depth, front"):
        init_from.check(f"dpeth={tmp_path}/depth", model)
    with pytest.raises(ValueError, match="has only itself"):
        init_from.check(f"depth={tmp_path}/depth", pspnet.make(1))


def test_a_network_of_full_size_takes_the_trunk_and_head_of_a_coarse_one(tmp_path):
    pspnet, objective = segmenter.Segmenter(depth=10, width=4), objectives.DepthMSE()
    donor = run_of(tmp_path / "coarse", pspnet, objective, seed=1)
    model = decoder.FullResolution(pspnet, decoder_width=4).make(2)
    taken, words = init_from.take(str(tmp_path / "coarse"), model, drawn_for(model, seed=3))
    for part in ("trunk", "pyramid", "head"):
        jax.tree.map(np.testing.assert_array_equal, taken["params"][part], donor["params"][part])
    assert any("its classifier has no place in the model" in line for line in words)
    assert any("are new: decoder" in line for line in words)


def test_a_run_on_depth_starts_from_the_trunk_of_one_on_colour(tmp_path):
    donor = run_of(
        tmp_path / "rgb", segmenter.Segmenter(depth=10, width=4), objectives.DepthMSE(), seed=1
    )
    model = segmenter.Segmenter(depth=10, width=4, modality=architecture.Modality.DEPTH).make(1)
    init_from.check(str(tmp_path / "rgb"), model)
    taken, words = init_from.take(str(tmp_path / "rgb"), model, drawn_for(model, seed=3))
    assert any("adapted from 3 to 1 inputs" in line for line in words)
    kernel = donor["params"]["trunk"]["stem"]["conv1"]["kernel"]
    ours = taken["params"]["trunk"]["stem"]["conv1"]["kernel"]
    np.testing.assert_allclose(ours[:, :, 0], kernel.sum(2), rtol=1e-5)
