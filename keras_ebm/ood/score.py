"""What every out-of-distribution score has in common."""

import functools
import json
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import listed
from keras_ebm.saveable import Saveable

#: Spread of a score, as a share of its largest value, that float32's rounding makes.
ROUNDING = 1e-6
RANKS = {"logits": 2, "features": 2, "inputs": 2, "gradient_norm": 1}


class Score(Saveable):
    """A number per input, higher for inputs less like the training data.

    A score is fitted with numpy on what a network gave for its training rows,
    and called with TensorFlow operations on what it gives for new ones. What
    was fitted is held as numpy arrays, which a trace turns into constants: a
    SavedModel with a score in it needs nothing of this package.

    A subclass sets the three class attributes and writes `_score`; one that
    learns something writes `fit`.

    Attributes:
        name: string, as `make_score` takes it.
        requires: frozenset, the keys the score reads: `"logits"` of shape
            `(batch, num_classes)`, `"features"` (outputs of the layer before the
            logits) and `"inputs"` (preprocessed) of shape `(batch, dim)`,
            `"gradient_norm"` of shape `(batch,)`, `"raw"` (rows as they come).
        fitted_names: tuple of strings, the arrays that `fit` leaves behind.
        keeps_nan: bool, whether the arithmetic of `_score` itself turns any
            `nan` it reads into a score of `nan`.
        arrays: dict from these names to float32 arrays.
    """

    name: str = ""
    requires: frozenset[str] = frozenset()
    fitted_names: tuple[str, ...] = ()
    keeps_nan: bool = False

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def fit(
        self,
        train: Mapping[str, np.ndarray],
        validation: Mapping[str, np.ndarray] | None = None,
    ) -> "Score":
        """Learns from known rows; a score without parameters does nothing.

        Args:
            train: dict of arrays of the training rows: the keys in
                `requires`, and `"labels"` of shape `(rows,)` for scores that
                know classes, where -1 means unlabelled.
            validation: dict of the same keys for known rows that the network
                was not trained on. Only a sum of scores needs it.

        Returns:
            The score itself.
        """
        return self

    def __call__(self, outputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Scores a batch.

        Args:
            outputs: dict of tensors with the keys in `requires`; other keys
                are ignored.

        Returns:
            Float32 tensor of shape `(batch,)`; `nan` for a row in which any
            number that the score reads is `nan`.

        Raises:
            ValueError: if the score is not fitted, or a key is absent or of
                the wrong rank.
        """
        self._check_fitted()
        inputs = {key: self._read(outputs, key) for key in sorted(self.requires)}
        score = self._score(inputs)
        if self.keeps_nan:
            return score
        # Reductions such as a maximum may skip nan, so nan is put back here.
        missing = [_row_has_nan(value) for value in inputs.values()]
        missing = functools.reduce(tf.logical_or, missing)
        return tf.where(missing, tf.constant(np.nan, score.dtype), score)

    def predict(
        self, outputs: Mapping[str, np.ndarray], batch_size: int = 1024
    ) -> np.ndarray:
        """Scores numpy arrays in batches; see `__call__`.

        Args:
            outputs: dict of arrays with the keys in `requires`.
            batch_size: int, how many rows to hold in memory at a time.

        Returns:
            Float32 array of shape `(rows,)`.
        """
        missing = self.requires - set(outputs)
        if missing:
            raise ValueError(self._absent(missing, outputs))
        inputs = {key: np.asarray(outputs[key]) for key in self.requires}
        num_rows = len(next(iter(inputs.values())))
        parts = [np.zeros(0, np.float32)]
        for start in range(0, num_rows, batch_size):
            rows = slice(start, start + batch_size)
            parts.append(self({key: v[rows] for key, v in inputs.items()}).numpy())
        return np.concatenate(parts)

    @property
    def kept_bytes(self) -> int:
        """Bytes of the arrays that it keeps, which an export has in its graph."""
        return sum(array.nbytes for array in self.arrays.values())

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to rebuild the score, as `numpy.savez` takes it.

        Raises:
            ValueError: if the score is not fitted.
        """
        self._check_fitted()
        config = np.array(json.dumps(self.get_config()))
        return {"name": np.array(self.name), "config": config, **self.arrays}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> "Score":
        """Rebuilds a fitted score of this class; see also `load_score`.

        Args:
            state: what `state()` gave, or `numpy.load` of it.

        Raises:
            ValueError: if the state is that of another score.
        """
        if str(state["name"]) != cls.name:
            raise ValueError(
                f"`state` must be that of a `{cls.name}` score. Received: one "
                f"of {str(state['name'])!r}. `load_score` takes any."
            )
        score = cls(**json.loads(str(state["config"])))
        score.arrays = {key: np.asarray(state[key]) for key in cls.fitted_names}
        return score

    def _score(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        raise NotImplementedError

    def _check_fitted(self) -> None:
        if set(self.fitted_names) - set(self.arrays):
            raise ValueError(
                f"The `{self.name}` score must be fitted before it is used. "
                "Call `fit` with the outputs of the training rows."
            )

    def _read(self, outputs, key: str) -> tf.Tensor:
        if key not in outputs:
            raise ValueError(self._absent([key], outputs))
        value = tf.cast(tf.convert_to_tensor(outputs[key]), tf.float32)
        if value.shape.rank not in (None, RANKS[key]):
            raise ValueError(
                f"`outputs[{key!r}]` must have rank {RANKS[key]}, the batch "
                f"first. Received: shape {value.shape}."
            )
        return value

    def _absent(self, keys, outputs) -> str:
        return (
            f"The `{self.name}` score needs {sorted(keys)} of the network. "
            f"Received: only [{listed(map(repr, sorted(outputs)))}]."
        )


def _row_has_nan(value: tf.Tensor) -> tf.Tensor:
    missing = tf.math.is_nan(value)
    return missing if value.shape.rank == 1 else tf.reduce_any(missing, axis=-1)
