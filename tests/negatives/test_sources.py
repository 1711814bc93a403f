"""What models ask of a source of negatives, by sources of a user's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import (
    FEATURES,
    assert_same_weights,
    compile_sgd,
    make_generator,
    make_network,
    rows,
)

from keras_ebm.entropy import ImportanceSampling
from keras_ebm.models import VERA, EnergyModel
from keras_ebm.models.base import Drawn
from keras_ebm.models.energy_model import with_samples
from keras_ebm.negatives import CutJoin, Negatives, NegativeSource, as_source
from keras_ebm.random import StepRandom

X, Y = rows(12)


class Weighted(NegativeSource):
    """Normal noise, weighted by the energy it is asked to beat."""

    log_names = ("largest_weight",)

    def draw(self, energy_fn, x, random, labels=None, training=False, **options):
        noise = random.normal(tf.shape(x), "noise")
        weights = tf.nn.softmax(-energy_fn(noise))
        logs = {"largest_weight": tf.reduce_max(weights)}
        return Negatives(noise, weights, logs)


def model_of(negatives, **arguments):
    model = EnergyModel(make_network(1), negatives=negatives, **arguments)
    model.compile(keras.optimizers.SGD(0.1))
    return model


def test_a_source_that_needs_the_energy_weighs_its_negatives():
    model = model_of(Weighted())
    logs = model.evaluate(X, batch_size=12, verbose=0, return_dict=True)
    made = Weighted().draw(model.energy, tf.constant(X), StepRandom(0, 0))
    weighted = np.sum(made.weights * model.energy(made.x))
    expected = np.mean(model.energy(X)) - weighted
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-4, atol=1e-5)
    history = model.fit(X, batch_size=12, epochs=1, verbose=0).history
    np.testing.assert_allclose(history["loss"][0], expected, rtol=1e-4, atol=1e-5)
    assert history["largest_weight"][0] > 1 / 12


def test_weights_count_in_the_logistic_objective():
    model = model_of(Weighted(), objective="logistic")
    made = Weighted().draw(model.energy, tf.constant(X), StepRandom(0, 0))
    data, negative = (model.energy(x).numpy() for x in (X, made.x))
    softplus = np.logaddexp(0.0, -negative)
    expected = np.mean(np.logaddexp(0.0, data)) + np.sum(made.weights * softplus)
    logs = model.evaluate(X, batch_size=12, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-4, atol=1e-5)


def test_weights_are_refused_where_they_would_not_count():
    model = model_of(Weighted(), objective="softplus")
    with pytest.raises(ValueError, match="Weighted for a .*; leave the weights out"):
        model.train_on_batch(X)


class Alike(Weighted):
    """Negatives of equal weights, given as weights or left out."""

    def __init__(self, given):
        super().__init__()
        self.given = given

    def draw(self, energy_fn, x, random, labels=None, training=False, **options):
        made = super().draw(energy_fn, x, random, labels, training, **options)
        equal = tf.ones_like(made.x[:, 0]) / 6.0
        return made._replace(weights=equal if self.given else None)


@pytest.mark.parametrize("objective", ["contrastive", "logistic"])
def test_equal_weights_beside_a_generator_change_nothing(objective):
    models = []
    for given in (True, False):
        model = VERA(
            make_network(1),
            make_generator(),
            entropy=ImportanceSampling(num_samples=4),
            negatives=Alike(given),
            objective=objective,
            seed=0,
        )
        compile_sgd(model)
        model.fit(X, batch_size=6, epochs=1, shuffle=False, verbose=0)
        models.append(model)
    # The same sums in another order.
    assert_same_weights(*models, rtol=1e-5, atol=1e-6)


def test_a_sampler_s_negatives_count_as_one_of_all_each():
    own = Drawn([tf.zeros([2, 3])], weights=tf.constant([0.25, 0.75]))
    both = with_samples(tf.ones([3, 3]), own)
    np.testing.assert_allclose(both.weights, [0.2, 0.2, 0.2, 0.1, 0.3], rtol=1e-6)
    assert [len(part) for part in both.negatives] == [3, 2]


def test_callables_and_sources_are_told_from_other_things():
    source = CutJoin()
    assert as_source(source) is source and as_source(None) is None
    shift = as_source(lambda x, random: x + 1.0)
    made = shift.draw(None, tf.zeros([2, FEATURES]), None)
    np.testing.assert_array_equal(made.x, np.ones([2, FEATURES]))
    assert made.weights is None and not shift.walks
    with pytest.raises(ValueError, match="`negatives` must be a callable .*'batch'"):
        as_source("batch")
