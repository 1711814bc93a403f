import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import assert_same_weights, batches

from keras_ebm.models import DensityModel
from keras_ebm.networks import NICE, GaussianMixture, mlp_energy
from keras_ebm.objectives import (
    ConditionalNoiseContrastive,
    DenoisingScoreMatching,
    MaximumLikelihood,
    SlicedScoreMatching,
)

CRITERIA = [
    MaximumLikelihood(),
    SlicedScoreMatching(),
    DenoisingScoreMatching(0.3),
    ConditionalNoiseContrastive(0.5),
]
NAMES = [type(criterion).__name__ for criterion in CRITERIA]


def hills(count, seed=0):
    """0.3 N((-2, 0), 0.5^2 I) + 0.7 N((2, 1), 0.8^2 I), and its entropy's estimate."""
    rng = np.random.default_rng(seed)
    first = rng.random(count) < 0.3
    centre = np.where(first[:, None], [-2.0, 0.0], [2.0, 1.0])
    spread = np.where(first, 0.5, 0.8)[:, None]
    return (centre + spread * rng.normal(size=(count, 2))).astype(np.float32)


def log_density(x):
    def hill(share, mean, spread):
        squared = np.sum((x - mean) ** 2, axis=-1) / spread**2
        return share * np.exp(-0.5 * squared) / (2 * np.pi * spread**2)

    return np.log(hill(0.3, [-2.0, 0.0], 0.5) + hill(0.7, [2.0, 1.0], 0.8))


def mixture(seed=3):
    network = GaussianMixture(2, 2)
    network.means.assign([[-1.0, 0.5], [1.0, -0.5]])
    return network


def fitted(network, criterion, epochs, rate, count=8000):
    model = DensityModel(network, criterion)
    steps = epochs * count // 200
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))
    )
    history = model.fit(hills(count), batch_size=200, epochs=epochs, verbose=0)
    return model, history.history


@pytest.mark.parametrize(
    "criterion",
    [CRITERIA[0], CRITERIA[1], CRITERIA[3]],
    ids=[NAMES[i] for i in (0, 1, 3)],
)
def test_a_mixture_of_gaussians_is_recovered(criterion):
    model, _ = fitted(mixture(), criterion, epochs=8, rate=0.05)
    order = np.argsort(model.network.means.numpy()[:, 0])
    means = model.network.means.numpy()[order]
    stddevs = np.exp(model.network.log_stddevs.numpy()[order])
    # 2,400 rows of the smaller hill: standard errors of 0.01 and 0.016; scores
    # and contrasts use the rows less well.
    np.testing.assert_allclose(means, [[-2, 0], [2, 1]], atol=0.12)
    np.testing.assert_allclose(stddevs, [[0.5] * 2, [0.8] * 2], atol=0.08)


def test_likelihood_brings_nice_near_the_datas_own_entropy():
    model, history = fitted(
        NICE(2, hidden=(32, 32)), MaximumLikelihood(), epochs=12, rate=5e-3
    )
    x = hills(4000, seed=9)
    gap = np.mean(log_density(x)) - np.mean(model.log_prob(x))
    # Volume-preserving couplings bend one Gaussian towards two hills: the start is
    # 1.6 nats off, and a tenth is what so small a network leaves.
    assert -0.05 < gap < 0.35
    assert history["loss"][-1] < history["loss"][0] - 0.3
    np.testing.assert_allclose(history["loss"], history["data_energy"], rtol=1e-5)


@pytest.mark.parametrize("criterion", CRITERIA, ids=NAMES)
def test_training_and_evaluation_report_loss_and_energy(criterion):
    model = DensityModel(mixture(), criterion)
    model.compile("sgd")
    logs = model.fit(hills(32), batch_size=8, verbose=0).history
    # Denoising never looks at the data themselves.
    denoising = isinstance(criterion, DenoisingScoreMatching)
    assert set(logs) == {"loss"} if denoising else {"loss", "data_energy"}
    results = model.evaluate(hills(32), verbose=0, return_dict=True)
    assert set(results) == {"loss", "data_energy"}
    energy = np.mean(model.energy(hills(32)))
    np.testing.assert_allclose(results["data_energy"], energy, rtol=1e-5)
    np.testing.assert_allclose(-model.log_prob(hills(5)), model.energy(hills(5)))


@pytest.mark.parametrize("criterion", CRITERIA, ids=NAMES)
def test_a_saved_model_goes_on_as_if_it_had_not_been_saved(criterion, tmp_path):
    model = DensityModel(mixture(), criterion, data_stddev=0.1, seed=5)
    model.compile(keras.optimizers.Adam(0.01))
    data = batches(hills(24), np.zeros(24), 8)
    model.fit(data, verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.criterion.get_config() == criterion.get_config()
    assert (copy.data_stddev, copy.seed) == (0.1, 5)
    for which in (model, copy):
        which.fit(data, verbose=0, shuffle=False)
    assert int(copy.optimizer.iterations) == 6
    assert_same_weights(copy, model)


@pytest.mark.parametrize("criterion", CRITERIA[1:3], ids=NAMES[1:3])
def test_a_step_of_two_replicas_is_the_step_of_one(strategy, criterion):
    def one_step(scope):
        with scope:
            model = DensityModel(mixture(), criterion, data_stddev=0.1)
            model.compile(keras.optimizers.SGD(0.1))
        data = batches(hills(16), np.zeros(16), 16)
        return model, model.fit(data, verbose=0, shuffle=False).history

    one, history = one_step(contextlib.nullcontext())
    two, histories = one_step(strategy.scope())
    assert_same_weights(one, two, rtol=1e-5, atol=1e-6)
    for name, value in history.items():
        np.testing.assert_allclose(histories[name], value, rtol=1e-5, atol=1e-6)


def test_the_score_of_any_smooth_network_can_be_matched():
    model = DensityModel(mlp_energy((2,), hidden=(8,)), SlicedScoreMatching())
    model.compile(keras.optimizers.Adam(0.01))
    losses = model.fit(hills(2000), batch_size=100, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 0.1
    with pytest.raises(ValueError, match="normalised network"):
        model.log_prob(hills(2))


@pytest.mark.parametrize(
    "make, match",
    [
        (
            lambda: DensityModel(
                mlp_energy((2,), 3, hidden=(4,)), SlicedScoreMatching()
            ),
            "one output.*3 outputs; use EnergyModel",
        ),
        (
            lambda: DensityModel(mlp_energy((2,), hidden=(4,)), MaximumLikelihood()),
            "normalised network",
        ),
        (
            lambda: DensityModel(mixture(), MaximumLikelihood(), gradient_penalty=0.1),
            "DensityModel: .*'gradient_penalty': 0.1",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_constants_of_an_energy_keep_still():
    # The bias of the output changes no score.
    network = mlp_energy((2,), hidden=(4,))
    model = DensityModel(network, SlicedScoreMatching())
    model.compile(keras.optimizers.SGD(0.1))
    bias = network.get_layer("logits").bias
    model.train_step(tf.constant(hills(8)))
    # Its gradient is zero to float32's rounding, not missing.
    assert np.abs(bias).max() < 1e-6
