"""What the Keras metrics of samples share: their features, and their reference."""

import os

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_ebm.metrics.feature_extraction import INCEPTION, Extractor, extract
from keras_ebm.metrics.references import ReferenceStatistics
from keras_ebm.saveable import Saveable


class SampleMetric(Saveable, keras.metrics.Metric):
    """Shares the extraction, and results that numpy computes."""

    _parts = ("feature_extractor",)

    def __init__(self, feature_extractor: Extractor, name: str, **kwargs):
        super().__init__(name=name, **kwargs)
        is_known = feature_extractor in (None, INCEPTION)
        if not is_known and not callable(feature_extractor):
            raise ValueError(
                "`feature_extractor` must be a Keras model or another callable, "
                f"{INCEPTION!r}, or None. Received: "
                f"feature_extractor={feature_extractor!r}."
            )
        self.feature_extractor = feature_extractor

    def update_state(self, images):
        """Adds a batch.

        Args:
            images: what `feature_extractor` takes, `(batch, ...)`.

        Raises:
            ValueError: if what it makes of them has another shape.
        """
        raise NotImplementedError

    def _state(self) -> list:
        """Tensors that `_statistic` takes; empty before the first batch."""
        raise NotImplementedError

    def _statistic(self, *state) -> float:
        """The value from arrays; `nan` where they have no value."""
        raise NotImplementedError

    def result(self):
        state = self._state()
        if not state:
            return ops.convert_to_tensor(float("nan"), self.dtype)
        if tf.executing_eagerly():
            value = self._statistic(*(np.asarray(part) for part in state))
        else:
            value = tf.numpy_function(
                lambda *state: np.float64(self._statistic(*state)),
                state,
                tf.float64,
                stateful=False,
            )
            value = tf.ensure_shape(value, ())
        return ops.cast(value, self.dtype)

    def get_config(self):
        extractor = self.feature_extractor
        if isinstance(extractor, keras.Layer) and extractor.weights:
            raise ValueError(
                f"`{type(self).__name__}` has no config with a trained "
                "`feature_extractor`, as a config keeps no weights; make the metric "
                "anew from the model. Received: "
                f"feature_extractor={extractor.name!r}."
            )
        return super().get_config()


class ReferencedMetric(SampleMetric):
    """A metric of samples against reference statistics."""

    def __init__(
        self,
        reference: ReferenceStatistics | str | os.PathLike,
        feature_extractor: Extractor,
        name: str,
        **kwargs,
    ):
        super().__init__(feature_extractor, name, **kwargs)
        self.reference_path = None
        if not isinstance(reference, ReferenceStatistics):
            self.reference_path = os.fspath(reference)
            reference = ReferenceStatistics.load(reference)
        if feature_extractor is not None:
            reference.check_extractor(feature_extractor, "`reference`")
        self.reference = reference

    def update_state(self, images):
        found = extract(self.feature_extractor, images)
        size = len(self.reference.mean)
        if found.shape[1] != size:
            raise ValueError(
                "`images` must have as many features as the reference, "
                f"{size}. Received: shape {tuple(found.shape)}."
            )
        self._add(found)

    def get_config(self):
        if self.reference_path is None:
            raise ValueError(
                f"`{type(self).__name__}` has a config only where `reference` was "
                "given as a path; save the statistics and pass the path."
            )
        return {**super().get_config(), "reference": self.reference_path}
