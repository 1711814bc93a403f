"""Whether importance sampling still tells which way the entropy grows."""

import warnings

import keras

from keras_ebm.arguments import check_positive
from keras_ebm.entropy import ImportanceSampling, LogVolume
from keras_ebm.protocols import DensityGenerator

LOG = "effective_sample_size"
#: The effective sample size below which the estimate counts as starved.
WARN_BELOW = 1.05


class EntropyWatch(keras.callbacks.Callback):
    """Warns, once, where the entropy's gradient rests on a single proposal.

    `ImportanceSampling` weighs proposals about the latent that made a sample. Where a
    sample has many entries or `sigma` is small, all weight is on one of them, the mean
    of `g(z_i)` is the sample itself, and what is left of the gradient is noise: the
    generator is trained as without entropy, at the price of all proposals. The log
    `effective_sample_size` (Kish's, in `[1, num_samples]`) shows it, epoch by epoch.

    Args:
        warn_below: float > 1, the effective sample size below which an epoch's mean
            gives a `UserWarning`, which names an estimator that serves the generator.

    Raises:
        ValueError: if `warn_below` is not above 1, which no estimate is below.

    Example:

    >>> model.fit(x, y, callbacks=[EntropyWatch()])
    """

    def __init__(self, warn_below: float = WARN_BELOW):
        super().__init__()
        if check_positive("warn_below", warn_below) <= 1.0:
            raise ValueError(
                "`warn_below` must be above 1, the smallest effective sample size. "
                f"Received: warn_below={warn_below}."
            )
        self.warn_below = warn_below
        self._warned = False

    def on_epoch_end(self, epoch, logs=None):
        size = (logs or {}).get(LOG)
        if self._warned or size is None or not weighs_proposals(self.model):
            return
        if not size < self.warn_below:
            return
        self._warned = True
        warnings.warn(
            f"the entropy's gradient is starved: {LOG} was {size:.2f} of "
            f"{self.model.entropy.num_samples} in epoch {epoch + 1}, so the generator "
            f"trains next to without entropy. Take "
            f"{fed_estimator(self.model.generator)}, or a larger sigma of the "
            "generator.",
            stacklevel=2,
        )


def weighs_proposals(model: keras.Model) -> bool:
    """Whether the effective sample size of a model's entropy can be too small.

    Of one proposal it is 1 by its definition.
    """
    entropy = getattr(model, "entropy", None)
    return isinstance(entropy, ImportanceSampling) and entropy.num_samples > 1


def fed_estimator(generator: DensityGenerator) -> str:
    """An estimator without proposals that this generator can have."""
    try:
        LogVolume().build_for(generator)
    except ValueError:
        return "MutualInformation() (--entropy=mutual_information)"
    return "LogVolume() (--entropy=log_volume)"
