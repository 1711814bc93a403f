"""The plain steps are the library's: from equal noise, equal updates and losses."""

import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks import step_baselines, step_memory
from keras_ebm import networks, plots
from keras_ebm.random import StepRandom

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs torch"
)
IMAGE = (8, 8, 3)
SMALL = {
    "image": step_baselines.Setting(
        4,
        lambda: networks.wide_resnet(IMAGE, 3, depth=10, width=1),
        lambda: networks.resnet_decoder(5, IMAGE, filters=4, normalization=None),
        "wide_resnet",
        "resnet_decoder",
    ),
    "image, MLP decoder": step_baselines.Setting(
        4,
        lambda: networks.wide_resnet(IMAGE, 3, depth=10, width=1),
        lambda: networks.mlp_decoder(5, IMAGE, hidden=(8, 8), output_activation="tanh"),
        "wide_resnet",
        "mlp",
    ),
    "vector": step_baselines.Setting(
        6,
        lambda: networks.mlp_energy((9,), 3, hidden=(8, 8)),
        lambda: networks.mlp_decoder(4, (9,), hidden=(8,)),
        "mlp",
        "mlp",
    ),
}
SAMPLES = 3


def smooth_adam(rate):
    # The usual epsilon of 1e-7 makes a sign of gradients that are 0 but for
    # rounding, so that no two implementations agree on their first step.
    return keras.optimizers.Adam(rate, epsilon=1e-2)


def data_of(setting):
    rng = np.random.default_rng(0)
    network, _ = setting.build()
    shape = (setting.batch, *network.input_shape[1:])
    x = tf.constant(rng.uniform(-1, 1, shape).astype(np.float32))
    return x, tf.constant(rng.integers(0, 3, setting.batch).astype(np.int32))


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
    model = step_baselines.build_library(setting, SAMPLES)
    rates = (energy_rate, 1e-2, 1e-2)
    model.compile(*map(smooth_adam, rates))
    plain = step_baselines.TwoTapes(
        *setting.build(), SAMPLES, [smooth_adam(rate) for rate in rates]
    )
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
    made = step_baselines.DerivativesAlone(*setting.build()).train_step((x, y))
    rates = [keras.optimizers.SGD(rate) for rate in (1.0, 1.0, 1.0)]
    plain = step_baselines.TwoTapes(*setting.build(), SAMPLES, rates)
    before = [keras.ops.convert_to_numpy(v) for v in plain.owned[0]]
    loss = plain._update_energy(x, y, x[::-1])
    assert float(made["loss"]) == pytest.approx(float(loss), rel=1e-5)
    *gradients, of_samples = made["gradients"]
    for own, variable, start in zip(gradients, plain.owned[0], before, strict=True):
        moved = start - keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(own, moved, rtol=1e-4, atol=1e-6)
    assert of_samples.shape == x.shape and np.abs(of_samples).max() > 0


@pytest.fixture
def torch():
    module = pytest.importorskip("torch")
    # Two threads spin while they wait, which costs many times the work itself
    # where anything else runs.
    before = module.get_num_threads()
    module.set_num_threads(1)
    yield module
    module.set_num_threads(before)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_pytorch_computes_the_same_losses(torch, name, channels_last):
    setting = SMALL[name]
    plain = step_baselines.TwoTapes(*setting.build(), SAMPLES)
    other = step_baselines.TorchStep(
        setting, *setting.build(), SAMPLES, channels_last=channels_last
    )
    x, y = data_of(setting)
    noise = plain.draw(setting.batch)
    labels = torch.tensor(y.numpy().astype(np.int64))
    inputs = other.inputs(x), labels, *(other.inputs(part) for part in noise)
    # The second step is from the weights that all three optimizers left.
    for tolerance in (1e-4, 1e-3):
        ours, theirs = plain.update(x, y, *noise), other.update(*inputs)
        for key, value in ours.items():
            value = float(value)
            assert float(theirs[key]) == pytest.approx(value, rel=tolerance), key


