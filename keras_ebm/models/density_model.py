"""A density trained by a criterion that needs no sampler."""

import keras
import tensorflow as tf

from keras_ebm.models.base import BaseEnergyModel, Drawn
from keras_ebm.models.batches import Batch
from keras_ebm.models.statistics import kept_statistics
from keras_ebm.objectives import Criterion, data_mean
from keras_ebm.protocols import RandomDraws


@keras.saving.register_keras_serializable(package="keras_ebm")
class DensityModel(BaseEnergyModel):
    """A density `p(x) = exp(-E(x)) / Z` whose loss needs no sample of it.

    One step descends the mean of `criterion` over the batch, weighted by
    `sample_weight` where there is one (and divided by its sum). The logs are
    `loss` and `data_energy`, the latter in training only if the criterion
    evaluates the energy of the data themselves (denoising does not).

    Args:
        network: Keras model from preprocessed inputs to `(batch, 1)`, the
            negative energy; `log p(x)` where it is normalised.
        criterion: such as `keras_ebm.objectives.SlicedScoreMatching()`.
        preprocessor: see `EnergyModel`.
        data_stddev: see `EnergyModel`.
        seed: see `EnergyModel`.
        **kwargs: forwarded to `keras.Model`.

    Call arguments:
        inputs: raw inputs.

    Returns:
        `-E(x)` of shape `(batch, 1)`.

    Raises:
        ValueError: if the network has classes, or the criterion cannot train
            it.

    Example:

    >>> model = DensityModel(NICE(2, hidden=(64,)), MaximumLikelihood())
    >>> model.compile(keras.optimizers.Adam(1e-3))
    >>> model.fit(x, epochs=10)
    >>> model.log_prob(x)
    """

    _parts = ("network", "preprocessor", "criterion")
    _values = ("data_stddev", "seed", "trained_on")
    # A constant added to an energy changes no score: its gradient is zero.
    _may_be_constant = True

    def __init__(
        self,
        network: keras.Model,
        criterion: Criterion,
        *,
        preprocessor: keras.layers.Layer | None = None,
        data_stddev: float = 0.0,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(
            network,
            preprocessor=preprocessor,
            data_stddev=data_stddev,
            seed=seed,
            **kwargs,
        )
        if self.num_classes != 1:
            raise ValueError(
                "`network` must have one output, the negative energy. Received: "
                f"{self.num_classes} outputs; use EnergyModel for classes."
            )
        criterion.check_network(network)
        self.criterion = criterion

    def criterion_losses(
        self, x: tf.Tensor, random: RandomDraws, training: bool = False
    ):
        """Losses `(batch,)` of preprocessed data, and the logs by name."""
        logs, moved = {}, []

        def energies(inputs):
            return self.to_energy(self.network(inputs, training=training))

        def energy_fn(inputs):
            if inputs is x:
                # Read off here, which saves a pass for a log.
                logs["data_energy"] = energies(x)
                return logs["data_energy"]
            if not training:
                return energies(inputs)
            with kept_statistics(self.network) as after:
                energy = energies(inputs)
            moved.append(after)
            return energy

        logs["loss"] = self.criterion(energy_fn, x, random)
        if "data_energy" not in logs and moved:
            # Noisy rows are all the data that such a criterion looks at.
            for variable, value in moved[0]:
                variable.assign(value)
        return logs["loss"], logs

    def step_loss(self, batch: Batch, drawn: Drawn):
        losses, logs = self.criterion_losses(batch.x, batch.random, training=True)
        if batch.weights is not None:
            logs["loss"] = (losses, batch.weights)
        return data_mean(losses, batch.weights), logs

    def test_loss(self, batch: Batch):
        losses, logs = self.criterion_losses(batch.x, batch.random)
        if "data_energy" not in logs:
            logs["data_energy"] = self.inputs_energy(batch.x)
        if batch.weights is not None:
            logs["loss"] = (losses, batch.weights)
        return losses, logs
