import keras
import numpy as np
import pytest
from support import (
    FEATURES,
    assert_same_weights,
    batches,
    compile_sgd,
    make_generator,
    make_network,
    make_vera,
    rows,
)

from keras_ebm.data.batches import training_batches
from keras_ebm.entropy import ImportanceSampling
from keras_ebm.layers import TableEncoder
from keras_ebm.models import VERA, EnergyModel
from keras_ebm.negatives import Blend
from keras_ebm.schedules import WarmUp

X, Y = rows(24)
OPTIMIZERS = ("optimizer", "generator_optimizer", "posterior_optimizer")


def full_model():
    """A model that uses every argument, so that each has to be kept."""
    encoder = TableEncoder()
    encoder.adapt(X)
    model = VERA(
        make_network(),
        make_generator(stddev_bounds=(0.02, 0.2)),
        entropy=ImportanceSampling(5, initial_width=0.2, widening=2.0),
        entropy_weight=0.5,
        preprocessor=encoder,
        negatives=Blend((0.4, 0.6)),
        objective="logistic",
        energy_weight=0.3,
        classification_weight=0.9,
        conditional_entropy_weight=0.1,
        gradient_penalty=0.2,
        data_stddev=0.05,
        class_names=["a", "b", "c"],
        seed=7,
    )
    cosine = keras.optimizers.schedules.CosineDecay(0.01, 50)
    model.compile(
        keras.optimizers.Adam(WarmUp(cosine, 5), beta_1=0.0),
        keras.optimizers.Adam(WarmUp(0.02, 3), beta_1=0.0, beta_2=0.9),
        keras.optimizers.RMSprop(0.03, momentum=0.5),
    )
    return model


def assert_same_optimizers(one, other):
    for name in OPTIMIZERS:
        a, b = getattr(one, name), getattr(other, name)
        assert type(a) is type(b)
        assert int(a.iterations) == int(b.iterations)
        for left, right in zip(a.variables, b.variables, strict=True):
            np.testing.assert_array_equal(left, right)


def test_a_saved_model_goes_on_as_if_it_had_not_been_saved(tmp_path):
    model = full_model()
    model.fit(batches(X, Y, 8), verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")

    assert_same_weights(copy, model)
    assert_same_optimizers(copy, model)
    np.testing.assert_array_equal(copy(X), model(X))
    np.testing.assert_array_equal(copy.energy(X), model.energy(X))
    np.testing.assert_array_equal(copy.sample(3), model.sample(3))
    logs = [which.train_step((X, Y)) for which in (model, copy)]
    assert int(copy.optimizer.iterations) == 4
    assert_same_weights(copy, model)
    assert_same_optimizers(copy, model)
    assert logs[0].keys() == logs[1].keys()


def test_learning_rates_are_those_of_the_schedules_after_loading(tmp_path):
    model = full_model()
    for _ in range(2):
        model.train_step((X, Y))
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    # Step 2: three fifths of the ramp, and the ramp of three steps is done.
    cosine = 0.005 * (1 + np.cos(np.pi * 2 / 50))
    np.testing.assert_allclose(copy.optimizer.learning_rate, 0.6 * cosine, rtol=1e-5)
    np.testing.assert_allclose(copy.generator_optimizer.learning_rate, 0.02, rtol=1e-6)
    np.testing.assert_allclose(copy.posterior_optimizer.learning_rate, 0.03, rtol=1e-6)


def test_arguments_survive_the_config():
    model = full_model()
    copy = VERA.from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    assert (copy.entropy.num_samples, copy.entropy.widening) == (5, 2.0)
    assert copy.generator.stddev_bounds == (0.02, 0.2)
    assert copy.negatives.share == (0.4, 0.6)
    assert copy.seed == 7 and list(copy.class_names) == ["a", "b", "c"]


def test_a_model_that_was_never_compiled_is_saved_without_a_warning(tmp_path):
    model = make_vera()
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert_same_weights(copy, model)
    np.testing.assert_array_equal(copy(X), model(X))


def test_a_plain_energy_model_is_saved_with_its_optimizer(tmp_path):
    model = EnergyModel(make_network(), energy_weight=0.0, classification_weight=0.5)
    model.compile(keras.optimizers.Adam(0.01))
    model.train_step((X, Y))
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    for which in (model, copy):
        which.train_step((X, Y))
    assert_same_weights(copy, model)
    for a, b in zip(copy.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_predictions_are_logits_of_raw_rows():
    model = full_model()
    predicted = model.predict(X, verbose=0)
    np.testing.assert_allclose(predicted, model.logits(X), rtol=1e-5, atol=1e-6)
    assert predicted.shape == (len(X), 3)


class Interrupted(Exception):
    pass


class Interrupt(keras.callbacks.Callback):
    """Raises at the end of an epoch, before the next has begun."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise Interrupted


def train(model, callbacks=(), first_epoch=0):
    data, steps = training_batches(X, Y, batch_size=8, seed=3, first_epoch=first_epoch)
    model.fit(
        data,
        epochs=4,
        steps_per_epoch=steps,
        verbose=0,
        shuffle=False,
        callbacks=list(callbacks),
    )
    return model


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path):
    whole = train(full_model())

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(Interrupted):
        train(full_model(), [backup(), Interrupt(2)])
    resumed = train(full_model(), [backup()], first_epoch=2)

    # An epoch is 24 rows at 4 drawn from all rows a batch: six steps.
    assert int(resumed.optimizer.iterations) == 24
    assert_same_optimizers(resumed, whole)
    assert_same_weights(resumed, whole)


def test_weights_alone_can_be_loaded_into_a_new_model(tmp_path):
    model = compile_sgd(make_vera())
    model.train_step((X, Y))
    model.save_weights(tmp_path / "model.weights.h5")
    copy = make_vera()
    copy.load_weights(tmp_path / "model.weights.h5")
    assert_same_weights(copy, model)
    assert np.any(copy.entropy.log_width != np.log(0.1))
    assert copy(np.zeros((2, FEATURES))).shape == (2, 3)
