"""Maximum likelihood, where the normaliser is known or a grid can hold it."""

import keras
import tensorflow as tf

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.objectives.criterion import Criterion
from keras_ebm.protocols import EnergyFn, RandomDraws


@keras.saving.register_keras_serializable(package="keras_ebm")
class MaximumLikelihood(Criterion):
    """`E(x)`, which is `-log p(x)` in nats where the network has `Z = 1`.

    Any other energy would be driven to minus infinity everywhere; hence only
    networks with a method `log_prob` are let in.
    """

    def __call__(self, energy_fn: EnergyFn, x: tf.Tensor, random: RandomDraws):
        return energy_fn(x)

    def check_network(self, network: keras.Model):
        if not hasattr(network, "log_prob"):
            raise ValueError(
                "`criterion` MaximumLikelihood needs a normalised network, which has "
                "a method `log_prob`, such as keras_ebm.networks.NICE. Received: "
                f"network={network!r}; use score matching or noise contrast."
            )


@keras.saving.register_keras_serializable(package="keras_ebm")
class GridLikelihood(Criterion):
    """`E(x) + log Z` in the plane, `Z` summed over one point in each cell of a grid.

    The point is drawn anew at every step, which leaves no place between the
    points for mass to hide in. It is what an energy can reach at best: the
    ceiling for every other way of training it.

    Args:
        extent: float > 0, half the side of the square that is summed over.
        num_cells: int >= 1, cells along an axis.

    Call arguments, returns: see `Criterion`. In nats.
    """

    _values = ("extent", "num_cells")

    def __init__(self, extent: float = 8.0, num_cells: int = 64):
        self.extent = check_positive("extent", extent)
        self.num_cells = check_size("num_cells", num_cells)

    def __call__(self, energy_fn: EnergyFn, x: tf.Tensor, random: RandomDraws):
        side = 2.0 * self.extent / self.num_cells
        line = side * tf.range(self.num_cells, dtype=tf.float32) - self.extent
        corners = tf.reshape(tf.stack(tf.meshgrid(line, line), axis=-1), [-1, 2])
        places = corners + side * random.uniform(tf.shape(corners), "grid")
        log_partition = tf.reduce_logsumexp(-energy_fn(places)) + 2.0 * tf.math.log(
            side
        )
        return energy_fn(x) + log_partition

    def check_network(self, network: keras.Model):
        if tuple(network.input_shape[1:]) != (2,):
            raise ValueError(
                "`criterion` GridLikelihood needs a network over points of the plane. "
                f"Received: inputs of shape {tuple(network.input_shape[1:])}; use "
                "score matching, noise contrast or a sampler."
            )
