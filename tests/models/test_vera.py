import keras
import numpy as np
import pytest
import tensorflow as tf
from support import (
    FEATURES,
    LATENTS,
    assert_same_weights,
    batches,
    change,
    compile_sgd,
    make_generator,
    make_network,
    make_vera,
    rows,
)

from keras_ebm.entropy import Draw, ImportanceSampling
from keras_ebm.generators import GaussianGenerator
from keras_ebm.gradients import energy_and_gradient
from keras_ebm.models import VERA, Batch, Drawn
from keras_ebm.negatives import CutAndBlend
from keras_ebm.networks import mlp_decoder, mlp_energy
from keras_ebm.random import StepRandom

X, Y = rows(12)
DATA, LABELS = tf.constant(X), tf.constant(Y)


@pytest.mark.parametrize("negatives", [None, CutAndBlend()], ids=["own", "mixed too"])
@pytest.mark.parametrize("objective", ["contrastive", "logistic"])
@pytest.mark.parametrize("gradient_penalty", [0.0, 0.5])
def test_the_shared_input_gradient_is_the_energys_own(
    objective, negatives, gradient_penalty
):
    model = compile_sgd(
        make_vera(
            objective=objective,
            negatives=negatives,
            energy_weight=0.3,
            gradient_penalty=gradient_penalty,
        )
    )
    random = StepRandom(0, 0)
    samples = model.draw(len(X), random).x
    _, expected = energy_and_gradient(model.energy, samples)
    step = model.descend_energy(
        Batch(DATA, LABELS, random),
        Drawn(model.draw_negatives(DATA, random)[0], samples),
    )
    np.testing.assert_allclose(step.sample_gradient, expected, rtol=1e-4, atol=1e-6)


def straightforward_step(model):
    """The weights after one step, each gradient by a pass of its own."""
    random = StepRandom(model.seed, 0)
    draw = model.draw(len(X), random)
    held = Draw(*map(tf.stop_gradient, draw))
    negatives = [held.x, *model.draw_negatives(DATA, random)[0]]
    score = model.entropy.prepare(model.generator, held, random)["score"]

    def energy_loss():
        return model.energy_loss(DATA, LABELS, negatives, training=True)[0]

    def generator_loss():
        x = model.draw(len(X), random, training=True).x
        entropy = -tf.reduce_mean(tf.reduce_sum(score * x, axis=-1))
        return tf.reduce_mean(model.energy(x)) - model.entropy_weight * entropy

    def posterior_loss():
        return model.entropy.loss(model.generator, held, random)

    weights = []
    for owner, loss_fn in [
        (model.network, energy_loss),
        (model.generator, generator_loss),
        (model.entropy, posterior_loss),
    ]:
        with tf.GradientTape() as tape:
            loss = loss_fn()
        sources = [v.value for v in owner.trainable_variables]
        gradients = tape.gradient(loss, sources, unconnected_gradients="zero")
        weights.append(
            [
                source.numpy() - 0.1 * gradient.numpy()
                for source, gradient in zip(sources, gradients, strict=True)
            ]
        )
    return weights


@pytest.mark.parametrize(
    "arguments",
    [
        {"gradient_penalty": 0.5, "conditional_entropy_weight": 0.2},
        {"objective": "logistic", "negatives": CutAndBlend(), "entropy_weight": 0.3},
    ],
    ids=["contrastive", "logistic"],
)
def test_a_step_is_the_straightforward_one(arguments):
    model = compile_sgd(make_vera(**arguments))
    expected = straightforward_step(model)
    model.train_step((X, Y))
    for owner, weights in zip(
        (model.network, model.generator, model.entropy), expected, strict=True
    ):
        actual = owner.trainable_variables
        for variable, weight in zip(actual, weights, strict=True):
            np.testing.assert_allclose(variable, weight, rtol=1e-4, atol=2e-6)


def test_without_an_entropy_weight_the_estimator_is_skipped():
    model = compile_sgd(make_vera(entropy_weight=0.0))
    assert not model.entropy.weights
    logs = model.train_step((X, Y))
    assert not {"posterior_loss", "effective_sample_size"} & set(logs)
    assert "generator_loss" in logs
    assert int(model.posterior_optimizer.iterations) == 0
    assert {"posterior_loss", "effective_sample_size"} <= set(
        compile_sgd(make_vera()).train_step((X, Y))
    )


@pytest.mark.parametrize("moved", ["network", "generator", "entropy"])
def test_an_optimizer_moves_its_own_network_alone(moved):
    rates = [0.1 * (moved == name) for name in ("network", "generator", "entropy")]
    model = compile_sgd(make_vera(gradient_penalty=0.1), *rates)
    owners = {name: getattr(model, name) for name in ("network", "generator")}
    before = {name: owner.get_weights() for name, owner in owners.items()}
    assert (change(model.entropy, lambda: model.train_step((X, Y))) > 0) == (
        moved == "entropy"
    )
    for name, owner in owners.items():
        pairs = zip(before[name], owner.get_weights(), strict=True)
        assert any(np.any(a != b) for a, b in pairs) == (moved == name)


