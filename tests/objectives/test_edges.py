import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax import objectives
from psp_jax.io import ranges
from psp_jax.objectives import edges
from psp_jax.partition import frontier_classes
from psp_jax.partition.frontier_classes import Side
from tests.batches import SHAPE, batch_of, partition, random_logits

OBJECTIVES = [
    objectives.FrontierSoftmax(),
    objectives.FrontierSoftmax(interior_weight=0.0),
    objectives.FrontierSigmoid(),
    objectives.FrontierEdges(),
]


def test_targets_are_the_edges_between_regions():
    labels = partition()
    cut = np.asarray(edges.targets(frontier_classes.encode(labels)[None]))[0]
    np.testing.assert_array_equal(cut[:, :-1, 0], labels[:, 1:] != labels[:, :-1])
    np.testing.assert_array_equal(cut[:-1, :, 1], labels[1:] != labels[:-1])
    assert not cut[:, -1, 0].any() and not cut[-1, :, 1].any()


def test_bit_logits_are_those_of_the_summed_probabilities():
    logits = random_logits(16)
    probabilities = np.asarray(jax.nn.softmax(logits.astype(jnp.float32)), np.float64)
    actual = np.asarray(edges.bit_logits(logits))
    for side in Side:
        p = sum(probabilities[..., value] for value in range(16) if value & side.mask)
        np.testing.assert_allclose(actual[..., side], np.log(p / (1 - p)), atol=1e-5)


def test_the_logits_of_the_two_pixels_of_an_edge_are_paired():
    logits = random_logits(4)
    pairs = np.asarray(edges.paired_logits(logits))[:, 0]
    z = np.asarray(logits)[0]
    left, up, right, down = range(4)
    for row, column in itertools.product(range(SHAPE[0]), range(SHAPE[1] - 1)):
        assert pairs[0, row, column, 0] == z[row, column, right]
        assert pairs[1, row, column, 0] == z[row, column + 1, left]
    for row, column in itertools.product(range(SHAPE[0] - 1), range(SHAPE[1])):
        assert pairs[0, row, column, 1] == z[row, column, down]
        assert pairs[1, row, column, 1] == z[row + 1, column, up]


def test_certain_edges_encode_the_classes_they_come_from():
    labels = partition()
    classes = frontier_classes.encode(labels)
    logits = jnp.where(edges.targets(classes[None]), 5.0, -5.0)
    np.testing.assert_array_equal(edges.classes_of(logits)[0], classes)


def test_edges_of_a_filled_pixel_or_in_padding_have_no_label():
    filled = np.zeros((2, *SHAPE), bool)
    filled[0, 4, 5] = True
    batch = batch_of([partition(), partition(1)], filled, valid=[True, False])
    known = np.asarray(edges.labelled(batch))
    assert not known[1].any()
    unknown = {(4, 5, 0), (4, 4, 0), (4, 5, 1), (3, 5, 1)}
    unknown |= {(row, SHAPE[1] - 1, 0) for row in range(SHAPE[0])}
    unknown |= {(SHAPE[0] - 1, column, 1) for column in range(SHAPE[1])}
    assert {tuple(map(int, index)) for index in np.argwhere(~known[0])} == unknown


def test_softmax_cross_entropy_by_hand():
    batch = batch_of([partition()])
    logits = random_logits(16)
    probabilities = np.asarray(jax.nn.softmax(logits))[0]
    rows, columns = np.indices(SHAPE)
    classes = np.asarray(batch.frontier)[0]
    losses = -np.log(probabilities[rows, columns, classes])
    plain = objectives.FrontierSoftmax().loss(logits, batch)
    np.testing.assert_allclose(plain.value(), losses.mean(), rtol=1e-5)
    weights = np.where(classes == 0, 0.25, 1.0)
    weighted = objectives.FrontierSoftmax(interior_weight=0.25).loss(logits, batch)
    np.testing.assert_allclose(
        weighted.value(), (weights * losses).sum() / weights.sum(), rtol=1e-5
    )


