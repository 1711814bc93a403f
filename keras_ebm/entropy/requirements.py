"""What an estimator asks of a decoder, checked when the two are joined."""

import keras
import tensorflow as tf

from keras_ebm.jacobians import dense_jacobian
from keras_ebm.protocols import Generator

ALTERNATIVE = "MutualInformation() (--entropy=mutual_information)"


def check_own_density(name: str, generator: Generator) -> None:
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


def check_differentiable(
    name: str, generator: Generator, alternative: str, twice: bool = False
) -> None:
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
    decoder = generator.decoder
    # As tensors, since a strategy's variables have no gradient outside a replica,
    # and shaken a little, since a layer may start at zero.
    weights = [
        tf.convert_to_tensor(v) + 0.01 * tf.random.stateless_normal(v.shape, [i, 2])
        for i, v in enumerate(decoder.trainable_variables)
    ]
    fixed = [tf.convert_to_tensor(v) for v in decoder.non_trainable_variables]

    def function(latents):
        output, _ = decoder.stateless_call(weights, fixed, latents)
        return tf.cast(output, tf.float32)

    reason = "its output has no gradient in the latent"
    try:
        missing = _is_missing(function, z, [z])
        if twice and weights and not missing:
            missing = _is_missing(lambda x: dense_jacobian(function, x), z, weights)
            reason = "its Jacobian has no gradient in the weights"
    except (LookupError, NotImplementedError, TypeError, tf.errors.OpError) as error:
        missing, reason = True, " ".join(str(error).split())[:200]
    if missing:
        order = "twice differentiable" if twice else "differentiable"
        raise ValueError(
            f"{name} needs a {order} decoder. Received: one where a derivative is "
            f"missing ({reason}); replace the layer without one, or use {alternative}."
        )


def _is_missing(function, z, sources) -> bool:
    """Whether all gradients of `function(z)` in `sources` are absent or zero."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sources)
        output = function(z)
    gradients = [g for g in tape.gradient(output, sources) if g is not None]
    return not any(bool(tf.reduce_any(g != 0)) for g in gradients)