def test_every_optimizer_counts_every_step():
    model = compile_sgd(make_vera())
    for _ in range(3):
        model.train_step((X, Y))
    for name in ("optimizer", "generator_optimizer", "posterior_optimizer"):
        assert int(getattr(model, name).iterations) == 3


def test_unlabelled_rows_move_the_energy_but_not_the_classes():
    # No label at all is the same as labels that weigh nothing.
    shared = {"gradient_penalty": 0.1, "classification_weight": 5.0}
    model, copy = (compile_sgd(make_vera(**shared)) for _ in range(2))
    without = compile_sgd(make_vera(**{**shared, "classification_weight": 0.0}))
    model.train_step((X, np.full_like(Y, -1)))
    without.train_step((X, np.abs(Y)))
    assert_same_weights(model, without, atol=1e-7)
    copy.train_step((X, Y))
    pairs = zip(model.get_weights(), copy.get_weights(), strict=True)
    assert max(np.abs(a - b).max() for a, b in pairs) > 1e-3


def test_the_eager_and_the_compiled_step_agree():
    data = batches(X, Y, 6)
    models = [
        compile_sgd(make_vera(gradient_penalty=0.3), run_eagerly=eagerly)
        for eagerly in (False, True)
    ]
    histories = [
        model.fit(data, epochs=2, shuffle=False, verbose=0).history for model in models
    ]
    assert_same_weights(*models, rtol=1e-4, atol=1e-6)
    assert histories[0].keys() == histories[1].keys()
    for name, values in histories[0].items():
        # Rounding of what sums of terms of size 10 leave.
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-4, atol=1e-4)


def test_fit_logs_the_loss_of_the_step():
    model = compile_sgd(make_vera(energy_weight=0.5, gradient_penalty=0.3))
    samples = model.draw(len(X), StepRandom(0, 0)).x
    data_energy, gradient = energy_and_gradient(model.energy, DATA)
    log_p = tf.nn.log_softmax(model.logits(DATA)).numpy()
    labelled = Y >= 0
    cross_entropy = -log_p[labelled, Y[labelled]].mean()
    contrast = np.mean(data_energy) - np.mean(model.energy(samples))
    penalty = 0.5 * np.mean(np.sum(np.square(gradient), -1))
    expected = cross_entropy + 0.5 * (contrast + 0.3 * penalty)

    history = model.fit(batches(X, Y, len(X)), shuffle=False, verbose=0).history
    np.testing.assert_allclose(history["loss"], [expected], rtol=1e-5)
    np.testing.assert_allclose(history["gradient_penalty"], [penalty], rtol=1e-5)
    np.testing.assert_allclose(history["cross_entropy"], [cross_entropy], rtol=1e-5)
    np.testing.assert_allclose(
        history["data_energy"], [np.mean(data_energy)], rtol=1e-5
    )
    np.testing.assert_allclose(history["generator_stddev"], [0.1], rtol=1e-5)


def test_evaluate_draws_the_same_samples_every_time():
    model = compile_sgd(make_vera())
    data = batches(X, Y, 6)
    first, second = (model.evaluate(data, return_dict=True, verbose=0) for _ in "ab")
    assert first == second
    assert "gradient_penalty" not in first and "generator_loss" not in first


def test_samples_are_repeatable_and_need_no_noise():
    model = make_vera()
    sample = model.sample(7, seed=3)
    assert sample.shape == (7, FEATURES)
    np.testing.assert_array_equal(sample, model.sample(7, seed=3))
    assert not np.allclose(sample, model.sample(7, seed=4))
    means = model.sample(7, seed=3, noise=False)
    latents = StepRandom(3, 0).normal([7, LATENTS], "latents")
    np.testing.assert_array_equal(means, model.generator(latents))
    assert not np.allclose(sample, means)


def test_candidates_are_kept_in_proportion_to_the_density_ratio():
    # The generator is N(0, 1 + 0.1^2) and the ratio exp(x / 2), so that their
    # product is a normal of the same variance with mean 1.01 / 2.
    x = keras.Input((1,))
    network = keras.Model(x, keras.layers.Dense(1, name="logits")(x))
    network.layers[-1].kernel.assign([[0.5]])
    generator = GaussianGenerator(mlp_decoder(1, (1,), hidden=()))
    generator.decoder.layers[1].kernel.assign([[1.0]])
    model = VERA(network, generator, objective="logistic")
    plain = model.sample(5000, candidates=1).numpy()
    kept = model.sample(5000, candidates=64).numpy()
    assert plain.shape == kept.shape == (5000, 1)
    # Standard errors 0.014 and 0.01; 64 candidates leave a bias of about 1/64.
    assert abs(plain.mean()) < 0.07
    assert abs(kept.mean() - 0.505) < 0.07
    assert abs(kept.std() - np.sqrt(1.01)) < 0.06
    np.testing.assert_array_equal(plain, model.sample(5000))


