"""How likely held-out rows are under an energy, from below and from above."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.protocols import EnergyFn
from keras_ebm.samplers.annealed_importance import (
    AnnealedImportance,
    anneal,
    annealed_importance,
    reverse_annealed_importance,
)

#: Acceptance that a step size is chosen for, and how often it may be halved for it.
GOOD_ACCEPTANCE = 0.8
HALVINGS = 12
PILOT_STEPS = 50


class LogZBounds(NamedTuple):
    """Stochastic bounds of `log Z`, in nats.

    Attributes:
        forward: `AnnealedImportance` from the base: `lower` in expectation.
        reverse: likewise from `starts` back to the base, `upper` as far as these are
            samples of the model.
        step_size: of the leapfrog steps that both took.
        gradients: how many gradients of the energy of one input were taken in all.
        seconds: float, both ways and the choice of the step size.
    """

    forward: AnnealedImportance
    reverse: AnnealedImportance
    step_size: float
    gradients: int
    seconds: float

    @property
    def lower(self) -> float:
        """The lower bound."""
        return float(self.forward.estimate)

    @property
    def upper(self) -> float:
        """The upper bound."""
        return float(self.reverse.estimate)

    def log_likelihood(self, energies: Any) -> tuple[float, float]:
        """Bounds of the mean of `log p = -E - log Z` of rows with these energies.

        Args:
            energies: `(n,)` in nats.

        Returns:
            `(lower, upper)` in nats a row.
        """
        mean = -float(np.mean(np.asarray(energies, np.float64)))
        return mean - self.upper, mean - self.lower


def log_z_bounds(
    energy_fn: EnergyFn,
    base: tfp.distributions.Distribution,
    *,
    num_chains: int = 64,
    num_steps: int = 1_000,
    num_leapfrog: int = 5,
    step_size: float | None = None,
    starts: tf.Tensor | None = None,
    burn_in: int = 200,
    seed: int = 0,
) -> LogZBounds:
    """Anneals from a base to an energy and back: a sandwich of `log Z`.

    The gap between the two is the error that annealing still makes; it closes with
    more `num_steps`. Where it stays wide neither side is a likelihood to report.

    Args:
        energy_fn: callable from `(n, ...)` to energies `(n,)` in nats.
        base: see `annealed_importance`.
        num_chains: int >= 2.
        num_steps: int >= 1, temperatures.
        num_leapfrog: int >= 1, leapfrog steps at each.
        step_size: float > 0 of a leapfrog step; None: halved from 1 until short pilot
            chains are accepted four times out of five.
        starts: samples of the model `(num_chains, ...)` for the way back. None: the
            ends of the forward chains, drawn by their weights and moved on for
            `burn_in` transitions. They are samples as far as annealing worked, so that
            the upper bound is one as far as that.
        burn_in: int >= 1, those transitions.
        seed: int.

    Returns:
        `LogZBounds`.

    Raises:
        ValueError: if an argument breaks its rule, no step size is accepted, or an
            energy is not finite.

    References:
        - Grosse et al. (2015), "Sandwiching the marginal likelihood using
          bidirectional Monte Carlo", https://arxiv.org/abs/1511.02543.
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689, section 4.6.
    """
    begun = time.perf_counter()
    check_size("num_chains", num_chains)
    check_size("burn_in", burn_in)
    settings = {"num_leapfrog": check_size("num_leapfrog", num_leapfrog)}
    pilots = 0
    if step_size is None:
        step_size, pilots = _choose_step_size(energy_fn, base, num_chains, settings)
    settings["step_size"] = check_positive("step_size", step_size)
    forward = annealed_importance(
        energy_fn,
        base,
        num_chains=num_chains,
        num_steps=num_steps,
        seed=(seed, 1),
        **settings,
    )
    if starts is None:
        starts = _samples(energy_fn, forward, burn_in, seed, settings)
    else:
        burn_in = 0
    reverse = reverse_annealed_importance(
        energy_fn, base, starts, num_steps=num_steps, seed=(seed, 3), **settings
    )
    transitions = 2 * num_steps + burn_in + pilots
    gradients = num_chains * (num_leapfrog + 1) * transitions
    seconds = time.perf_counter() - begun
    return LogZBounds(forward, reverse, float(step_size), gradients, seconds)


def _choose_step_size(energy_fn, base, num_chains, settings):
    """The step size of pilots that are accepted, and how many transitions they took."""
    start = base.sample(num_chains, seed=(0, 7))
    temperatures = tf.linspace(0.0, 1.0, PILOT_STEPS + 1)

    @tf.function(autograph=False)
    def acceptance_of(step_size):
        return anneal(
            energy_fn,
            base,
            start,
            temperatures,
            tf.constant([0, 8]),
            step_size=step_size,
            **settings,
        )[2]

    for halvings in range(HALVINGS + 1):
        step_size = 0.5**halvings
        acceptance = float(acceptance_of(tf.constant(step_size)))
        if acceptance >= GOOD_ACCEPTANCE:
            return step_size, PILOT_STEPS * (halvings + 1)
    raise ValueError(
        f"`step_size` must be one that is accepted in {GOOD_ACCEPTANCE:.0%} of "
        f"transitions. Received: none such down to {step_size:.2g}, where it is "
        f"{acceptance:.0%}; the energy is too steep for annealing, or pass a smaller "
        "`step_size`."
    )


def _samples(energy_fn, forward, burn_in, seed, settings):
    """Ends of forward chains, drawn by weight and moved on at temperature 1."""
    count = forward.log_weights.shape[0]
    drawn = tf.random.stateless_categorical(
        forward.log_weights[None], count, seed=(seed, 2)
    )[0]
    kernel = tfp.mcmc.HamiltonianMonteCarlo(
        lambda x: -energy_fn(x), settings["step_size"], settings["num_leapfrog"]
    )

    def run(x):
        return tfp.mcmc.sample_chain(
            1,
            x,
            kernel=kernel,
            num_burnin_steps=burn_in,
            trace_fn=None,
            seed=tf.constant([seed, 5]),
        )[0]

    return tf.function(run, autograph=False)(tf.gather(forward.x, drawn))
