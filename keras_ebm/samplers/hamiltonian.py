"""Hamiltonian Monte Carlo and the no-U-turn sampler, by TensorFlow Probability."""

from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from keras_ebm.arguments import check_positive, check_share, check_size
from keras_ebm.gradients import EnergyFn
from keras_ebm.protocols import RandomDraws
from keras_ebm.samplers.chain import ChainInfo


class HamiltonianState(NamedTuple):
    """Where chains stand `(batch, ...)`, and the step size that was adapted.

    `step_size` is a leapfrog step's length in units of `x`, a scalar.
    """

    x: tf.Tensor
    step_size: tf.Tensor


def hmc(
    energy_fn: EnergyFn,
    x: tf.Tensor,
    *,
    num_steps: int,
    num_burnin: int,
    step_size: float,
    num_leapfrog: int = 10,
    target_acceptance: float = 0.75,
    random: RandomDraws,
    keep: bool = False,
    jit_compile: bool = False,
) -> tuple[HamiltonianState, ChainInfo]:
    """Runs Hamiltonian Monte Carlo, whose step size adapts during the burn-in.

    Args:
        energy_fn: callable from `(batch, ...)` to energies `(batch,)` in nats.
        x: float tensor of shape `(batch, ...)`, where chains start.
        num_steps: int >= 1, transitions that are reported.
        num_burnin: int >= 0, transitions before them; the step size of all
            chains adapts over the first four fifths, by dual averaging.
        step_size: float > 0, of a leapfrog step at first, in units of `x`.
        num_leapfrog: int >= 1, leapfrog steps in a transition.
        target_acceptance: float in (0, 1).
        random: `keras_ebm.random.StepRandom`.
        keep: bool, whether `info.x` holds where the chains went.
        jit_compile: bool, compiles the chains by XLA; without it they run
            compiled as a graph. Faster for small networks on CPUs; another
            stream of noise, which TensorFlow Probability draws.

    Returns:
        `(state, info)`: `HamiltonianState` and `ChainInfo` of
        `(num_steps, batch)`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Neal (2011), "MCMC using Hamiltonian dynamics".
        - Hoffman and Gelman (2014), "The No-U-Turn sampler", section 3.2.
    """
    check_size("num_leapfrog", num_leapfrog)

    def make(log_prob, size):
        return tfp.mcmc.HamiltonianMonteCarlo(log_prob, size, num_leapfrog)

    def gradient(results):
        return results.accepted_results.grads_target_log_prob

    return _run(
        make,
        gradient,
        energy_fn,
        x,
        num_steps,
        num_burnin,
        step_size,
        target_acceptance,
        random,
        keep,
        jit_compile,
    )


def nuts(
    energy_fn: EnergyFn,
    x: tf.Tensor,
    *,
    num_steps: int,
    num_burnin: int,
    step_size: float,
    max_tree_depth: int = 10,
    target_acceptance: float = 0.8,
    random: RandomDraws,
    keep: bool = False,
    jit_compile: bool = False,
) -> tuple[HamiltonianState, ChainInfo]:
    """Runs the no-U-turn sampler, which chooses its own number of leapfrog steps.

    Args:
        energy_fn: see `hmc`.
        x: see `hmc`.
        num_steps: see `hmc`.
        num_burnin: see `hmc`.
        step_size: see `hmc`.
        max_tree_depth: int >= 1; at most `2**max_tree_depth - 1` leapfrog steps
            in a transition.
        target_acceptance: see `hmc`.
        random: see `hmc`.
        keep: see `hmc`.
        jit_compile: see `hmc`.

    Returns:
        See `hmc`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Hoffman and Gelman (2014), "The No-U-Turn sampler", algorithm 3.
    """
    check_size("max_tree_depth", max_tree_depth)

    def make(log_prob, size):
        return tfp.mcmc.NoUTurnSampler(log_prob, size, max_tree_depth)

    def gradient(results):
        return results.grads_target_log_prob

    return _run(
        make,
        gradient,
        energy_fn,
        x,
        num_steps,
        num_burnin,
        step_size,
        target_acceptance,
        random,
        keep,
        jit_compile,
    )


def _run(
    make,
    gradient_of,
    energy_fn,
    x,
    num_steps,
    num_burnin,
    step_size,
    target_acceptance,
    random,
    keep,
    jit_compile,
):
    check_size("num_steps", num_steps)
    check_positive("num_burnin", num_burnin, zero_allowed=True)
    check_positive("step_size", step_size)
    check_share("target_acceptance", target_acceptance)

    def log_prob(x):
        return -energy_fn(x)

    kernel = tfp.mcmc.DualAveragingStepSizeAdaptation(
        make(log_prob, tf.constant(step_size, x.dtype)),
        num_adaptation_steps=int(0.8 * num_burnin),
        target_accept_prob=tf.constant(target_acceptance, x.dtype),
    )

    def trace(position, results):
        inner = results.inner_results
        accept = tf.exp(tf.minimum(inner.log_accept_ratio, 0.0))
        return position, _log_prob_of(inner), gradient_of(inner), accept

    def sample(x, seed):
        return tfp.mcmc.sample_chain(
            # One more in front, where the first reported step starts from.
            num_steps + 1,
            current_state=x,
            kernel=kernel,
            num_burnin_steps=num_burnin,
            trace_fn=trace,
            return_final_kernel_results=True,
            seed=seed,
        )

    sample = tf.function(sample, autograph=False, jit_compile=jit_compile)
    run = sample(tf.convert_to_tensor(x), random.seed_pair("hamiltonian"))
    return _report(run, keep)


def _log_prob_of(results):
    """`-E` of where the chains stand, of either kernel."""
    accepted = getattr(results, "accepted_results", results)
    return accepted.target_log_prob


def _report(run, keep):
    positions, log_probs, gradients, acceptance = run.trace
    gradient = gradients[0] if isinstance(gradients, list | tuple) else gradients
    axes = list(range(2, len(positions.shape)))

    def norm(values):
        return tf.sqrt(tf.reduce_sum(tf.square(values), axis=axes))

    info = ChainInfo(
        -log_probs[1:],
        norm(gradient[1:]),
        norm(positions[1:] - positions[:-1]),
        acceptance[1:],
        positions[1:] if keep else None,
    )
    size = run.final_kernel_results.new_step_size
    return HamiltonianState(positions[-1], size), info
