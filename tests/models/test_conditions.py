"""Chains under labels, with entries that stay, in a ball, on another energy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm import callbacks, gradients, models, negatives, networks

#: Unadjusted steps of .1 stretch a standard normal's variance by 1 / (1 - .05); means
#: and variances of 2,000 chains have errors of .022 and .032.
MOVES = negatives.LangevinMoves(100, step_size=0.1, noise_stddev=None)
STARTS = {"start": "normal", "start_stddev": 2.0}
COUNT = 2_000


@keras.saving.register_keras_serializable(package="tests")
class MinusHalfSquare(keras.layers.Layer):
    """`-sum_ij x_i P_ij x_j / 2` of rows `x`."""

    def __init__(self, precision, **kwargs):
        super().__init__(**kwargs)
        self.precision = precision

    def call(self, x):
        product = keras.ops.matmul(x, keras.ops.array(self.precision))
        return -0.5 * keras.ops.sum(x * product, axis=-1, keepdims=True)

    def get_config(self):
        return {**super().get_config(), "precision": self.precision}


def gaussian_at_label(size=2):
    """`E(x, y) = |x - y|^2 / 2`."""
    x, y = keras.Input((size,), name="inputs"), keras.Input((size,), name="labels")
    gap = keras.layers.Subtract()([x, y])
    square = MinusHalfSquare(np.eye(size).tolist())(gap)
    # A weight, so that there is something to train.
    scaled = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(square)
    return keras.Model([x, y], scaled)


def correlated(rho=0.8):
    x = keras.Input((2,), name="inputs")
    precision = np.linalg.inv([[1.0, rho], [rho, 1.0]]).tolist()
    return models.EnergyModel(keras.Model(x, MinusHalfSquare(precision)(x)))


@pytest.fixture(scope="module")
def at_vectors():
    buffer = negatives.ReplayBuffer((2,), 512, store_labels=True, label_size=2)
    chains = negatives.MarkovChains(MOVES, buffer, **STARTS)
    return models.LangevinModel(networks.VectorConditional(gaussian_at_label()), chains)


def assert_normal(x, mean):
    np.testing.assert_allclose(np.mean(x, axis=0), mean, atol=5 * 0.023)
    np.testing.assert_allclose(np.var(x, axis=0), 1.0 / 0.95, atol=5 * 0.034)


def test_samples_under_a_vector_label_are_those_of_its_density(at_vectors):
    assert at_vectors.conditional and at_vectors.label_size == 2
    x = at_vectors.sample(COUNT, labels=[3.0, -1.0]).numpy()
    assert_normal(x, [3.0, -1.0])


def test_each_sample_has_its_own_vector_label(at_vectors):
    labels = np.repeat([[-4.0, 0.0], [4.0, 1.0]], COUNT // 2, axis=0)
    x = at_vectors.sample(COUNT, labels=labels).numpy()
    assert_normal(x - labels, [0.0, 0.0])


def test_an_energy_of_vector_labels_needs_them(at_vectors):
    x, y = np.ones((3, 2), np.float32), np.zeros((3, 2), np.float32)
    np.testing.assert_allclose(at_vectors.energy(x, y), 1.0)
    for labels in (None, y[:, :1], y[:2], y * np.nan):
        with pytest.raises(ValueError, match="`y` must hold 2 finite numbers"):
            at_vectors.energy(x, labels)
        with pytest.raises(ValueError, match="`y` must hold 2 finite numbers"):
            at_vectors.fit(x, labels)
    with pytest.raises(ValueError, match="label of 2 numbers"):
        at_vectors.network(x)


def test_chains_of_vector_labels_train_rest_with_their_labels_and_are_saved(
    at_vectors, tmp_path
):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(256, 2)).astype(np.float32)
    x = y + rng.normal(size=y.shape).astype(np.float32)
    at_vectors.compile(keras.optimizers.Adam(1e-3))
    history = at_vectors.fit(
        x, y, batch_size=128, epochs=2, verbose=0, validation_data=(x, y)
    ).history
    assert np.isfinite([*history["loss"], *history["val_data_energy"]]).all()
    buffer = at_vectors.negatives.buffer.whole()
    held = buffer["visited"] > 0
    assert held.any()
    gaps = (buffer["states"] - buffer["labels"])[held]
    # Of about 200 chains, whose means have an error of .07.
    np.testing.assert_allclose(gaps.mean(0), 0.0, atol=0.35)
    at_vectors.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.energy(x, y), at_vectors.energy(x, y))
    kept = loaded.negatives.buffer.whole()["labels"]
    np.testing.assert_array_equal(kept, buffer["labels"])


def test_a_label_given_for_good_makes_an_energy_of_inputs(at_vectors, tmp_path):
    given = models.EnergyModel(networks.GivenLabel(at_vectors.network, [1.0, 2.0]))
    x = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    expected = at_vectors.energy(x, np.tile([1.0, 2.0], (5, 1)))
    np.testing.assert_allclose(given.energy(x), expected, rtol=1e-6)
    given.save(tmp_path / "given.keras")
    loaded = keras.saving.load_model(tmp_path / "given.keras")
    np.testing.assert_array_equal(loaded.energy(x), given.energy(x))
    joint = networks.mlp_energy((2,), 3, hidden=(4,))
    one = networks.GivenLabel(joint, 2)
    np.testing.assert_array_equal(one(x)[:, 0], joint(x)[:, 2])
    for label in (3, -1, 0.5):
        with pytest.raises(ValueError, match="`label` must be a class"):
            networks.GivenLabel(joint, label)


def test_entries_that_stay_leave_the_density_of_the_others_given_them():
    start = np.tile([2.0, 0.0], (COUNT, 1))
    x = (
        correlated(0.8)
        .sample(COUNT, start=start, fixed=[True, False], moves=MOVES)
        .numpy()
    )
    np.testing.assert_array_equal(x[:, 0], 2.0)
    # N(rho x, 1 - rho^2), whose variance .36 unadjusted steps stretch by 1 / .86.
    assert abs(x[:, 1].mean() - 1.6) < 5 * 0.015
    assert abs(x[:, 1].var() - 0.36 / (1 - 0.05 / 0.36)) < 5 * 0.014


def test_fixed_entries_may_differ_by_row():
    start = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    fixed = np.arange(12).reshape(6, 2) % 3 == 0
    x = correlated().sample(6, start=start, fixed=fixed, moves=MOVES).numpy()
    np.testing.assert_array_equal(x[fixed], start[fixed])
    assert (x[~fixed] != start[~fixed]).all()


def test_chains_stay_in_a_ball_about_their_start():
    start = np.full((50, 2), 5.0, np.float32)
    x = correlated().sample(50, start=start, radius=0.25, moves=MOVES).numpy()
    assert (np.abs(x - 5.0) <= 0.25 + 1e-6).all() and np.std(x) > 0.01
    with pytest.raises(ValueError, match="need `start`"):
        correlated().sample(50, radius=0.25, moves=MOVES)


def test_negatives_with_fixed_entries_keep_those_of_the_data():
    network = networks.mlp_energy((2,), hidden=(8,))
    buffer = negatives.ReplayBuffer((2,), 64)
    moves = negatives.LangevinMoves(5, 0.1, 0.1)
    chains = negatives.MarkovChains(moves, buffer, fixed=[True, False])
    model = models.LangevinModel(network, chains, energy_l2=1.0, kl_weight=0.1)
    model.compile()
    x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    model.fit(x, batch_size=32, epochs=2, verbose=0)
    whole = buffer.whole()
    states = whole["states"][whole["visited"] > 0]
    assert np.isin(states[:, 0], x[:, 0]).all()
    assert not np.isin(states[:, 1], x[:, 1]).any()


def test_chains_of_a_region_refuse_what_cannot_hold_it():
    with pytest.raises(ValueError, match="use LangevinMoves"):
        negatives.MarkovChains(negatives.MALAMoves(), fixed=[True, False])
    buffer = negatives.ReplayBuffer((2,), 8)
    with pytest.raises(ValueError, match="use buffer=None"):
        negatives.MarkovChains(MOVES, buffer, radius=0.1)
    with pytest.raises(ValueError, match="use LangevinMoves"):
        correlated().sample(
            2, start=np.zeros((2, 2)), radius=1.0, moves=negatives.MALAMoves()
        )


def test_samples_walk_on_a_given_energy(at_vectors):
    def shifted(x):
        return 0.5 * tf.reduce_sum(tf.square(x - 7.0), axis=1)

    assert_normal(at_vectors.sample(COUNT, energy=shifted).numpy(), [7.0, 7.0])


def test_labels_are_given_to_chains_of_classes_and_taken_from_the_buffer():
    network = networks.ClassConditional(networks.mlp_energy((2,), 1, 3, hidden=(8,)))
    buffer = negatives.ReplayBuffer((2,), 64, store_labels=True)
    moves = negatives.LangevinMoves(1, 1e-6, 0.0)
    model = models.LangevinModel(network, negatives.MarkovChains(moves, buffer))
    model.compile()
    y = np.repeat([0, 2], 16)
    x = np.random.default_rng(0).normal(size=(32, 2)).astype(np.float32)
    model.fit(x, y, batch_size=32, epochs=8, verbose=0)
    whole = buffer.whole()
    held = whole["visited"] > 0
    for label in (0, 2):
        samples = model.sample(10, labels=label, num_steps=1).numpy()
        states = whole["states"][held & (whole["labels"] == label)]
        gaps = np.abs(samples[:, None] - states[None]).max(-1).min(-1)
        assert gaps.max() < 1e-3
    # Of class 1 there is no state, and chains start anew.
    assert model.sample(10, labels=1).shape == (10, 2)
    with pytest.raises(ValueError, match="from 0 to 2"):
        model.sample(10, labels=3)
    with pytest.raises(ValueError, match="states of class 1"):
        buffer.pick(1, model_random(), labels=np.array([1]))


def model_random():
    from keras_ebm.random import StepRandom

    return StepRandom(0, 0)


def test_a_model_without_chains_says_what_sampling_needs():
    model = correlated()
    assert not model.can_sample
    with pytest.raises(ValueError, match="pass `moves`"):
        model.sample(3)
    with pytest.raises(ValueError, match="`start` is needed"):
        model.sample(3, moves=MOVES)
    with pytest.raises(ValueError, match=r"shape \(3, 2\)"):
        model.sample(3, moves=MOVES, start=np.zeros((2, 2)))


def test_a_generators_model_samples_by_chains_under_conditions():
    network = networks.mlp_energy((2,), hidden=(8,))
    from keras_ebm.generators import GaussianGenerator

    decoder = networks.mlp_decoder(2, (2,), hidden=(4,))
    vera = models.VERA(network, GaussianGenerator(decoder))
    start = vera.sample(5).numpy()
    x = vera.sample(5, moves=MOVES, start=start, fixed=[True, False]).numpy()
    np.testing.assert_array_equal(x[:, 0], start[:, 0])
    still = negatives.LangevinMoves(1, 1e-9, 0.0)
    np.testing.assert_allclose(vera.sample(5, moves=still), start, atol=1e-6)


def test_gradients_are_clipped_of_each_energy_of_a_sum():
    def steep(x):
        return 100.0 * x[:, 0]

    def gentle(x):
        return 0.5 * x[:, 0] - 0.5 * x[:, 1]

    bounded = gradients.with_clipped_gradient(steep, 1.0)
    x = tf.zeros([3, 2])
    _, gradient = gradients.energy_and_gradient(lambda x: bounded(x) + gentle(x), x)
    np.testing.assert_allclose(gradient, np.tile([1.5, -0.5], (3, 1)))
    np.testing.assert_array_equal(bounded(x + 1.0), steep(x + 1.0))


@pytest.mark.parametrize("make", [networks.mlp_energy, networks.strided_energy])
def test_labels_matter_to_a_conditional_network_once_it_is_trained(make):
    shape = (4,) if make is networks.mlp_energy else (8, 8, 1)
    network = make(shape, num_classes=2)
    x, y = tf.ones([2, *shape]), tf.constant([[0.2, 0.4], [0.7, -1.0]])
    same = network([x, y]).numpy()
    # Gains and biases start at 0, and have gradients from the first step on.
    np.testing.assert_allclose(same[0], same[1], rtol=1e-6)
    network.compile("sgd", "mse")
    network.fit([x, y], np.array([[0.0], [5.0]]), epochs=5, verbose=0)
    after = network([x, y]).numpy()
    assert after[0] != after[1]
    with pytest.raises(ValueError, match="`num_outputs` must be 1"):
        make(shape, 3, 2)


class Accuracies(keras.callbacks.Callback):
    """Wears a model's labels out: multiplies the gains of labels by `factor`."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def on_epoch_end(self, epoch, logs=None):
        del logs
        if epoch:
            kernel = self.model.network.layers[-1].kernel
            kernel.assign(kernel * self.factor)


