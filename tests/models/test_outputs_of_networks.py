"""Networks that would be taken for something else are refused, and large ones fit."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_ebm as ebm


def sequential(*parts):
    return keras.Sequential([keras.Input((3,)), *parts])


def nested(*parts):
    return sequential(sequential(layers.Dense(4), *parts), layers.Dropout(0.5))


@pytest.mark.parametrize(
    "make, kind",
    [
        (lambda: sequential(layers.Dense(4, "softmax")), "softmax"),
        (lambda: sequential(layers.Dense(4), layers.Softmax()), "softmax"),
        (lambda: nested(layers.Activation("softmax")), "softmax"),
        (lambda: sequential(layers.Dense(1, "sigmoid")), "sigmoid"),
    ],
)
def test_a_network_of_probabilities_is_refused(make, kind):
    with pytest.raises(
        ValueError, match=f"ends in a {kind}; pass it through .*from_cl"
    ):
        ebm.EnergyModel(make())


def test_a_network_of_a_fixed_batch_is_refused_and_adopted():
    network = keras.Sequential([layers.Dense(4)])
    network(np.zeros((5, 3)))
    with pytest.raises(ValueError, match="built by one of 5 rows; .*from_classifier"):
        ebm.EnergyModel(network)
    adopted = ebm.EnergyModel(ebm.networks.from_classifier(network))
    assert adopted.logits(np.ones((2, 3))).shape == (2, 4)


def test_a_network_of_several_outputs_is_refused():
    inputs = keras.Input((3,))
    network = keras.Model(inputs, [layers.Dense(2)(inputs), layers.Dense(2)(inputs)])
    with pytest.raises(ValueError, match="must be a Keras model of one output"):
        ebm.EnergyModel(network)


def test_rows_pass_in_batches_that_the_largest_tensor_allows():
    small = ebm.EnergyModel(sequential(layers.Dense(4)))
    assert small.rows_at_a_time() == 256
    body = keras.Sequential([keras.Input((512, 512, 1)), layers.Conv2D(4, 1)])
    inputs = keras.Input((512, 512, 1))
    pooled = layers.GlobalAveragePooling2D()(body(inputs))
    large = ebm.EnergyModel(keras.Model(inputs, layers.Dense(2)(pooled)))
    # Four channels of 512 x 512 in each row, of 2^25 numbers in all.
    assert large.rows_at_a_time() == 2**25 // (4 * 512 * 512)
