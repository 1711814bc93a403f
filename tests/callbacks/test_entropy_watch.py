"""A warning where importance sampling has one proposal left."""

import keras
import pytest
from support import LATENTS, batches, compile_sgd, make_network, make_vera, rows

from keras_ebm.callbacks import EntropyWatch
from keras_ebm.entropy import ImportanceSampling, LogVolume
from keras_ebm.generators import GaussianGenerator
from keras_ebm.models import VERA
from keras_ebm.networks import mlp_decoder

X, Y = rows(16)


def steep():
    """A generator whose sigma is too small for any proposal but the nearest."""
    keras.utils.set_random_seed(0)
    decoder = mlp_decoder(LATENTS, X.shape[1:], hidden=(8,))
    decoder.set_weights([30.0 * weight for weight in decoder.get_weights()])
    return GaussianGenerator(decoder, initial_stddev=0.01)


def fit(model, **kwargs):
    compile_sgd(model, 1e-6, 1e-9, 1e-9)
    watch = EntropyWatch(**kwargs)
    data = batches(X, Y, 8)
    model.fit(data, epochs=2, shuffle=False, verbose=0, callbacks=[watch])


def test_a_starved_estimate_is_told_once_with_the_estimator_that_serves():
    model = VERA(make_network(), steep(), entropy=ImportanceSampling())
    expected = r"starved: effective_sample_size was 1\.\d\d of 20 in epoch 1.*"
    with pytest.warns(UserWarning, match=expected + "--entropy=log_volume") as told:
        fit(model)
    assert sum("starved" in str(one.message) for one in told) == 1


def test_a_fed_estimate_and_others_are_not_accused():
    # A warning is an error in these tests.
    fit(make_vera())
    fit(VERA(make_network(), steep(), entropy=LogVolume()))
    # One proposal has all weight without being starved.
    fit(VERA(make_network(), steep(), entropy=ImportanceSampling(1)))


def test_a_bound_that_nothing_is_below_is_refused():
    with pytest.raises(ValueError, match="`warn_below` must be above 1"):
        EntropyWatch(1.0)
