"""VERA: an energy and the generator that amortises its sampling."""

import math
from typing import Any, NamedTuple, cast

import keras
import tensorflow as tf

from keras_ebm import objectives
from keras_ebm.arguments import check_choice, check_positive, check_size
from keras_ebm.entropy import Draw, EntropyEstimator, ImportanceSampling
from keras_ebm.gradients import energy_and_gradient
from keras_ebm.models.base import Drawn, EnergyStep, check_float_input
from keras_ebm.models.batches import Batch
from keras_ebm.models.energy_model import EnergyModel, with_samples
from keras_ebm.models.loss_scaling import with_loss_scale
from keras_ebm.models.updating import descend
from keras_ebm.negatives import Correction, Proposal, computed_codes
from keras_ebm.negatives.reach import REMEDY, Reach
from keras_ebm.networks.graphs import codes_of
from keras_ebm.networks.ranges import output_range
from keras_ebm.protocols import DensityGenerator, Generator, RandomDraws
from keras_ebm.random import StepRandom


class _Turn(NamedTuple):
    """What the generator's turn needs of the draw: the tape that recorded it, the draw
    as a function of the weights and as constants, the entropy's estimate, and `dE/dx`
    at the samples as soon as it is known.
    """

    tape: tf.GradientTape
    draw: Draw
    held: Draw
    estimate: object
    gradient: tf.Tensor | None = None


