import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import (
    FEATURES,
    assert_same_weights,
    batches,
    compile_sgd,
    make_vera,
    rows,
)

from keras_ebm.entropy import ImportanceSampling, LogVolume
from keras_ebm.gradients import energy_and_gradient
from keras_ebm.negatives import ImportanceCorrection, LatentRefinement, Proposal
from keras_ebm.random import StepRandom

MEAN, WIDE = np.array([1.0, -0.5], np.float32), 1.6


def energy(x):
    """Of `p = N(MEAN, I)`, without its constant."""
    return 0.5 * tf.reduce_sum(tf.square(x - MEAN), axis=-1)


def wide_proposal(count, seed=0):
    """Samples of `q = N(0, WIDE^2 I)`; the latents are what made them."""
    noise = np.random.default_rng(seed).normal(size=(count, 2)).astype(np.float32)
    x = tf.constant(WIDE * noise)
    log_density = -0.5 * np.sum(noise**2, -1) - 2 * np.log(WIDE) - np.log(2 * np.pi)
    return Proposal(
        x,
        *energy_and_gradient(energy, x),
        tf.constant(log_density.astype(np.float32)),
        tf.constant(noise),
        tf.zeros_like(x),
        lambda latents, noise: WIDE * latents + noise,
    )


def corrected(correction, proposal, iteration=0, energy_fn=energy):
    random = StepRandom(0, iteration)
    return correction.correct(energy_fn, proposal, random)


def test_weights_turn_means_under_q_into_means_under_p():
    result = corrected(ImportanceCorrection(num_steps=0), wide_proposal(20_000))
    weights, x = result.weights.numpy(), result.x.numpy()
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-5)
    for values, expected in (
        (x, MEAN),
        (np.square(x), MEAN**2 + 1),
        (np.cos(x), np.cos(MEAN) * np.exp(-0.5)),
    ):
        # Five standard errors of a self-normalised mean.
        error = np.sqrt(weights**2 @ (values - expected) ** 2)
        assert np.all(np.abs(weights @ values - expected) < 5 * error)


def test_resampling_follows_the_weights_and_mala_keeps_the_target():
    proposal = wide_proposal(20_000)
    correction = ImportanceCorrection(num_steps=5, initial_step_size=0.3)
    result = corrected(correction, proposal)
    assert result.weights is None
    x = result.x.numpy()
    share = float(result.logs["negatives_effective_share"])
    error = 5 / np.sqrt(20_000 * share)
    assert np.all(np.abs(x.mean(axis=0) - MEAN) < error)
    assert np.all(np.abs(np.cov(x.T) - np.eye(2)) < error * np.sqrt(2))
    # Copies of one sample part ways, as each chain has noise of its own.
    assert len(np.unique(x, axis=0)) > 0.95 * len(x)


def test_resampling_takes_each_sample_as_often_as_it_weighs():
    proposal = wide_proposal(300)
    # Steps of nothing: where the samples end is which were taken.
    correction = ImportanceCorrection(num_steps=1, initial_step_size=1e-12)
    result = corrected(correction, proposal)
    weights = corrected(ImportanceCorrection(0), proposal).weights.numpy()
    distance = np.abs(result.x.numpy()[:, None] - proposal.x.numpy()[None]).sum(-1)
    assert distance.min(axis=1).max() < 1e-3
    counts = np.bincount(distance.argmin(axis=1), minlength=300)
    assert np.all(np.abs(counts - 300 * weights) < 1 + 1e-3)


@pytest.mark.parametrize("share", [0.6, 0.8])
def test_tempering_reaches_the_share_that_was_asked_for(share):
    proposal = wide_proposal(2000)
    plain = corrected(ImportanceCorrection(0), proposal).logs
    assert plain["negatives_effective_share"] < 0.5
    logs = corrected(ImportanceCorrection(0, minimum_share=share), proposal).logs
    assert share <= logs["negatives_effective_share"] < share + 1e-3
    assert 0 < logs["tempering"] < 1


def test_refined_latents_sample_the_generators_density_times_the_energys():
    # x = W z + sigma eps and E = |x - MEAN|^2 / 2: a product of normals.
    matrix = tf.constant([[1.0, 0.5], [0.0, 0.8]])
    sigma = 0.5
    count = 4000
    rng = np.random.default_rng(0)
    latents, noise = (
        tf.constant(rng.normal(size=(count, 2)), tf.float32) for _ in range(2)
    )

    def decode(latents, noise):
        return tf.linalg.matmul(latents, matrix, transpose_b=True) + sigma * noise

    x = decode(latents, noise)
    proposal = Proposal(
        x, *energy_and_gradient(energy, x), None, latents, noise, decode
    )
    correction = LatentRefinement(num_steps=80, initial_step_size=0.3)
    result = corrected(correction, proposal)
    prior = np.linalg.inv(matrix.numpy() @ matrix.numpy().T + sigma**2 * np.eye(2))
    variance = np.linalg.inv(prior + np.eye(2))
    mean = variance @ MEAN
    found = result.x.numpy()
    spread = np.sqrt(np.diag(variance))
    # Independent chains; the 80 steps leave less than 1% of the start.
    error = 5 / np.sqrt(count)
    assert np.all(np.abs(found.mean(axis=0) - mean) / spread < error + 0.01)
    difference = np.abs(np.cov(found.T) - variance) / np.outer(spread, spread)
    assert np.all(difference < error * np.sqrt(2) + 0.01)


