"""The score of a generator by Hamiltonian Monte Carlo over its latents."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ebm.arguments import check_positive, check_share, check_size
from keras_ebm.entropy.base import Draw, EntropyEstimator, Estimate, score_surrogate
from keras_ebm.entropy.requirements import check_differentiable, check_own_density
from keras_ebm.protocols import DensityGenerator, RandomDraws


# Registered by its earlier name, which saved models have.
@keras.saving.register_keras_serializable("keras_ebm", "HamiltonianMonteCarlo")
class HamiltonianChains(EntropyEstimator):
    """Estimates `d log q(x) / dx` by chains on `q(z|x)` from the latent that was drawn.

    The score is the mean of `(g(z) - x) / sigma^2` over the chain's states.
    Chains start at `z0`, which is a draw of the posterior already; what they
    need is to forget it, since the part of the entropy's gradient that they
    do not forget is lost. The step size is adapted from one training step to
    the next until the acceptance is `target_acceptance`.

    Args:
        num_burn_in: int >= 1, transitions before the samples; 2 in the paper's
            code.
        num_samples: int >= 1, states that are kept; 2 in the paper's code.
        num_leapfrog: int >= 1, steps of one transition; 5 in the paper's code.
        target_acceptance: float in (0, 1); 0.67 in the paper's code.
        adaptation_rate: float > 0, by which share the step size follows a
            deviation of the acceptance; 0.02 in the paper's code.
        compat: bool. True follows the gradient of the prior alone, as the
            published code does, while accepting by the full posterior: a valid
            chain whose steps shrink until it hardly leaves `z0`. For
            comparison only.
        **kwargs: forwarded to `keras.layers.Layer`.

    Raises:
        ValueError: if an argument breaks its rule; from `build_for`, if the
            decoder has batch normalisation or no gradient in its latent.

    References:
        - Dieng et al. (2019), "Prescribed generative adversarial networks",
          https://arxiv.org/abs/1910.04302, section 3.
        - Grathwohl et al. (2021), https://arxiv.org/abs/2010.04230.
    """

    _values = (
        "num_burn_in",
        "num_samples",
        "num_leapfrog",
        "target_acceptance",
        "adaptation_rate",
        "compat",
    )

    log_names = ("chain_acceptance", "chain_step_size")
    needs_float32 = True

    def __init__(
        self,
        num_burn_in: int = 2,
        num_samples: int = 2,
        num_leapfrog: int = 5,
        target_acceptance: float = 0.67,
        adaptation_rate: float = 0.02,
        compat: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_burn_in = check_size("num_burn_in", num_burn_in)
        self.num_samples = check_size("num_samples", num_samples)
        self.num_leapfrog = check_size("num_leapfrog", num_leapfrog)
        self.adaptation_rate = check_positive("adaptation_rate", adaptation_rate)
        self.target_acceptance = check_share("target_acceptance", target_acceptance)
        self.compat = bool(compat)

    def build_for(self, generator: DensityGenerator):
        name = type(self).__name__
        check_own_density(name, generator)
        check_differentiable(
            name, generator, "ImportanceSampling() (--entropy=importance)"
        )
        super().build_for(generator)

    def build(self, input_shape):
        self.step_size = self.add_weight(
            name="step_size",
            shape=(),
            trainable=False,
            # The same on all replicas, which adapt it to their mean acceptance.
            aggregation="mean",
            initializer=keras.initializers.Constant(1.0 / input_shape[-1]),
        )
        self.built = True

    def log_posterior(
        self, generator: DensityGenerator, x: tf.Tensor, latents: tf.Tensor
    ):
        """`log q(x, z)` in nats, `(batch,)`; `compat` holds the likelihood still."""
        likelihood = generator.log_likelihood(
            x, tf.cast(generator(latents), tf.float32)
        )
        if self.compat:
            likelihood = tf.stop_gradient(likelihood)
        return generator.log_prior(latents) + likelihood

    def prepare(self, generator: DensityGenerator, draw: Draw, random: RandomDraws):
        kernel = tfp.mcmc.HamiltonianMonteCarlo(
            lambda latents: self.log_posterior(generator, draw.x, latents),
            step_size=tf.convert_to_tensor(self.step_size),
            num_leapfrog_steps=self.num_leapfrog,
        )

        def trace(latents, results):
            accepted = tf.exp(tf.minimum(results.log_accept_ratio, 0.0))
            return tf.cast(generator(latents), tf.float32), tf.reduce_mean(accepted)

        means, accepted = tfp.mcmc.sample_chain(
            self.num_samples,
            draw.latents,
            kernel=kernel,
            num_burnin_steps=self.num_burn_in,
            trace_fn=trace,
            return_final_kernel_results=False,
            seed=random.seed_pair("chain"),
        ).trace
        acceptance = tf.reduce_mean(accepted)
        factor = 1.0 + self.adaptation_rate * (acceptance - self.target_acceptance)
        self.step_size.assign(tf.convert_to_tensor(self.step_size) * factor)
        mean = tf.reduce_mean(means, axis=0)
        return {
            "score": (mean - draw.x) / tf.square(generator.stddev),
            "acceptance": acceptance,
        }

    def estimate(
        self, generator: DensityGenerator, draw: Draw, prepared: dict[str, tf.Tensor]
    ):
        return Estimate(score_surrogate(draw.x, prepared["score"]))

    def logs(self, prepared: dict[str, tf.Tensor]):
        return {
            "chain_acceptance": prepared["acceptance"],
            "chain_step_size": tf.convert_to_tensor(self.step_size),
        }


#: The earlier name of `HamiltonianChains`.
HamiltonianMonteCarlo = HamiltonianChains
