"""How far a row is out in a mixture of Gaussians fitted to the training rows."""

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_size
from keras_ebm.ood.feature_scores import log_density, log_weights
from keras_ebm.ood.score import Score
from keras_ebm.ood.training_rows import read_features

#: Training rows that a component must have on average.
ROWS_A_COMPONENT = 20
#: Added to the variances, in mean variances of the inputs.
RIDGE = 1e-2


class Mixture(Score):
    """Distance in a Gaussian mixture of preprocessed inputs, in standard deviations.

        sqrt( 2 (log q(x*) - log q(x)) ),   q(x) = sum_k w_k N(x; m_k, S_k)

    where `x*` is the mean of the component at which `q` is largest; 0 where `q` is
    larger still. For one Gaussian it is the Mahalanobis distance. No network is asked,
    and no row is kept: `K (dim**2 + dim + 1)` numbers are. Full covariances, by
    scikit-learn's expectation maximisation with a fixed seed.

    Args:
        num_components: int >= 1, of the mixture at most; there are no more than one
            for every 20 rows.

    References:
        - Bishop (2006), "Pattern Recognition and Machine Learning", section 9.2.
    """

    name = "mixture"
    requires = frozenset({"inputs"})
    fitted_names = ("center", "whitenings", "class_means", "log_weights", "peak")

    def __init__(self, num_components: int = 10):
        super().__init__()
        self.num_components = check_size("num_components", num_components)

    def fit(self, train, validation=None):
        try:
            from sklearn.mixture import GaussianMixture
        except ImportError as error:
            raise ImportError(
                "The `mixture` score needs scikit-learn, which is not installed. "
                'Run `pip install "keras_ebm[data]"`.'
            ) from error
        rows = read_features(train, "inputs")
        center, variance = rows.mean(axis=0), rows.var(axis=0).mean()
        if len(rows) < 2 or variance <= 0.0:
            raise ValueError(
                "`train['inputs']` must have two rows that differ. Received: "
                f"{len(rows)} rows, of mean variance {variance:.3g}."
            )
        count = min(self.num_components, max(1, len(rows) // ROWS_A_COMPONENT))
        found = GaussianMixture(count, reg_covar=RIDGE * variance, random_state=0)
        found.fit(rows - center)
        whitenings = found.precisions_cholesky_
        arrays = {
            "center": center,
            "whitenings": whitenings,
            "class_means": np.einsum("kd,kde->ke", found.means_, whitenings),
            "log_weights": log_weights(found.weights_, whitenings),
        }
        self.arrays = {key: value.astype(np.float32) for key, value in arrays.items()}
        means = tf.constant(found.means_ + center, tf.float32)
        self.arrays["peak"] = log_density(means, self.arrays).numpy().max()
        return self

    def _score(self, inputs):
        below = self.arrays["peak"] - log_density(inputs["inputs"], self.arrays)
        # nan < 0 is false, so nan stays.
        return tf.sqrt(2.0 * tf.where(below < 0.0, tf.zeros_like(below), below))

    def get_config(self):
        return {"num_components": self.num_components}
