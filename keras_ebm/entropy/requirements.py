"""What an estimator asks of a decoder, checked when the two are joined."""

import keras
import tensorflow as tf

from keras_ebm.jacobians import dense_jacobian

ALTERNATIVE = "MutualInformation() (--entropy=mutual_information)"


def check_own_density(name: str, generator) -> None:
    """Refuses a decoder whose outputs depend on the rest of the batch.

    Raises:
        ValueError: if there is a batch normalisation, for which `q(x|z)` is
            not defined in training mode.
    """
    for layer in generator.decoder._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            raise ValueError(
                f"{name} needs a decoder whose output depends on its own latent "
                "alone, so that q(x|z) is defined. Received: a decoder with the "
                f"BatchNormalization layer {layer.name!r}, which in training mixes "
                f"the batch; leave it out, or use {ALTERNATIVE}, which needs no "
                "density."
            )


def check_differentiable(name: str, generator, alternative: str, twice=False) -> None:
    """Refuses a decoder without a derivative in its latent.

    Args:
        name: the estimator's.
        generator: `GaussianGenerator`.
        alternative: what to use instead.
        twice: bool, whether the Jacobian's own gradient in the weights is needed.

    Raises:
        ValueError: if a derivative is missing.
    """
    z = tf.random.stateless_normal([2, generator.latent_dim], [0, 1])
    weights = [v.value for v in generator.decoder.trainable_variables]
    try:
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch([z, *weights])
            output = tf.cast(generator(z), tf.float32)
            one = z[:1]
            size = dense_jacobian(generator, one)[0, :1] if twice else 0.0
        missing = tape.gradient(output, z) is None
        if twice and not missing and weights:
            found = tape.gradient(size, weights)
            missing = all(gradient is None for gradient in found)
        reason = "its output has no gradient in the latent"
    except (LookupError, NotImplementedError, TypeError, tf.errors.OpError) as error:
        missing, reason = True, " ".join(str(error).split())[:200]
    if missing:
        order = "twice differentiable" if twice else "differentiable"
        raise ValueError(
            f"{name} needs a {order} decoder. Received: one where a derivative is "
            f"missing ({reason}); replace the layer without one, or use {alternative}."
        )
