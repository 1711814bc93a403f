"""Networks whose features and classes stand for how images look."""

import functools
import hashlib
from collections.abc import Callable
from typing import TypeAlias, cast

import keras
import tensorflow as tf
from keras import ops

from keras_ebm.arguments import listed

INCEPTION = "inception"
#: Name of the extractor of features that were extracted elsewhere.
GIVEN = "features as given"

Extractor: TypeAlias = keras.Layer | Callable | str | None


class InceptionFeatures:
    """Features and class probabilities of Keras's InceptionV3, built when first called.

    Images of any size are resized to 299 x 299 (bilinear, antialiased where they
    shrink), grey ones repeated to three channels. Keras's ImageNet weights are
    not those of the network that published FIDs are computed with: such figures are
    near to these, but not to be compared with them.

    Args:
        weights: `"imagenet"`, which Keras downloads once, or the path of a weights
            file for `keras.applications.InceptionV3`.

    Call arguments:
        images: `(batch, height, width, 1 or 3)`: integers from 0 to 255 (uint8), or
            floats in [-1, 1]; the dtype decides.

    Returns:
        Dict of `"features"` `(batch, 2048)` and `"probabilities"` `(batch, 1000)`.

    Raises:
        OSError: if the weights cannot be had.
    """

    SIZE = 299

    def __init__(self, weights: str = "imagenet"):
        self.weights = weights
        self.name = f"keras InceptionV3 {weights}"

    @functools.cached_property
    def model(self) -> keras.Model:
        """The network, loaded on first use."""
        try:
            with tf.init_scope():
                network = keras.applications.InceptionV3(weights=self.weights)
        # Keras raises a bare Exception where a download fails.
        except Exception as error:
            reason = " ".join(str(error).split())
            raise OSError(
                f"The weights {self.weights!r} of InceptionV3 cannot be had "
                f"({reason}). Pass a `feature_extractor` of your own, such as a "
                "classifier of these images, or put Keras's file of weights in "
                "~/.keras/models."
            ) from error
        outputs = {
            "features": network.layers[-1].input,
            "probabilities": network.output,
        }
        return keras.Model(network.inputs, outputs)

    def __call__(self, images: tf.Tensor):
        model = self.model
        images = ops.convert_to_tensor(images)
        is_float = keras.backend.is_float_dtype(
            keras.backend.standardize_dtype(images.dtype)
        )
        images = ops.cast(images, "float32")
        if not is_float:
            images = images / 127.5 - 1.0
        images = ops.image.resize(images, (self.SIZE, self.SIZE), antialias=True)
        if images.shape[-1] == 1:
            images = ops.repeat(images, 3, axis=-1)
        return model(images, training=False)


@functools.cache
def _inception() -> InceptionFeatures:
    """One network for all metrics of a process."""
    return InceptionFeatures()


def extractor_name(feature_extractor: Extractor) -> str:
    """What tells one feature extractor from another, in files of statistics.

    Of a Keras layer or model a digest of its weights; of another callable its attribute
    `name`, or else its qualified name.
    """
    if feature_extractor is None:
        return GIVEN
    if feature_extractor == INCEPTION:
        return _inception().name
    if isinstance(feature_extractor, keras.Layer):
        digest = hashlib.sha256()
        for weight in feature_extractor.get_weights():
            digest.update(str(weight.shape).encode() + weight.tobytes())
        return f"keras weights {digest.hexdigest()[:16]}"
    kind = type(feature_extractor).__name__
    name = getattr(feature_extractor, "name", None)
    return str(name or getattr(feature_extractor, "__qualname__", kind))


def extract(
    feature_extractor: Extractor,
    images: tf.Tensor,
    output: str = "features",
    from_logits: bool = False,
):
    """Runs a feature extractor.

    Args:
        feature_extractor: see `FrechetDistance`.
        images: what it takes; features or probabilities themselves for None.
        output: `"features"` or `"probabilities"`, which of its outputs to return.
        from_logits: bool, whether its only output holds the logits of these
            probabilities. Defaults to `False`.

    Returns:
        Tensor of shape `(batch, d)`, or `(batch, num_classes)`.

    Raises:
        ValueError: if the extractor has no such output, or it has another rank.
    """
    if feature_extractor == INCEPTION:
        feature_extractor = _inception()
    if feature_extractor is None:
        found = images
    elif isinstance(feature_extractor, keras.Layer):
        found = feature_extractor(images, training=False)
    else:
        # Any other string was refused when the metric was made.
        found = cast(Callable, feature_extractor)(images)
    if isinstance(found, dict):
        found = _pick(found, output)
    elif from_logits:
        found = ops.softmax(ops.cast(found, "float32"), axis=-1)
    found = ops.convert_to_tensor(found)
    if len(found.shape) != 2 or found.shape[1] is None:
        raise ValueError(
            f"`feature_extractor` must give {output} of shape (batch, d). Received: "
            f"shape {tuple(found.shape)}; pool or flatten them, or name an extractor "
            "of images."
        )
    return found


def _pick(outputs: dict, output: str):
    if output == "probabilities" and output not in outputs and "logits" in outputs:
        return ops.softmax(ops.cast(outputs["logits"], "float32"), axis=-1)
    if output not in outputs:
        raise ValueError(
            f"`feature_extractor` must give {output!r}. Received: a dict with "
            f"{listed(map(repr, outputs))}."
        )
    return outputs[output]