@pytest.mark.parametrize(
    "make", [ImportanceCorrection, LatentRefinement], ids=lambda kind: kind.__name__
)
@pytest.mark.parametrize("start", [1e-3, 5.0])
def test_the_step_size_adapts_to_the_acceptance(make, start):
    correction = make(
        num_steps=2,
        initial_step_size=start,
        target_acceptance=0.7,
        adaptation_rate=0.5,
    )
    proposal = wide_proposal(500)
    step = tf.function(
        lambda i: corrected(correction, proposal, i).logs, autograph=False
    )
    logs = [step(tf.constant(i, tf.int64)) for i in range(80)]
    assert tuple(logs[0]) == correction.log_names
    np.testing.assert_allclose(logs[0]["mala_step_size"], start, rtol=1e-5)
    accepted = np.mean([log["mala_acceptance"] for log in logs[-20:]])
    # 20 steps of 1,000 proposals: a standard error of 0.003, and the adaptation's.
    assert abs(accepted - 0.7) < 0.03


X, Y = rows(16)


def corrected_vera(name, **kwargs):
    correction, entropy = {
        "weights": (ImportanceCorrection(0, minimum_share=0.3), LogVolume()),
        "moves": (ImportanceCorrection(2), LogVolume()),
        "moves, iterative": (ImportanceCorrection(2), LogVolume("iterative")),
        "latents": (LatentRefinement(2), ImportanceSampling(3)),
    }[name]
    return make_vera(correction=correction, entropy=entropy, **kwargs)


@pytest.mark.parametrize("name", ["weights", "moves", "moves, iterative", "latents"])
def test_a_corrected_model_trains_saves_and_goes_on(name, tmp_path):
    model = corrected_vera(name, gradient_penalty=0.1)
    model.compile(*[keras.optimizers.Adam(0.01) for _ in range(3)])
    data = batches(X, Y, 8)
    history = model.fit(data, verbose=0, shuffle=False).history
    assert set(model.correction.log_names) <= set(history)
    assert all(np.all(np.isfinite(values)) for values in history.values())
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.correction.get_config() == model.correction.get_config()
    for which in (model, copy):
        which.fit(data, verbose=0, shuffle=False)
    assert_same_weights(copy, model)
    if name != "weights":
        start = model.correction.moves.initial_step_size
        assert copy.correction.moves.step_size.numpy() != np.float32(start)


@pytest.mark.parametrize("name", ["weights", "moves"])
def test_two_replicas_train_a_corrected_model(strategy, name):
    with strategy.scope():
        model = compile_sgd(corrected_vera(name), 0.01, 0.01, 0.01)
    history = model.fit(batches(X, Y, 8), epochs=2, verbose=0, shuffle=False).history
    assert all(np.all(np.isfinite(values)) for values in history.values())


def test_two_replicas_refine_latents_as_one_does(strategy):
    def one_step(scope):
        with scope:
            model = compile_sgd(corrected_vera("latents"))
        model.fit(batches(X, Y, 16), verbose=0, shuffle=False)
        return model

    one, two = one_step(contextlib.nullcontext()), one_step(strategy.scope())
    assert_same_weights(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"entropy": ImportanceSampling()}, "log q.*LogVolume.*LatentRefinement"),
        ({"objective": "logistic"}, "objective='contrastive'"),
        ({"negatives": lambda x, random: x}, "no `negatives`"),
    ],
)
def test_what_a_correction_does_not_go_with_is_refused(arguments, match):
    arguments = {"entropy": LogVolume(), **arguments}
    with pytest.raises(ValueError, match=match):
        make_vera(correction=ImportanceCorrection(), **arguments)


@pytest.mark.parametrize(
    "make, arguments, match",
    [
        (ImportanceCorrection, {"num_steps": -1}, "`num_steps`"),
        (ImportanceCorrection, {"minimum_share": 1.0}, "`minimum_share`"),
        (ImportanceCorrection, {"target_acceptance": 1.0}, "`target_acceptance`"),
        (LatentRefinement, {"num_steps": 0}, "`num_steps`"),
        (LatentRefinement, {"initial_step_size": 0.0}, "`initial_step_size`"),
        (LatentRefinement, {"adaptation_rate": 0.0}, "`adaptation_rate`"),
    ],
)
def test_bad_arguments_are_named(make, arguments, match):
    with pytest.raises(ValueError, match=match):
        make(**arguments)


def test_a_correction_keeps_the_shape_of_images():
    shape = (4, 2, 2, 1)
    x = tf.random.stateless_normal(shape, [0, 1])

    def image_energy(x):
        return tf.reduce_sum(tf.square(x), axis=[1, 2, 3])

    proposal = Proposal(
        x,
        *energy_and_gradient(image_energy, x),
        tf.zeros([4]),
        tf.zeros([4, FEATURES]),
        x,
        lambda latents, noise: noise,
    )
    for correction in (ImportanceCorrection(1), LatentRefinement(1)):
        result = corrected(correction, proposal, energy_fn=image_energy)
        assert result.x.shape == shape
