"""Agreements of predictions on rows without labels, against answers known by hand."""

import keras
import numpy as np
import pytest

from keras_ebm import EnergyModel
from keras_ebm.callbacks import AgreementWatch, KeepBest
from keras_ebm.callbacks.agreement_watch import averaged, kappa, nearest_rows

#: Two pairs of neighbours on a line, far from each other.
PAIRS = np.array([[-2.0], [-1.9], [1.9], [2.0]], np.float32)


def a_model(kernel, bias, **optimizer):
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
    network.set_weights([np.array([kernel], np.float32), np.array(bias, np.float32)])
    model = EnergyModel(network, energy_weight=0.0)
    model.compile(keras.optimizers.SGD(0.0, **optimizer))
    model.optimizer.build(model.trainable_variables)
    return model


def watched(model, x=PAIRS, num_neighbours=1):
    watch = AgreementWatch(x, num_neighbours)
    watch.set_model(model)
    return watch.agreements()


def test_kappa_is_agreement_beyond_chance():
    same = np.array([0, 0, 1, 1])
    assert kappa(same, same) == 1.0
    assert kappa(same, 1 - same) == -1.0
    # Three of four alike where chance gives two.
    assert kappa(same, np.array([0, 0, 1, 0])) == pytest.approx(0.5)
    # One class for all is no knowledge.
    assert kappa(np.zeros(4, int), np.zeros(4, int)) == 0.0


def test_nearest_rows_are_others():
    assert nearest_rows(PAIRS, 1).ravel().tolist() == [1, 0, 3, 2]
    assert sorted(nearest_rows(PAIRS, 9)[0]) == [1, 2, 3]
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1500, 3))
    distances = np.linalg.norm(rows - rows[1200], axis=1)
    assert set(nearest_rows(rows, 4)[1200]) == set(np.argsort(distances)[1:5])


def test_neighbours_agree_where_the_border_lies_between_the_pairs():
    assert watched(a_model([1.0, -1.0], [0.0, 0.0])) == {"neighbour_agreement": 1.0}
    # A border through a pair: one row of four is of the second class.
    crossed = watched(a_model([1.0, -1.0], [3.9, 0.0]))["neighbour_agreement"]
    assert crossed == pytest.approx((0.5 - 0.625) / 0.375)
    assert watched(a_model([0.0, 0.0], [1.0, 0.0])) == {"neighbour_agreement": 0.0}


def test_weights_are_compared_with_their_averages():
    model = a_model([1.0, -1.0], [0.0, 0.0], use_ema=True)
    weights = model.network.get_weights()
    # As a step would have left them.
    averages = model.optimizer._model_variables_moving_average
    for average, weight in zip(averages, weights, strict=True):
        average.assign(weight)
    assert watched(model)["average_agreement"] == 1.0
    model.network.set_weights([-weights[0], weights[1]])
    found = watched(model)
    assert found["average_agreement"] == -1.0
    with averaged(model):
        np.testing.assert_array_equal(model.network.get_weights()[0], weights[0])
    np.testing.assert_array_equal(model.network.get_weights()[0], -weights[0])


def test_averages_are_found_where_a_loss_is_scaled():
    model = a_model([1.0, -1.0], [0.0, 0.0])
    own = keras.optimizers.SGD(0.0, use_ema=True)
    model.compile(keras.optimizers.LossScaleOptimizer(own))
    model.optimizer.build(model.trainable_variables)
    assert set(watched(model)) == {"average_agreement", "neighbour_agreement"}


class Move(keras.callbacks.Callback):
    """Moves the border from between the pairs, in the second epoch, elsewhere."""

    def on_epoch_end(self, epoch, logs=None):
        bias = [3.9, 0.0, 3.9][epoch]
        self.model.network.layers[0].bias.assign([bias, 0.0])


def test_a_run_ends_with_the_weights_that_agreed_most(tmp_path):
    model = a_model([1.0, -1.0], [3.9, 0.0])
    best = KeepBest(tmp_path, "neighbour_agreement", "max")
    model.fit(
        PAIRS,
        np.array([1, -1, -1, 0]),
        epochs=3,
        verbose=0,
        callbacks=[Move(), AgreementWatch(PAIRS, 1), best],
    )
    assert best.epoch == 2 and best.value == 1.0
    np.testing.assert_array_equal(model.network.layers[0].bias, [0.0, 0.0])


@pytest.mark.parametrize("x, outputs", [(PAIRS[:1], 2), (PAIRS, 1)])
def test_a_density_or_one_row_has_nothing_to_agree(x, outputs):
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(outputs)])
    with pytest.raises(ValueError, match="AgreementWatch needs two rows or more"):
        AgreementWatch(x).set_model(EnergyModel(network))
