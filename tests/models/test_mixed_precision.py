"""Networks that compute in half precision, with all that is summed in float32."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import CLASSES, batches, rows

from keras_ebm.models import VERA, LangevinModel
from keras_ebm.negatives import LangevinMoves, MarkovChains, ReplayBuffer
from keras_ebm.random import StepRandom
from keras_ebm.trainers.settings.chains import ChainSettings, build_langevin
from keras_ebm.trainers.settings.data import DataSettings, load
from keras_ebm.trainers.settings.vera import ModelSettings, build_model

POLICIES = ["mixed_bfloat16", "mixed_float16"]
DATA = load(DataSettings(dataset="digits", train_size=128))
X, Y = DATA.rows("train")


def make(kind, precision, **arguments):
    if kind == "vera":
        settings = ModelSettings(
            hidden=("32",),
            generator_hidden=("16",),
            latent_dim=4,
            importance_samples=4,
            objective="contrastive",
            precision=precision,
            **arguments,
        )
        return build_model(DATA.dataset, X, settings, 0)
    settings = ChainSettings(
        hidden=("32",),
        num_steps=3,
        buffer_size=64,
        gradient_penalty=0.1,
        precision=precision,
        **arguments,
    )
    return build_langevin(DATA.dataset, X, settings, 0)


def compiled(model, scale=None):
    """Compiled with SGD; a `scale` to start from lets float16 skip no step."""
    rates = {"optimizer": 0.01}
    if isinstance(model, VERA):
        rates |= {"generator_optimizer": 0.001, "posterior_optimizer": 0.001}
    optimizers = {name: keras.optimizers.SGD(rate) for name, rate in rates.items()}
    if scale and "float16" in {layer.compute_dtype for layer in model.network.layers}:
        wrap = keras.optimizers.LossScaleOptimizer
        optimizers = {
            name: wrap(optimizer, initial_scale=scale)
            for name, optimizer in optimizers.items()
        }
    model.compile(**optimizers)
    return model


def changes(model):
    """The change of each weight by three steps."""
    parts = [model.network, *([model.generator] if isinstance(model, VERA) else [])]
    before = [w.numpy() for part in parts for w in part.trainable_variables]
    model.fit(batches(X, Y, 32).take(3), shuffle=False, verbose=0)
    after = [w.numpy() for part in parts for w in part.trainable_variables]
    return [a - b for a, b in zip(after, before, strict=True)]


@pytest.mark.parametrize("kind", ["vera", "langevin"])
@pytest.mark.parametrize("policy", POLICIES)
def test_updates_are_finite_and_close_to_those_of_float32(kind, policy):
    exact, half = (
        np.concatenate([c.ravel() for c in changes(compiled(make(kind, name), 128))])
        for name in ("float32", policy)
    )
    assert np.all(np.isfinite(half)) and np.abs(exact).max() > 1e-4
    # bfloat16 keeps 8 bits, float16 11: relative errors of a few hundredths and a
    # few thousandths, which three steps add up and importance weights amplify.
    error = np.linalg.norm(half - exact) / np.linalg.norm(exact)
    assert error < (0.15 if policy == "mixed_bfloat16" else 0.05), error


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_summed_or_stored_is_float32(policy):
    model = make("vera", policy)
    hidden = model.network.layers[-1]
    assert hidden.compute_dtype in ("bfloat16", "float16")
    assert model.generator.decoder.layers[-1].compute_dtype == hidden.compute_dtype
    for weight in model.weights:
        assert weight.dtype in ("float32", "uint32", "int64"), weight.path
    x = model.preprocess(X[:4])
    _, logs = model.energy_loss(x, tf.constant(Y[:4], tf.int32), [x])
    assert logs["data_energy"].dtype == tf.float32
    assert logs["negative_energy"].dtype == tf.float32
    assert model.energy(X[:4]).dtype == tf.float32
    draw = model.draw(4, StepRandom(0, 0))
    assert draw.x.dtype == tf.float32
    prepared = model.entropy.prepare(model.generator, draw, StepRandom(0, 0))
    assert prepared["score"].dtype == tf.float32


def test_float16_scales_the_loss_of_every_optimizer_and_bfloat16_none():
    model = compiled(make("vera", "mixed_float16"))
    scaled = keras.optimizers.LossScaleOptimizer
    for name, optimizer in model.named_optimizers().items():
        assert isinstance(optimizer, scaled), name
    model = compiled(make("vera", "mixed_bfloat16"))
    for optimizer in model.named_optimizers().values():
        assert not isinstance(optimizer, scaled)


def test_a_float16_model_is_saved_with_its_loss_scale(tmp_path):
    model = compiled(make("vera", "mixed_float16"))
    data = batches(X, Y, 32)
    model.fit(data, shuffle=False, verbose=0)
    model.save(tmp_path / "half.keras")
    copy = keras.models.load_model(tmp_path / "half.keras")
    for one in (model, copy):
        one.fit(data, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_float16_on_several_replicas_is_refused(strategy):
    with strategy.scope():
        model = make("vera", "mixed_float16")
        with pytest.raises(ValueError, match="float16 trains on one replica"):
            compiled(model)


def test_bfloat16_trains_on_several_replicas(strategy):
    with strategy.scope():
        model = compiled(make("vera", "mixed_bfloat16"))
    history = model.fit(batches(X, Y, 32), shuffle=False, verbose=0).history
    assert all(np.all(np.isfinite(values)) for values in history.values())


def test_estimators_that_need_float32_refuse_half_precision():
    with pytest.raises(ValueError, match="does not go with entropy=log_volume"):
        make("vera", "mixed_bfloat16", entropy="log_volume")


def test_a_buffer_of_half_precision_chains_is_float32():
    x, _ = rows(16)
    network = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(CLASSES, dtype="mixed_bfloat16")]
    )
    buffer = ReplayBuffer((4,), 16, in_turn=True)
    model = LangevinModel(network, MarkovChains(LangevinMoves(2, 0.1, 0.1), buffer))
    model.compile(keras.optimizers.SGD(0.01))
    model.fit(x, np.full(16, -1), verbose=0)
    assert buffer.states.dtype == "float32"
    assert np.all(np.isfinite(buffer.whole()["states"]))
