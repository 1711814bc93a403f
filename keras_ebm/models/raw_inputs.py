"""What raw inputs a model takes, and Keras's own ways to give it some."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops, tree

from keras_ebm.layers import TableEncoder
from keras_ebm.networks.graphs import (
    graph_of,
    input_struct,
    is_functional,
    largest_tensor,
    specs_of,
)
from keras_ebm.rows import Spec, as_rows, by_name, is_text

#: Rows of one pass at most, and numbers in its largest tensor.
MOST_ROWS, MOST_NUMBERS = 256, 2**25
#: Preprocessors of strings.
TEXT_LAYERS = (keras.layers.TextVectorization, keras.layers.StringLookup)


class TakesRawInputs:
    """Mixin for `keras.Model`: `raw_spec`, and `predict` and `export` that need it.

    Keras finds out what a model takes when it is called. The steps of these models
    call their parts, so that a fitted or loaded one would count as never called.
    """

    # Of the model.
    network: keras.Model
    preprocessor: keras.layers.Layer | None

    def raw_spec(self) -> Spec:
        """Spec of a batch of raw inputs, `inputs` by name, or a dict of several.

        Without a preprocessor they are the network's own inputs, by their own names.
        Of one they are what it takes: strings of a text's, the inputs of a functional
        model's, uint8 of images, else float32 or, where float32 would merge the
        numbers of a table, float64.
        """
        if isinstance(self.preprocessor, TableEncoder):
            shape = (None, len(self.preprocessor.mean))
            return tf.TensorSpec(shape, self.preprocessor.input_dtype, name="inputs")
        if self.preprocessor is None and hasattr(self.network, "inputs"):
            return specs_of(self.network)
        if isinstance(self.preprocessor, keras.Model) and is_functional(
            self.preprocessor
        ):
            return specs_of(self.preprocessor)
        if isinstance(self.preprocessor, TEXT_LAYERS):
            cells = tuple(self.network.input_shape)
            one = isinstance(self.preprocessor, keras.layers.TextVectorization)
            return tf.TensorSpec((None,) if one else cells, tf.string, name="inputs")
        shape = tuple(self.network.input_shape)
        scaled_image = len(shape) == 4 and self.preprocessor is not None
        return tf.TensorSpec(
            shape, tf.uint8 if scaled_image else tf.float32, name="inputs"
        )

    def _build_preprocessor(self, x: Any) -> None:
        """Builds a layer that has a `build` of its own, and was never called.

        What `keras.layers.Normalization(mean=..., variance=...)` computes there would
        be of the graph that is traced, and lost with it.
        """
        layer = self.preprocessor
        if layer is None:
            return
        own = getattr(type(layer), "build", keras.layers.Layer.build)
        if own is not keras.layers.Layer.build and not layer.built:
            with tf.init_scope():
                layer.build(tree.map_structure(lambda part: (None, *part.shape[1:]), x))

    def preprocess(self, x: Any):
        """Raw inputs to those of `network`, in its own types; float32 if unknown."""
        if any(isinstance(part, tf.RaggedTensor) for part in tree.flatten(x)):
            raise ValueError(
                "`x` must have rows of one length. Received: a ragged tensor; pad it, "
                "as by x.to_tensor(), or .padded_batch(64) of a dataset."
            )
        self._build_preprocessor(x)
        if self.preprocessor is not None:
            # A body with dropout or batch normalisation computes as it is served.
            body = isinstance(self.preprocessor, keras.Model)
            x = self.preprocessor(x, training=False) if body else self.preprocessor(x)
        if not is_functional(self.network):
            return ops.cast(x, "float32")
        own = input_struct(self.network)
        if not tree.is_nested(own):
            return _cast(x, own)
        x = by_name(x, "x", graph_of(self.network).inputs)
        if isinstance(own, dict):
            return {name: _cast(x[name], like) for name, like in own.items()}
        return [_cast(x[name], like) for name, like in zip(x, own, strict=True)]

    def as_inputs(self, x: Any, name: str = "x") -> Any:
        """Rows for Keras's `fit`, `evaluate` and `predict`, as `raw_spec` names them.

        Args:
            x: array or, of several inputs, a dict or list of arrays, a frame with a
                column for each; anything else, such as a `tf.data.Dataset`, is
                given back as it is.
            name: of the argument, for errors.

        Raises:
            ValueError: if an input is absent, or rows have not one length.
        """
        spec = self.raw_spec()
        several = isinstance(spec, dict)
        text = any(part.dtype == tf.string for part in tree.flatten(spec))
        known = isinstance(x, np.ndarray | dict | list | tuple)
        framed = hasattr(x, "iloc") or isinstance(x, tf.RaggedTensor)
        if not (framed or (known and (several or text))):
            return x
        parts = x.values() if isinstance(x, dict) else x
        if not framed and any(tf.is_tensor(part) for part in parts):
            # Of a graph, or of whoever made them: `preprocess` reads these.
            return x
        # Keras takes no arrays of strings, but tensors.
        return tree.map_structure(
            lambda part: tf.constant(part) if is_text(part) else part,
            as_rows(x, name, spec),
        )

    def rows_at_a_time(self) -> int:
        """How many rows pass the network at once: 256, or fewer of large tensors.

        The largest tensor inside has 128 MiB at most, so that images of 224 pixels need
        no more memory than in Keras's batches of 32.
        """
        parts = [self.network, self.preprocessor]
        models = [part for part in parts if isinstance(part, keras.Model)]
        largest = max([1, *map(largest_tensor, models)])
        return min(MOST_ROWS, max(1, MOST_NUMBERS // largest))

    def check_finite(self, x: Any) -> None:
        """Raises ValueError if an array that `fit` is given is not finite.

        Training on it would leave weights of NaN. A `TableEncoder` takes NaN for a
        missing cell. Batches of a `tf.data.Dataset` are not looked at.
        """
        if isinstance(x, dict):
            for name, part in x.items():
                self._check_finite(part, f"x[{name!r}]")
        else:
            self._check_finite(x, "x")

    def _check_finite(self, x, name: str) -> None:
        kind = getattr(getattr(x, "dtype", None), "kind", "")
        if kind != "f" or not isinstance(x, np.ndarray):
            return
        gaps = isinstance(self.preprocessor, TableEncoder)
        bad = np.isinf(x) if gaps else ~np.isfinite(x)
        if bad.any():
            place = tuple(int(axis[0]) for axis in np.nonzero(bad))
            raise ValueError(
                f"`{name}` must be finite"
                f"{', or NaN where a cell is missing' if gaps else ''}. Received: "
                f"{x[place]} at {place}, of {int(bad.sum())} such numbers in all. "
                "Correct or leave out such rows."
            )

    def predict(self, x, *args, **kwargs):
        """Logits `(n, K)` as Keras's `predict` gives them, of no rows too."""
        if not isinstance(x, tf.data.Dataset):
            x = self.as_inputs(x)
        first = next(iter(x.values())) if isinstance(x, dict) else x
        if tuple(getattr(first, "shape", ()))[:1] != (0,):
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
            struct = tree.map_structure(_input_spec, self.raw_spec())
            input_signature = [struct]
        return super().export(
            filepath, *args, input_signature=input_signature, **kwargs
        )


def _input_spec(spec: tf.TensorSpec) -> keras.InputSpec:
    dtype = keras.backend.standardize_dtype(spec.dtype)
    return keras.InputSpec(dtype, tuple(spec.shape), name=spec.name)


def _cast(x, like):
    """A tensor in the type of another; strings, which have no numbers, as they are."""
    if keras.backend.standardize_dtype(like.dtype) == "string":
        return _shaped(tf.convert_to_tensor(x), like)
    return _shaped(ops.cast(x, like.dtype), like)


def _shaped(x, like):
    """Single cells `(batch,)` as `(batch, 1)` where the network takes these.

    A step that was traced for both knows no shape any more.
    """
    cells = tuple(like.shape)[1:]
    rank = x.shape.rank
    if None in cells or (rank is not None and (rank, cells[-1:]) != (len(cells), (1,))):
        return x
    return tf.reshape(x, [-1, *cells])
