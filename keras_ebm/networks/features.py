"""Penultimate features of an energy network."""

import keras
from keras import ops

from keras_ebm.networks.graphs import has_layers, head_of, input_struct, is_functional


def with_features(network: keras.Model) -> keras.Model:
    """Returns a model that gives features and logits in one pass.

    Features are what the network's layer `"logits"` takes or else its last layer with
    weights, whatever activation or dropout lies behind it. Of a convolution's they are
    the means over the picture.

    Args:
        network: functional energy network, whose last layers are no model of their
            own.

    Returns:
        A model from the network's input to `{"features": (batch, d), "logits":
        (batch, K)}` that shares the network's weights.

    Raises:
        ValueError: if it is not known what the last layer takes: the network is not
            functional, several ways meet at its end, or they lie in a nested model.
    """
    if not is_functional(network) or len(network.outputs) != 1:
        raise ValueError(
            "Features need a functional `keras.Model` (or a built "
            "`keras.Sequential`) whose last layer makes the logits. "
            f"Received: network={network!r}."
        )
    (logits,) = network.outputs
    features = _named(network)
    if features is None:
        head, features = head_of(logits)
        if head is None or has_layers(head):
            raise ValueError(
                "Features need a network whose last layer with weights is known. "
                f"Received: network={network.name!r}, which ends in "
                f"{'ways that meet' if head is None else f'{head.name!r}, itself of'}"
                f"{'' if head is None else ' several layers'}; pass it through "
                "keras_ebm.networks.from_classifier, or call its last layer 'logits'."
            )
    if len(features.shape) > 2:
        features = ops.mean(features, axis=tuple(range(1, len(features.shape) - 1)))
    return keras.Model(input_struct(network), {"features": features, "logits": logits})


def _named(network):
    """What the layer `"logits"` takes; None without one that has weights."""
    found = [layer for layer in network.layers if layer.name == "logits"]
    return found[0].input if found and found[0].weights else None