def test_candidates_without_noise_are_decoded_latents():
    model = make_vera(objective="logistic")
    noisy, means = (model.sample(3, noise=n, candidates=4) for n in (True, False))
    assert means.shape == (3, FEATURES)
    # The same candidates are kept: only the noise of 0.1 is missing.
    assert 0 < np.abs(noisy - means).max() < 0.5


def test_candidates_need_a_density_ratio():
    with pytest.raises(ValueError, match="`candidates` above 1 needs"):
        make_vera().sample(3, candidates=2)
    with pytest.raises(ValueError, match="`candidates` must be an integer"):
        make_vera(objective="logistic").sample(3, candidates=0)


def test_a_generator_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(4,\) for inputs of shape \(5,\)"):
        VERA(mlp_energy((5,), hidden=(4,)), make_generator())


def test_an_energy_without_weight_is_refused():
    with pytest.raises(ValueError, match="`energy_weight` must be above 0"):
        make_vera(energy_weight=0.0)


def test_a_negative_entropy_weight_is_refused():
    with pytest.raises(ValueError, match="`entropy_weight` must be a finite number"):
        make_vera(entropy_weight=-1.0)


def test_the_default_posterior_optimizer_is_the_papers():
    model = VERA(make_network(), make_generator())
    model.compile("adam", "adam")
    assert isinstance(model.posterior_optimizer, keras.optimizers.Adam)
    np.testing.assert_allclose(model.posterior_optimizer.learning_rate, 0.02)
    assert model.entropy.num_samples == 20


def test_a_mixed_policy_trains():
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        model = compile_sgd(make_vera(gradient_penalty=0.1))
        logs = model.train_step((X, Y))
        assert all(np.isfinite(value) for value in logs.values())
        assert model.network.layers[-1].compute_dtype == "bfloat16"
        assert {v.dtype for v in model.trainable_variables} == {"float32"}
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def gaussian_energy():
    """`-f(x) = -(a x + b x^2 + c)`: a Gaussian, at first `N(0, 2^2)`."""
    x = keras.Input((1,))
    powers = keras.layers.Concatenate()([x, keras.layers.Multiply()([x, x])])
    network = keras.Model(x, keras.layers.Dense(1, name="logits")(powers))
    network.layers[-1].kernel.assign([[0.0], [-1 / 8]])
    return network


def test_contrastive_training_learns_a_gaussian():
    mean, stddev, steps = 0.7, 0.8, 400
    network = gaussian_energy()
    generator = GaussianGenerator(
        mlp_decoder(1, (1,), hidden=(16,)),
        initial_stddev=0.3,
        stddev_bounds=(0.01, 0.5),
    )
    model = VERA(network, generator, entropy=ImportanceSampling(20, widening=2.0))
    rates = [keras.optimizers.schedules.CosineDecay(0.02, steps) for _ in "ab"]
    model.compile(*[keras.optimizers.Adam(rate, beta_1=0.0) for rate in rates])

    def gap():
        """Mean and spread of the energy's density, and KL(truth || density)."""
        a, b = network.layers[-1].kernel.numpy()[:, 0].astype(float)
        centre, variance = -a / (2 * b), -1 / (2 * b)
        misfit = (stddev**2 + (mean - centre) ** 2) / variance
        log_ratio = np.log(variance / stddev**2)
        return centre, np.sqrt(variance), 0.5 * (misfit + log_ratio - 1)

    assert gap()[2] > 0.4
    x = np.random.default_rng(0).normal(mean, stddev, (128 * steps, 1))
    data = tf.data.Dataset.from_tensor_slices(x.astype(np.float32)).batch(128)
    model.fit(data, verbose=0, shuffle=False)
    centre, spread, divergence = gap()
    # Batches of 128 have standard errors of 0.07 and 0.05, and the decaying rate
    # averages tens of them. Other seeds ended within 0.05 and 0.03.
    assert abs(centre - mean) < 0.15
    assert abs(spread - stddev) < 0.1
    assert divergence < 0.02
    samples = model.sample(4000).numpy()
    assert abs(samples.mean() - mean) < 0.15
    assert abs(samples.std() - stddev) < 0.15


@pytest.mark.parametrize("objective", ["contrastive", "logistic"])
def test_images_train_too(objective):
    shape = (4, 4, 2)
    generator = GaussianGenerator(mlp_decoder(2, shape, hidden=(8,)))
    model = VERA(
        mlp_energy(shape, 1, hidden=(8,)),
        generator,
        objective=objective,
        negatives=CutAndBlend(),
        gradient_penalty=0.1,
    )
    compile_sgd(model)
    x = np.random.default_rng(0).normal(size=(6, *shape)).astype(np.float32)
    _, expected = energy_and_gradient(model.energy, tf.constant(x))
    step = model.descend_energy(
        Batch(tf.constant(x), -tf.ones([6], tf.int32), StepRandom(0, 0)),
        Drawn([tf.zeros([2, *shape])], tf.constant(x)),
    )
    np.testing.assert_allclose(step.sample_gradient, expected, rtol=1e-4, atol=1e-6)
    assert change(generator, lambda: model.train_step(x)) > 0
