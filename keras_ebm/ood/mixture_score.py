"""How far a row is out in a mixture of Gaussians fitted to the training rows."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_ebm import mixtures
from keras_ebm.arguments import check_size
from keras_ebm.ood.score import Score
from keras_ebm.ood.training_rows import check_kept, read_matrix


class Mixture(Score):
    """Distance in a Gaussian mixture of preprocessed inputs, in standard deviations.

        sqrt( 2 (log q(x*) - log q(x)) ),   q(x) = sum_k w_k N(x; m_k, S_k)

    where `x*` is the mean of the component at which `q` is largest; 0 where `q` is
    larger still. For one Gaussian it is the Mahalanobis distance. No network is asked,
    and no row is kept: `K (dim**2 + dim + 1)` numbers are. See
    `keras_ebm.mixtures.fit_mixture`, which needs scikit-learn.

    Args:
        num_components: int >= 1, of the mixture at most; there are no more than one
            for every 20 rows.
    """

    _values = ("num_components",)

    name = "mixture"
    requires = frozenset({"inputs"})
    fitted_names = (*mixtures.NAMES, "peak")

    def __init__(self, num_components: int = 10):
        super().__init__()
        self.num_components = check_size("num_components", num_components)

    def fit(self, train, validation=None):
        shape = np.shape(train.get("inputs", ()))
        if len(shape) == 2:
            most = min(self.num_components, shape[0])
            check_kept(
                self.name,
                4 * most * shape[1] ** 2,
                f"up to {most} covariances of {shape[1]} inputs",
                "lower `num_components`, or take another score, such as 'nearest'",
            )
        rows = read_matrix(train, "inputs")
        self._take(mixtures.fit_mixture(rows, self.num_components))
        return self

    @classmethod
    def of(cls, mixture: mixtures.Mixture) -> Mixture:
        """The score of a mixture that is fitted already: `fit` leaves it as it is."""
        score = _Given()
        score._take(mixture)
        return score

    def _take(self, mixture: mixtures.Mixture) -> None:
        peak = mixture.log_density(mixture.means()).numpy().max()
        self.arrays = {**mixture.arrays(), "peak": peak}

    def _score(self, inputs):
        mixture = mixtures.Mixture.from_arrays(self.arrays)
        below = self.arrays["peak"] - mixture.log_density(inputs["inputs"])
        # nan < 0 is false, so nan stays.
        return tf.sqrt(2.0 * tf.where(below < 0.0, tf.zeros_like(below), below))


class _Given(Mixture):
    """Keeps the mixture that it was made of."""

    def fit(self, train, validation=None):
        return self