def test_pytorch_computes_the_loss_of_the_benchmarks_network(torch):
    setting = step_baselines.SETTINGS["MLP 561-500-500-500-6"]
    plain = step_baselines.TwoTapes(*setting.build())
    other = step_baselines.TorchStep(setting, *setting.build())
    x = tf.random.uniform([setting.batch, 561], -1, 1, seed=0)
    y = np.arange(setting.batch) % 6
    noise = plain.draw(setting.batch)
    ours = plain.update(x, tf.constant(y, tf.int32), *noise)["loss"]
    inputs = (other.inputs(part) for part in noise)
    theirs = other.update(other.inputs(x), torch.tensor(y), *inputs)["loss"]
    assert float(theirs) == pytest.approx(float(ours), abs=1e-4)


def small_setting(monkeypatch):
    monkeypatch.setitem(step_baselines.SETTINGS, "small", SMALL["vector"])


def test_the_ratios_of_steps_are_measured(monkeypatch):
    small_setting(monkeypatch)
    kinds = ("library", "two tapes", "chains", "derivatives alone")
    row = step_baselines.measure("small", blocks=2, steps=3, kinds=kinds)
    assert set(row["ratios"]) == {"library / two tapes", "chains / library"}
    assert all(values["median"] > 0 for values in row["ratios"].values())
    text = step_baselines.table({"settings": {"small": row}})
    assert "| small | library / two tapes |" in text and "| <= 0.9 |" in text
    assert text.count("| small |") == 6


@needs_torch
def test_pytorch_runs_its_steps_in_a_process_that_waits():
    worker = step_baselines.Torch("MLP 561-500-500-500-6", threads=1)
    try:
        times = [worker(1), worker(2)]
    finally:
        worker.close()
    assert all(seconds > 0 and used > 0 for seconds, used in times)
    assert worker.process.returncode == 0
    assert worker.version


def test_a_median_beyond_its_bound_is_a_miss():
    times = {
        "library": [95.0, 95.0],
        "two tapes": [100.0, 100.0],
        "chains": [400.0] * 2,
    }
    times = {kind: np.array(values) for kind, values in times.items()}
    ratios = step_baselines.compare(times, times)
    assert ratios["library / two tapes"]["median"] == pytest.approx(0.95)
    met = {name: values["met"] for name, values in ratios.items()}
    assert met == {"library / two tapes": False, "chains / library": True}


@pytest.mark.parametrize("kind", ["library", "kept", "alone"])
def test_the_memory_of_steps_is_measured(kind):
    assert step_memory.growth("MLP 561-500-500-500-6", 2, 2, kind, steps=1) >= 0


def test_what_one_pass_of_the_generator_makes_is_counted():
    # A layer of 128 entries and one of 561, each with its activation.
    sizes = step_memory.outputs_of_one_pass("MLP 561-500-500-500-6", (1, 40))
    expected = 4 * step_memory.BATCH * 2 * (128 + 561) / 2**20
    assert sizes["1"] == pytest.approx(expected)
    assert sizes["40"] == pytest.approx(40 * expected)


def test_memory_is_drawn_and_its_table_shows_what_stays(tmp_path):
    by_samples = {
        "library": {"1": 40.0, "5": 60.0},
        "kept": {"1": 40.0, "5": 140.0},
        "alone": {"1": 5.0, "5": 25.0},
        "outputs": {"1": 4.0, "5": 20.0},
    }
    row = {
        "by_batch": {"16": 50.0, "32": 60.0},
        "by_samples": by_samples,
        "slopes": {k: step_memory.slope(values) for k, values in by_samples.items()},
        "resident_after": {"100": 900.0, "1000": 901.0},
    }
    results = {"networks": {"small": row}}
    text = step_memory.table(results)
    assert "| small | 5.00 | 25.00 | 5.00 | 4.00 | 900.0 MiB after 100, 901.0" in text
    assert "| small, kept | 40 | 140 |" in text
    plots.save(step_memory.figure(results), tmp_path / "memory.png")
    assert (tmp_path / "memory.png").stat().st_size > 1000
