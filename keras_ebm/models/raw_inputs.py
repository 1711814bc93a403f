"""What raw inputs a model takes, and Keras's own ways to give it some."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.layers import TableEncoder


class TakesRawInputs:
    """Mixin for `keras.Model`: `raw_spec`, and `predict` and `export` that need it.

    Keras finds out what a model takes when it is called. The steps of these models
    call their parts, so that a fitted or loaded one would count as never called.
    """

    # Of the model.
    network: keras.Model
    preprocessor: keras.layers.Layer | None

    def raw_spec(self) -> tf.TensorSpec:
        """Spec of a batch of raw inputs, named `inputs`.

        Images that a preprocessor scales are uint8, rows of a table or vectors float32
        or, where float32 would merge their numbers, float64.
        """
        shape = tuple(self.network.input_shape)
        if isinstance(self.preprocessor, TableEncoder):
            shape = (None, len(self.preprocessor.mean))
            return tf.TensorSpec(shape, self.preprocessor.input_dtype, name="inputs")
        scaled_image = len(shape) == 4 and self.preprocessor is not None
        return tf.TensorSpec(
            shape, tf.uint8 if scaled_image else tf.float32, name="inputs"
        )

    def check_finite(self, x: Any) -> None:
        """Raises ValueError if an array that `fit` is given is not finite.

        Training on it would leave weights of NaN. A `TableEncoder` takes NaN for a
        missing cell. Batches of a `tf.data.Dataset` are not looked at.
        """
        kind = getattr(getattr(x, "dtype", None), "kind", "")
        if kind != "f" or not isinstance(x, np.ndarray):
            return
        gaps = isinstance(self.preprocessor, TableEncoder)
        bad = np.isinf(x) if gaps else ~np.isfinite(x)
        if bad.any():
            place = tuple(int(axis[0]) for axis in np.nonzero(bad))
            raise ValueError(
                "`x` must be finite"
                f"{', or NaN where a cell is missing' if gaps else ''}. Received: "
                f"{x[place]} at {place}, of {int(bad.sum())} such numbers in all. "
                "Correct or leave out such rows."
            )

    def predict(self, x, *args, **kwargs):
        """Logits `(n, K)` as Keras's `predict` gives them, of no rows too."""
        if tuple(getattr(x, "shape", ()))[:1] != (0,):
            return super().predict(x, *args, **kwargs)
        return np.zeros([0, self.num_classes], np.float32)

    def export(self, filepath, *args, input_signature=None, **kwargs):
        """Exports the logits as Keras's `export` does.

        Args:
            filepath: of the artefact.
            *args: further arguments of Keras's `export`, as are `kwargs`.
            input_signature: defaults to raw inputs as `raw_spec` says. For class,
                energy, p-value and decision see `keras_ebm.serving`.
        """
        if input_signature is None:
            spec = self.raw_spec()
            dtype = keras.backend.standardize_dtype(spec.dtype)
            input_signature = [keras.InputSpec(dtype, tuple(spec.shape), name="inputs")]
        return super().export(
            filepath, *args, input_signature=input_signature, **kwargs
        )
