"""The plain step is the library's: from equal noise, equal updates and losses."""

import keras
import numpy as np
import pytest
from step_support import SAMPLES, SMALL, data_of

from benchmarks.step_baselines import build_library
from benchmarks.step_two_tapes import DerivativesAlone, TwoTapes
from keras_ebm.random import StepRandom


def smooth_adam(rate):
    # The usual epsilon of 1e-7 makes a sign of gradients that are 0 but for
    # rounding, so that no two implementations agree on their first step.
    return keras.optimizers.Adam(rate, epsilon=1e-2)


def library_noise(model, batch):
    """The noise of the library's first step, in the order of `TwoTapes.draw`."""
    random = StepRandom(model.seed, 0)
    latent_dim, shape = model.generator.latent_dim, model.generator.sample_shape
    return (
        random.normal([batch, latent_dim], "latents"),
        random.normal([batch, *shape], "noise"),
        random.normal([batch, SAMPLES, latent_dim], "importance"),
        random.normal([batch, latent_dim], "posterior"),
    )


def both_steps(setting, energy_rate):
    """The library and two tapes after one step, and what the library logged."""
    model = build_library(setting, SAMPLES)
    rates = (energy_rate, 1e-2, 1e-2)
    model.compile(*map(smooth_adam, rates))
    plain = TwoTapes(*setting.build(), SAMPLES, [smooth_adam(rate) for rate in rates])
    x, y = data_of(setting)
    noise = library_noise(model, setting.batch)
    start = [keras.ops.convert_to_numpy(v) for own in plain.owned for v in own]
    logs = model.train_step((x, y))
    losses = plain.update(x, y, *noise)
    return model, plain, start, logs, losses


def same_updates(ours, plain, start):
    for own, other, before in zip(ours, plain, start, strict=True):
        own, other = (keras.ops.convert_to_numpy(v) for v in (own, other))
        # Of updates of up to 1e-2.
        np.testing.assert_allclose(own - before, other - before, atol=2e-6)


@pytest.mark.parametrize("name", SMALL)
def test_two_tapes_update_energy_and_posterior_as_the_library(name):
    model, plain, start, logs, losses = both_steps(SMALL[name], 1e-2)
    energy = model.network.trainable_variables
    same_updates(energy, plain.owned[0], start[: len(energy)])
    same_updates(model.entropy.trainable_variables, plain.owned[2], start[-1:])
    moved = np.abs(keras.ops.convert_to_numpy(energy[0]) - start[0]).max()
    assert moved > 1e-4
    for key in ("loss", "posterior_loss"):
        assert float(logs[key]) == pytest.approx(float(losses[key]), rel=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_two_tapes_update_the_generator_alike_if_the_energy_stays(name):
    # The paper's generator sees the energy after its update, the library's before.
    model, plain, start, _, _ = both_steps(SMALL[name], 0.0)
    count = len(model.network.trainable_variables)
    generator = model.generator
    ours = [*generator.decoder.trainable_variables, generator.log_stddev]
    same_updates(ours, plain.owned[1], start[count:-1])
    moved = np.abs(keras.ops.convert_to_numpy(ours[0]) - start[count]).max()
    assert moved > 1e-4


@pytest.mark.parametrize("name", SMALL)
def test_derivatives_alone_are_those_of_the_update(name):
    setting = SMALL[name]
    x, y = data_of(setting)
    made = DerivativesAlone(*setting.build()).train_step((x, y))
    rates = [keras.optimizers.SGD(rate) for rate in (1.0, 1.0, 1.0)]
    plain = TwoTapes(*setting.build(), SAMPLES, rates)
    before = [keras.ops.convert_to_numpy(v) for v in plain.owned[0]]
    loss = plain._update_energy(x, y, x[::-1])
    assert float(made["loss"]) == pytest.approx(float(loss), rel=1e-5)
    *gradients, of_samples = made["gradients"]
    for own, variable, start in zip(gradients, plain.owned[0], before, strict=True):
        moved = start - keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(own, moved, rtol=1e-4, atol=1e-6)
    assert of_samples.shape == x.shape and np.abs(of_samples).max() > 0