@keras.saving.register_keras_serializable(package="keras_ebm")
class VERA(EnergyModel):
    """Trains an energy against a generator instead of against Markov chains.

    After the energy's descent (see `EnergyModel`), with samples `x` of the
    generator among its negatives, the generator descends

        mean E(x) - entropy_weight * H(q)

    and the entropy estimator its own loss. `dE/dx` at the samples is read off
    the energy's backward pass, so the generator's update needs no further
    pass through the energy network; it therefore sees the energy as it was
    before that update. The log `generator_loss` is the surrogate that has the
    right gradient; its value means nothing by itself.

    Args:
        network: energy network; see `EnergyModel`.
        generator: `keras_ebm.generators.GaussianGenerator` whose samples have
            the shape of `network`'s input.
        entropy: estimator of the gradient of `H(q)`. Defaults to
            `ImportanceSampling()`, the paper's.
        entropy_weight: float >= 0, `lambda` in the paper; 1 for a likelihood.
            At 0 the entropy is left out of the generator's loss.
        correction: what turns the generator's samples into better negatives,
            such as `keras_ebm.negatives.ImportanceCorrection()`, or None to
            take them as they are. For the contrastive objective, and in place
            of the batch's own negatives.
        **kwargs: arguments of `EnergyModel`; with `negatives`, the batch's
            own stand beside the generator's, while a source that walks,
            such as `MarkovChains`, takes their place and starts from them.

    Raises:
        ValueError: if the generator's samples do not fit the network, or that takes
            codes, such as tokens, or several inputs, the estimator cannot serve the
            generator, or the correction does not go with the estimator or the
            objective.

    References:
        - Grathwohl et al. (2021), "No MCMC for me: Amortized sampling for
          fast and stable training of energy-based models",
          https://arxiv.org/abs/2010.04230, algorithm 1.
    """

    generator: Generator
    _parts: tuple[str, ...] = ("generator", "entropy", "correction")
    _values: tuple[str, ...] = ("entropy_weight",)

    def __init__(
        self,
        network: keras.Model,
        generator: Generator,
        *,
        entropy: EntropyEstimator | None = None,
        entropy_weight: float = 1.0,
        correction: Correction | None = None,
        **kwargs,
    ):
        super().__init__(network, **kwargs)
        codes = codes_of(network)
        if codes:
            raise computed_codes("`generator`", codes)
        check_float_input(network, "generator")
        expected = tuple(network.input_shape[1:])
        check_choice("objective", self.objective, objectives.GENERATOR_OBJECTIVES)
        if generator.sample_shape != expected:
            raise ValueError(
                "`generator` must make inputs of the energy network. Received: "
                f"samples of shape {generator.sample_shape} for inputs of shape "
                f"{expected}; build the decoder with that output shape."
            )
        if not self.energy_weight:
            raise ValueError(
                "`energy_weight` must be above 0, as the generator learns from "
                "the energy. Received: energy_weight=0; use EnergyModel for a "
                "plain classifier."
            )
        self.generator = generator
        self.entropy = ImportanceSampling() if entropy is None else entropy
        self.entropy_weight = check_positive(
            "entropy_weight", entropy_weight, zero_allowed=True
        )
        self.correction = correction
        self._check_correction()
        self._add_trackers("generator_loss", "generator_stddev")
        if self._uses_entropy:
            # An estimator may ask for more than sampling does.
            self.entropy.build_for(cast(DensityGenerator, generator))
            self._add_trackers(*self.entropy.log_names)
            if self.entropy.learns:
                self._add_trackers("posterior_loss")
        if correction is not None:
            self._add_trackers(*correction.log_names)

    @property
    def _uses_entropy(self) -> bool:
        needed = self.correction is not None and self.correction.needs_log_density
        return self.entropy_weight > 0 or needed

    @property
    def _walks(self) -> bool:
        """Whether other negatives take the place of the generator's samples."""
        source = self._source()
        return source is not None and source.walks

    def _reaches(self):
        # Chains start from the generator here.
        others = [reach for reach in super()._reaches() if reach.fixed]
        decoder = getattr(self.generator, "decoder", None)
        if decoder is None:
            return others
        noise = max(getattr(self.generator, "stddev_bounds", (0.0,)))
        low, high = output_range(decoder)
        if math.isinf(low) and math.isinf(high):
            return others
        remedy = REMEDY + "a decoder whose last activation gives the data's range."
        return [Reach("`generator`", low - noise, high + noise, remedy), *others]

    @property
    def can_sample(self) -> bool:
        return True

    def _check_correction(self):
        if self.correction is None:
            return
        if self.objective != "contrastive" or self.negatives is not None:
            raise ValueError(
                "`correction` needs objective='contrastive' and no `negatives`. "
                f"Received: objective={self.objective!r}, negatives="
                f"{self.negatives!r}; leave one of them out."
            )
        if self.correction.needs_log_density and not self.entropy.gives_log_density:
            raise ValueError(
                f"{type(self.correction).__name__} needs an estimator that gives "
                f"log q(x). Received: entropy={type(self.entropy).__name__}; use "
                "LogVolume() (--entropy=log_volume), or LatentRefinement(), which "
                "needs none."
            )

    def compile(
        self,
        optimizer="adam",
        generator_optimizer="adam",
        posterior_optimizer=None,
        **kwargs,
    ):
        """Configures training.

        Args:
            optimizer: Keras optimizer of the energy network; callbacks act
                on this one (see `keras_ebm.callbacks.ForOptimizer`).
            generator_optimizer: Keras optimizer of the generator.
            posterior_optimizer: Keras optimizer of the entropy estimator's
                own weights. Defaults to Adam at 0.02, as in the paper's code.
            **kwargs: see `EnergyModel.compile`.
        """
        super().compile(optimizer=optimizer, **kwargs)
        decoder = self.generator.decoder
        self.generator_optimizer = with_loss_scale(generator_optimizer, decoder)
        self.generator_optimizer.build(self.generator.trainable_variables)
        if posterior_optimizer is None:
            posterior_optimizer = keras.optimizers.Adam(0.02)
        self.posterior_optimizer = with_loss_scale(posterior_optimizer, decoder)
        self.posterior_optimizer.build(self.entropy.trainable_variables)

    def named_optimizers(self):
        return {
            **super().named_optimizers(),
            "generator_optimizer": self.generator_optimizer,
            "posterior_optimizer": self.posterior_optimizer,
        }

    def draw(
        self, num_samples: int | tf.Tensor, random: RandomDraws, training: bool = False
    ) -> Draw:
        """Draws latents and noise, and pushes them through the generator."""
        generator = self.generator
        latents = random.normal([num_samples, generator.latent_dim], "latents")
        noise = random.normal([num_samples, *generator.sample_shape], "noise")
        return Draw(generator.sample(latents, noise, training), latents, noise)

    # The generator's samples come first here, and chains where they are asked for.
    def sample(  # type: ignore[override]
        self,
        num_samples: int,
        seed: int = 0,
        noise: bool = True,
        candidates: int = 1,
        **conditions: Any,
    ):
        """Samples the generator.

        With the logistic objective `exp(-E)` is the density ratio of data to
        generator, so keeping one of `candidates` draws with probability
        proportional to it turns samples of the generator, which are flatter
        than the data (`q` tends to `p ** (1 / (1 + entropy_weight))`), into
        samples closer to the data's (sampling-importance resampling).

        Args:
            num_samples: int.
            seed: int.
            noise: bool, whether to add the generator's Gaussian noise.
            candidates: int >= 1, draws for each sample. Above 1 only with
                `objective="logistic"`.
            **conditions: `labels`, `start`, `fixed`, `radius`, `energy`, `moves` and
                `num_steps` of `EnergyModel.sample`, by whose chains the samples are
                then drawn; they start at the generator's unless `start` is given.

        Returns:
            Preprocessed inputs of shape `(num_samples, ...)`.

        Raises:
            ValueError: if `candidates` does not go with the objective.
        """
        check_size("candidates", candidates)
        if candidates > 1 and self.objective != "logistic":
            raise ValueError(
                "`candidates` above 1 needs objective='logistic', whose energy is "
                f"a density ratio. Received: candidates={candidates} for "
                f"objective={self.objective!r}; use candidates=1."
            )
        if conditions:
            if conditions.get("start") is None:
                conditions["start"] = self.sample(num_samples, seed, noise, candidates)
            return super().sample(num_samples, seed, **conditions)
        random = StepRandom(seed, 0)
        draw = self.draw(num_samples * candidates, random)
        x = draw.x if noise else self.generator(draw.latents)
        if candidates == 1:
            return x
        energy = self.to_energy(self.network(draw.x, training=False))
        uniform = random.uniform([num_samples * candidates], "gumbel")
        # The largest of Gumbel-perturbed log-weights is a draw by weight.
        perturbed = -energy - tf.math.log(-tf.math.log(uniform))
        perturbed = tf.reshape(perturbed, [num_samples, candidates])
        x = tf.reshape(x, [num_samples, candidates, *self.generator.sample_shape])
        return tf.gather(x, tf.argmax(perturbed, axis=1), batch_dims=1)

    def draw_step(self, batch: Batch):
        random = batch.random
        watched = [v.value for v in self.generator.trainable_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            draw = self.draw(tf.shape(batch.x)[0], random, training=True)
        held = Draw(*(tf.stop_gradient(part) for part in draw))
        estimate, logs = self._estimate_entropy(tape, draw, held, random)
        turn = _Turn(tape, draw, held, estimate)
        if self.correction is None and not self._walks:
            own = self.draw_own(batch.x, random, training=True)
            return own._replace(samples=held.x, logs={**logs, **own.logs}, rest=turn)
        made, gradient = self._correct(held, estimate, random)
        return Drawn(
            [made.x],
            weights=made.weights,
            logs={**logs, **made.logs},
            rest=turn._replace(gradient=gradient),
        )

    def follow(self, batch: Batch, drawn: Drawn, step: EnergyStep):
        turn, logs = drawn.rest, {}
        if self._uses_entropy and self.entropy.learns:
            # Before the generator's update, as the draw is of its old weights.
            loss = self._descend_posterior(turn.held, batch.random)
            logs["posterior_loss"] = loss
        if step.sample_gradient is not None:
            turn = turn._replace(gradient=step.sample_gradient)
        return {**logs, **self._descend_generator(turn)}

    def _estimate_entropy(self, tape, draw, held, random):
        """The entropy's estimate, recorded by the tape of the draw, and its logs."""
        if not self._uses_entropy:
            return None, {}
        prepared = self.entropy.prepare(self.generator, held, random)
        with tape:
            estimate = self.entropy.estimate(self.generator, draw, prepared)
        return estimate, self.entropy.logs(prepared)

    def _correct(self, held, estimate, random):
        """Corrected negatives, and `dE/dx` at the generator's own samples."""
        energy_fn = self.inputs_energy
        energy, gradient = energy_and_gradient(energy_fn, held.x)
        source = self._source()
        if source is not None and source.walks:
            start = held.x
            made = source.draw(energy_fn, start, random, training=True, start=start)
            return made, gradient
        log_density = None if estimate is None else estimate.log_density
        if log_density is not None:
            log_density = tf.stop_gradient(log_density)
        proposal = Proposal(
            held.x,
            energy,
            gradient,
            log_density,
            held.latents,
            held.noise,
            self.generator.sample,
        )
        negatives = self.correction.correct(energy_fn, proposal, random)
        return negatives._replace(x=tf.stop_gradient(negatives.x)), gradient

    def _descend_generator(self, turn):
        """Updates the generator by `dE/dx` at its samples and the entropy."""
        logs = {"generator_stddev": tf.reduce_mean(self.generator.stddev)}
        # The tape that recorded the draw goes on recording.
        with turn.tape:
            axes = list(range(1, len(turn.draw.x.shape)))
            loss = tf.reduce_mean(tf.reduce_sum(turn.gradient * turn.draw.x, axis=axes))
            if self.entropy_weight:
                loss -= self.entropy_weight * turn.estimate.surrogate
        logs["generator_loss"] = loss
        variables = self.generator.trainable_variables
        descend(turn.tape, loss, variables, self.generator_optimizer)
        return logs

    def _descend_posterior(self, draw, random):
        variables = self.entropy.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            loss = self.entropy.loss(self.generator, draw, random)
        descend(tape, loss, variables, self.posterior_optimizer)
        return loss

    def test_draw(self, batch: Batch):
        samples = self.draw(tf.shape(batch.x)[0], batch.random).x
        return with_samples(samples, super().test_draw(batch))
