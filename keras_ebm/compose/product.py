"""Products of densities: weighted sums of energies."""

import keras
import tensorflow as tf

from keras_ebm.compose.base import Composition


@keras.saving.register_keras_serializable(package="keras_ebm")
class Product(Composition):
    """What is likely by all of several energies: `E(x) = sum_i w_i E_i(x)`.

    `exp(-E)` is the product of the densities to the powers `w_i`, the "and" of their
    concepts. A negative weight is a "not": what that density finds likely becomes
    unlikely; it needs a small weight, or others that hold it, as nothing else keeps
    such a product from growing without bounds where the data never were.

    With conditions of one network, `[E(x, y), E(x, z), E(x)]` under weights `1, 1, -1`
    is `p(x) p(y|x) p(z|x)` but for constants: `x` counts once, not twice.

    Args:
        networks: see `Composition`.
        factors: numbers `w_i`, one for each network, at least one above 0; default
            1 each.
        max_gradient: see `Composition`.
        clip: see `Composition`.
        **kwargs: forwarded to `keras.Model`.

    Call arguments:
        inputs: `x`, `(batch, ...)`.

    Returns:
        `-E(x)` in nats, float32 `(batch, 1)`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Hinton (2002), "Training products of experts by minimizing contrastive
          divergence".
        - Du, Li and Mordatch (2020), "Compositional visual generation with energy
          based models", https://arxiv.org/abs/2004.06030, section 3.2.
    """

    def _check_weights(self):
        super()._check_weights()
        if not any(weight > 0 for weight in self.factors):
            raise ValueError(
                "`factors` must have a number above 0: negations alone have no "
                f"density. Received: factors={self.factors}."
            )

    def join(self, energies: list) -> tf.Tensor:
        return tf.add_n(energies)
