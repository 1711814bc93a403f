"""The initial weights that energies and decoders share."""

import keras


def fan_in_uniform(gain: float = 1.0):
    """Uniform weights of variance `gain / fan_in`.

    Two-dimensional trials with this variance learnt an energy markedly faster
    than with the three times smaller one that other frameworks default to.
    """
    return keras.initializers.VarianceScaling(
        scale=gain, mode="fan_in", distribution="uniform"
    )