def test_edge_cross_entropy_by_hand():
    labels = partition()
    batch, logits = batch_of([labels]), random_logits(2)
    z = np.asarray(logits, np.float64)[0]
    scores = np.concatenate([z[:, :-1, 0].ravel(), z[:-1, :, 1].ravel()])
    cut = np.concatenate(
        [(labels[:, 1:] != labels[:, :-1]).ravel(), (labels[1:] != labels[:-1]).ravel()]
    )
    p = 1 / (1 + np.exp(-scores))
    right = np.where(cut, p, 1 - p)
    mean = objectives.FrontierEdges().loss(logits, batch)
    np.testing.assert_allclose(mean.value(), -np.log(right).mean(), rtol=1e-5)
    assert float(mean.count) == len(cut)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_truth_as_output_is_predicted_and_costs_less_than_a_wrong_output(objective):
    labels = partition()
    batch = batch_of([labels])
    classes = jnp.asarray(batch.frontier)
    truth = {
        16: jax.nn.one_hot(classes, 16) * 20 - 10,
        4: (classes[..., None] >> jnp.arange(4) & 1) * 20.0 - 10,
        2: edges.targets(classes) * 20.0 - 10,
    }[objective.channels]
    prediction = objective.predict(truth, SHAPE)
    np.testing.assert_array_equal(prediction.classes, batch.frontier)
    cut = np.asarray(edges.targets(classes) & edges.labelled(batch))
    np.testing.assert_array_equal((np.asarray(prediction.edges) > 0) & edges.labelled(batch), cut)
    loss = jax.jit(lambda output: objective.loss(output, batch).value())
    assert loss(truth) < 0.01
    assert loss(-truth) > 1


@pytest.mark.parametrize(
    "kind", [objectives.FrontierSigmoid, objectives.FrontierEdges], ids=lambda kind: kind.__name__
)
def test_edges_begin_with_the_prior(kind):
    objective, labels = kind(prior=0.02), partition()
    output = jnp.zeros((1, *SHAPE, objective.channels))
    probability = jax.nn.sigmoid(jnp.asarray(objective.predict(output, SHAPE).edges))
    np.testing.assert_allclose(probability, 0.02, rtol=1e-5)
    cut = np.concatenate([np.diff(labels).ravel(), np.diff(labels, axis=0).ravel()]) != 0
    expected = -np.where(cut, np.log(0.02), np.log(0.98)).mean()
    np.testing.assert_allclose(objective.loss(output, batch_of([labels])).value(), expected, 1e-5)


@pytest.mark.parametrize("size", [SHAPE, (3, 4)], ids=["whole", "in strips"])
def test_classes_begin_with_the_prior(size):
    objective, batch = objectives.FrontierSoftmax(prior=0.07), batch_of([partition()])
    output = jnp.zeros((1, *size, 16))
    share = (np.asarray(batch.frontier) > 0).mean()
    expected = -share * np.log(0.07 / 15) - (1 - share) * np.log(0.93)
    np.testing.assert_allclose(objective.loss(output, batch).value(), expected, rtol=1e-5)
    prediction = objective.predict(output, SHAPE)
    assert not np.asarray(prediction.classes).any()
    cut = np.asarray(jax.nn.sigmoid(jnp.asarray(prediction.edges)))[edges.labelled(batch)]
    np.testing.assert_allclose(cut, 0.07 * 8 / 15, rtol=1e-5)  # Half of the classes have the bit.


def test_coarse_outputs_are_resized_to_the_images():
    batch = batch_of([partition()])
    output = jnp.ones((1, 3, 4, 2))
    expected = objectives.FrontierEdges().loss(jnp.ones((1, *SHAPE, 2)), batch)
    np.testing.assert_allclose(
        objectives.FrontierEdges().loss(output, batch).value(), expected.value(), rtol=1e-6
    )


def test_a_negative_weight_or_a_prior_that_is_no_fraction_is_refused_by_name():
    with pytest.raises(ValueError, match="interior_weight=-1"):
        ranges.check(objectives.FrontierSoftmax(interior_weight=-1), "objective")
    for kind in (objectives.FrontierSoftmax, objectives.FrontierSigmoid, objectives.FrontierEdges):
        with pytest.raises(ValueError, match="prior=1"):
            ranges.check(kind(prior=1), "objective")
