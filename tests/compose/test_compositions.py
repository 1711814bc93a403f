"""Products and unions of densities that are known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm import compose, models, networks
from keras_ebm.negatives import LangevinMoves

COUNT = 2_000


@keras.saving.register_keras_serializable(package="tests")
class Gaussian(keras.layers.Layer):
    """`log N` of width 1 about a mean, not normalised, and `depth` nats deeper."""

    def __init__(self, mean, depth=0.0, **kwargs):
        super().__init__(**kwargs)
        self.mean, self.depth = mean, depth

    def call(self, x):
        gap = x - keras.ops.array(self.mean, "float32")
        return self.depth - 0.5 * keras.ops.sum(gap**2, axis=-1, keepdims=True)

    def get_config(self):
        return {**super().get_config(), "mean": self.mean, "depth": self.depth}


def gaussian(mean, depth=0.0):
    x = keras.Input((len(mean),))
    return keras.Model(x, Gaussian(mean, depth)(x))


def sample(composition, start=None, steps=200):
    model = models.EnergyModel(composition)
    if start is None:
        start = np.random.default_rng(0).normal(size=(COUNT, 2))
    moves = LangevinMoves(steps, 0.05, None)
    return model.sample(len(start), start=start, moves=moves).numpy()


def test_a_product_of_gaussians_is_the_gaussian_between_them():
    both = compose.Product([gaussian([0.0, 2.0]), gaussian([4.0, 2.0])], [1.0, 3.0])
    x = sample(both)
    # Precisions add up: N((0 + 3 * 4) / 4, 1 / 4), errors of .011 and .008 each.
    np.testing.assert_allclose(x.mean(0), [3.0, 2.0], atol=0.06)
    np.testing.assert_allclose(x.var(0), 0.25 / (1 - 0.1), atol=0.04)


def test_a_negated_gaussian_pushes_away():
    # N(0, 1) over N(1, 1)^.5 is N(-1, 2).
    rest = compose.Product([gaussian([0.0, 0.0]), gaussian([1.0, 0.0])], [1.0, -0.5])
    x = sample(rest)
    np.testing.assert_allclose(x.mean(0), [-1.0, 0.0], atol=5 * 0.033)
    with pytest.raises(ValueError, match="number above 0"):
        compose.Product([gaussian([0.0])], [-1.0])


def test_a_union_is_the_mixture_and_balanced_offsets_take_depths_away():
    parts = [gaussian([-3.0, 0.0]), gaussian([3.0, 0.0], depth=6.0)]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 2)).astype(np.float32)
    own = [x - [3.0, 0.0], x + [3.0, 0.0]]
    offsets = compose.balanced_offsets(parts, [a.astype(np.float32) for a in own])
    assert offsets[1] - offsets[0] == pytest.approx(6.0, abs=1e-4)
    either = compose.Union(parts, [0.25, 0.75], offsets=offsets)
    logits = [part(x) for part in parts]
    expected = np.log(
        0.25 * np.exp(logits[0] - offsets[0]) + 0.75 * np.exp(logits[1] - offsets[1])
    )
    np.testing.assert_allclose(either(x), expected, rtol=1e-4)
    joint = np.c_[
        0.25 * np.exp(logits[0] - offsets[0]), 0.75 * np.exp(logits[1] - offsets[1])
    ]
    expected = joint / joint.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(either.responsibilities(x), expected, atol=1e-5)
    # Between the two, where chains choose, they go both ways; without offsets one.
    start = np.zeros((COUNT, 2))
    lopsided, even = compose.Union(parts), compose.Union(parts, offsets=offsets)
    assert np.mean(sample(lopsided, start)[:, 0] > 0) > 0.98
    assert abs(np.mean(sample(even, start)[:, 0] > 0) - 0.5) < 5 * 0.0112
    with pytest.raises(ValueError, match="shares above 0"):
        compose.Union(parts, [1.0, 0.0])
    with pytest.raises(ValueError, match="`offsets` must have"):
        compose.Union(parts, offsets=[1.0])


def test_a_cold_union_is_the_lowest_of_its_energies():
    parts = [gaussian([-1.0]), gaussian([2.0])]
    x = np.linspace(-3, 3, 7, dtype=np.float32)[:, None]
    lowest = np.maximum(parts[0](x), parts[1](x))
    np.testing.assert_allclose(
        compose.Union(parts, temperature=1e-3)(x), lowest, atol=1e-3
    )


def test_gradients_are_clipped_of_each_energy():
    steep, gentle = gaussian([100.0, 0.0]), gaussian([0.0, 0.3])
    both = compose.Product([steep, gentle], max_gradient=1.0)
    x = tf.zeros([1, 2])
    with tf.GradientTape() as tape:
        tape.watch(x)
        energy = -both(x)
    np.testing.assert_allclose(tape.gradient(energy, x), [[-1.0, -0.3]])


def test_compositions_of_compositions_are_saved_scored_and_keep_what_they_share(
    tmp_path,
):
    classes = networks.mlp_energy((2,), 3, hidden=(8,))
    inner = compose.Union([networks.GivenLabel(classes, k) for k in (0, 2)])
    model = models.EnergyModel(compose.Product([inner, classes], [1.0, -0.25]))
    x = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    logits = classes(x).numpy()
    expected = -np.log(0.5 * np.exp(logits[:, 0]) + 0.5 * np.exp(logits[:, 2]))
    expected = expected + 0.25 * np.log(np.exp(logits).sum(1))
    # Equal shares of 1 are not normalised.
    np.testing.assert_allclose(model.energy(x), expected - np.log(2.0), rtol=1e-4)
    model.save(tmp_path / "composed.keras")
    loaded = keras.saving.load_model(tmp_path / "composed.keras")
    np.testing.assert_array_equal(loaded.energy(x), model.energy(x))
    counts = [len(m.network.weights) for m in (model, loaded)]
    assert counts == [len(classes.weights)] * 2
    model.export(str(tmp_path / "served"))
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(
        served.signatures["serving_default"](tf.constant(x))["output_0"][:, 0],
        -model.energy(x),
        rtol=1e-5,
    )


def test_what_cannot_be_composed_is_refused_by_name():
    with pytest.raises(ValueError, match="inputs of one shape"):
        compose.Product([gaussian([0.0]), gaussian([0.0, 1.0])])
    with pytest.raises(ValueError, match="a number for each network"):
        compose.Product([gaussian([0.0])], [1.0, 1.0])
    with pytest.raises(ValueError, match="Received: none"):
        compose.Product([])
    labelled = networks.VectorConditional(networks.mlp_energy((2,), num_classes=3))
    with pytest.raises(ValueError, match="GivenLabel"):
        compose.Union([labelled])


def test_a_posterior_is_the_logarithm_of_the_probability_of_its_classes(tmp_path):
    classes = networks.mlp_energy((2,), 4, hidden=(8,))
    x = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    p = tf.nn.softmax(classes(x)).numpy()
    for chosen, negated, expected in (
        ([2], False, p[:, 2]),
        ([0, 3], False, p[:, 0] + p[:, 3]),
        ([1], True, 1.0 - p[:, 1]),
    ):
        energy = models.EnergyModel(compose.Posterior(classes, chosen, negated))
        np.testing.assert_allclose(energy.energy(x), -np.log(expected), atol=1e-5)
    product = compose.Product([energy, compose.Posterior(classes, [0])])
    model = models.EnergyModel(product)
    model.save(tmp_path / "posterior.keras")
    loaded = keras.saving.load_model(tmp_path / "posterior.keras")
    np.testing.assert_array_equal(loaded.energy(x), model.energy(x))
    assert len(loaded.network.weights) == len(classes.weights)
    for wrong in ([4], [], [0, 1, 2, 3]):
        with pytest.raises(ValueError, match="`classes` must"):
            compose.Posterior(classes, wrong)
