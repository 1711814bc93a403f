"""Penultimate features of an energy network."""

import keras


def with_features(network: keras.Model) -> keras.Model:
    """Returns a model that gives features and logits in one pass.

    Args:
        network: a functional energy network whose layer `"logits"`, or else
            whose last layer, makes the logits.

    Returns:
        A model from the network's input to `{"features": (batch, d), "logits":
        (batch, K)}` that shares the network's weights.

    Raises:
        ValueError: if `network` is not functional, so that the input of its
            last layer is not known.
    """
    try:
        names = [layer.name for layer in network.layers]
        last = names.index("logits") if "logits" in names else -1
        features = network.layers[last].input
        (inputs,), (logits,) = network.inputs, network.outputs
    except (AttributeError, IndexError, ValueError) as error:
        raise ValueError(
            "Features need a functional `keras.Model` (or a built "
            "`keras.Sequential`) whose last layer makes the logits. "
            f"Received: network={network!r}."
        ) from error
    return keras.Model(inputs, {"features": features, "logits": logits})
