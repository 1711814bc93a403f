"""Penultimate features of an energy network."""

import keras


def with_features(network: keras.Model) -> keras.Model:
    """Returns a model that gives features and logits in one pass.

    Args:
        network: a functional energy network whose last layer makes the logits.

    Returns:
        A model from the network's input to `{"features": (batch, d), "logits":
        (batch, K)}` that shares the network's weights.

    Raises:
        ValueError: if `network` is not functional, so that the input of its
            last layer is not known.
    """
    try:
        features = network.layers[-1].input
        (inputs,), (logits,) = network.inputs, network.outputs
    except (AttributeError, IndexError, ValueError) as error:
        raise ValueError(
            "Features need a functional `keras.Model` (or a built "
            "`keras.Sequential`) whose last layer makes the logits. "
            f"Received: network={network!r}."
        ) from error
    return keras.Model(inputs, {"features": features, "logits": logits})