def test_the_watch_logs_accuracies_of_labels_and_warns_when_they_stop_mattering():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = (6.0 * np.eye(3)[y] + rng.normal(size=(60, 3))).astype(np.float32)
    inputs = keras.Input((3,))
    network = keras.Model(
        inputs,
        keras.layers.Dense(3, kernel_initializer="identity", use_bias=False)(inputs),
    )
    moves = negatives.LangevinMoves(20, 1.0, 0.1, box=(-3.0, 8.0))
    model = models.LangevinModel(
        network, negatives.MarkovChains(moves), conditional=True, energy_weight=0.0
    )
    model.compile(keras.optimizers.SGD(0.0))
    # The second epoch turns the classes' columns around.
    watch = callbacks.LabelWatch(x, y, num_samples=30)
    with pytest.warns(UserWarning, match="labels stop mattering: val_label_accuracy"):
        history = model.fit(
            x, y, epochs=2, verbose=0, callbacks=[Accuracies(-1.0), watch]
        ).history
    assert history["val_label_accuracy"][0] > 0.95
    assert history["sample_label_accuracy"][0] > 0.95
    assert history["val_label_accuracy"][1] < 0.34


def test_the_watch_compares_vector_labels_with_others_and_needs_labels(at_vectors):
    rng = np.random.default_rng(0)
    y = 10.0 * rng.normal(size=(64, 2)).astype(np.float32)
    watch = callbacks.LabelWatch(y, y, num_samples=16)
    watch.set_model(at_vectors)
    logs = {}
    watch.on_epoch_end(0, logs)
    # Ten labels 10 apart for a density of width 1.
    assert logs["val_label_accuracy"] == 1.0 and logs["sample_label_accuracy"] > 0.6
    assert watch.chance == pytest.approx(0.1)
    with pytest.raises(ValueError, match="needs a model with labels"):
        callbacks.LabelWatch(y, y).set_model(correlated())
