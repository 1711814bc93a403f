"""What moves chains: unadjusted Langevin steps, MALA, Hamiltonian Monte Carlo."""

from typing import cast

import keras
import tensorflow as tf

from keras_ebm.arguments import check_positive, check_share, check_size
from keras_ebm.protocols import EnergyFn, RandomDraws
from keras_ebm.samplers.chain import run_sampler
from keras_ebm.samplers.independence import NormalJump
from keras_ebm.samplers.langevin import Langevin, Region
from keras_ebm.samplers.mala import MALA, MALAState, mala_state
from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class LangevinMoves(Saveable, keras.layers.Layer):
    """Unadjusted Langevin steps of a fixed size (`keras_ebm.samplers.langevin`).

    Args:
        num_steps: int >= 1, K in the papers.
        step_size: float > 0, in units of `x` squared per nat.
        noise_stddev: float >= 0 in units of `x`; None: `sqrt(2 * step_size)`,
            temperature 1. The papers' image models have far less.
        noise_first: bool, adds the noise before taking the gradient.
        max_gradient: float > 0 or None, bound of the gradient.
        clip: `"element"` or `"norm"`, what the bound is of.
        box: `(low, high)` that entries are clipped to, or None.
        temperature: float > 0, that the energy is divided by.
        **kwargs: forwarded to `keras.layers.Layer`.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    _values = (
        "num_steps",
        "step_size",
        "noise_stddev",
        "noise_first",
        "max_gradient",
        "clip",
        "box",
        "temperature",
    )
    log_names = ("chain_gradient", "chain_movement")
    #: Whether gradients pass through its steps.
    differentiable = True

    def __init__(
        self,
        num_steps: int = 20,
        step_size: float = 1.0,
        noise_stddev: float | None = 0.01,
        *,
        noise_first: bool = False,
        max_gradient: float | None = None,
        clip: str = "element",
        box: tuple[float, float] | None = None,
        temperature: float = 1.0,
        **kwargs,
    ):
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)
        self.num_steps = check_size("num_steps", num_steps)
        self.step_size = step_size
        self.noise_stddev = noise_stddev
        self.noise_first = bool(noise_first)
        self.max_gradient = max_gradient
        self.clip = clip
        self.box = None if box is None else cast("tuple[float, float]", tuple(box))
        self.temperature = temperature
        self.sampler.check()
        self.built = True

    @property
    def sampler(self) -> Langevin:
        """The numbers of a step."""
        return Langevin(
            step_size=self.step_size,
            noise_stddev=self.noise_stddev,
            temperature=self.temperature,
            noise_first=self.noise_first,
            max_gradient=self.max_gradient,
            clip=self.clip,
            region=None if self.box is None else Region(box=self.box),
        )

    @property
    def num_gradients(self) -> int:
        """How many gradients of the energy its steps take."""
        return self.num_steps

    def move(
        self,
        energy_fn: EnergyFn,
        x: tf.Tensor,
        random: RandomDraws,
        labels: tf.Tensor | None = None,
        *,
        first: int = 0,
        num_steps: int | None = None,
        differentiable: bool = False,
        training: bool = True,
        region: Region | None = None,
    ):
        """Moves chains.

        Args:
            energy_fn: callable from `(n, ...)` to energies `(n,)`; with `labels`,
                from `(x, y)`.
            x: `(n, ...)`.
            random: `keras_ebm.random.StepRandom`.
            labels: `(n,)` integers, `(n, D)` numbers, or None.
            first: int, number of the first step.
            num_steps: int, default all that are left.
            differentiable: bool, lets gradients through.
            training: bool, whether a step size may adapt; this one's does not.
            region: `keras_ebm.samplers.Region` of these chains, such as a ball about
                where each starts or the entries of each that stay; its box, if any,
                takes the place of the moves' own.

        Returns:
            `(x, logs)`: where the chains end, and scalars by name.
        """
        sampler = self.sampler
        if region is not None:
            own = region if region.box else region._replace(box=self.box)
            sampler = sampler._replace(region=own)
        sampler = sampler.check()
        state, info = run_sampler(
            sampler,
            energy_fn,
            sampler.init(energy_fn, x),
            num_steps=self.num_steps - first if num_steps is None else num_steps,
            random=random,
            labels=labels,
            first_step=first,
            differentiable=differentiable,
        )
        return state.x, {
            "chain_gradient": tf.reduce_mean(info.gradient_norm[-1:]),
            "chain_movement": tf.reduce_mean(info.movement),
        }


@keras.saving.register_keras_serializable(package="keras_ebm")
class MALAMoves(Saveable, keras.layers.Layer):
    """MALA or Hamiltonian transitions at temperature 1, with an adapted step size.

    Args:
        num_steps: int >= 0, transitions.
        initial_step_size: float > 0, in squared units of `x` per nat.
        target_acceptance: float in (0, 1) that the step size is adapted to.
        adaptation_rate: float > 0, of the log of the step size. Where it is too
            low for an energy that sharpens fast, the chains freeze.
        num_leapfrog: int >= 1; above 1 each transition is one of Hamiltonian
            Monte Carlo (`keras_ebm.samplers.mala_step`).
        num_jumps: int >= 0, proposals of `N(0, jump_stddev^2 I)` before the
            transitions (`keras_ebm.samplers.normal_jump`): between modes, in a few
            dimensions.
        jump_stddev: float > 0, in units of `x`.
        **kwargs: forwarded to `keras.layers.Layer`.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    _values = (
        "num_steps",
        "num_leapfrog",
        "initial_step_size",
        "target_acceptance",
        "adaptation_rate",
        "num_jumps",
        "jump_stddev",
    )
    log_names = ("mala_acceptance", "mala_step_size", "jump_acceptance")
    #: Whether gradients pass through its steps.
    differentiable = False

    def __init__(
        self,
        num_steps: int = 10,
        initial_step_size: float = 0.01,
        target_acceptance: float = 0.6,
        adaptation_rate: float = 0.05,
        num_leapfrog: int = 1,
        num_jumps: int = 0,
        jump_stddev: float = 2.5,
        **kwargs,
    ):
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)
        self.num_steps = num_steps
        self.num_leapfrog = check_size("num_leapfrog", num_leapfrog)
        self.initial_step_size = check_positive("initial_step_size", initial_step_size)
        self.target_acceptance = check_share("target_acceptance", target_acceptance)
        self.adaptation_rate = check_positive("adaptation_rate", adaptation_rate)
        check_positive("num_jumps", num_jumps, zero_allowed=True)
        self.num_jumps = num_jumps
        self.jump_stddev = check_positive("jump_stddev", jump_stddev)
        self.step_size = self.add_weight(
            name="step_size",
            shape=(),
            trainable=False,
            aggregation="mean",
            initializer=keras.initializers.Constant(initial_step_size),
        )
        self.built = True

    @property
    def num_gradients(self) -> int:
        """How many gradients of the energy its transitions take."""
        return self.num_steps * self.num_leapfrog

    def move(
        self,
        energy_fn: EnergyFn,
        x: tf.Tensor,
        random: RandomDraws,
        labels: tf.Tensor | None = None,
        *,
        num_steps: int | None = None,
        training: bool = True,
        region: Region | None = None,
    ):
        """Moves chains; see `LangevinMoves.move`. They have no region."""
        if region is not None:
            raise ValueError(
                "Chains of MALAMoves cannot be held in a region. Received: region="
                "a Region; use LangevinMoves."
            )
        if labels is not None:
            labelled = energy_fn

            def energy_fn(x):
                return labelled(x, labels)

        state = mala_state(energy_fn, x)
        state, logs = self.move_state(energy_fn, state, random, num_steps, training)
        return state.x, logs

    def move_state(
        self,
        energy_fn: EnergyFn,
        state: MALAState,
        random: RandomDraws,
        num_steps: int | None = None,
        training: bool = True,
    ):
        """Runs the chains and adapts the step size; returns `(state, logs)`."""
        step_size = tf.convert_to_tensor(self.step_size)
        logs = {}
        jump = NormalJump(self.jump_stddev)
        for i in range(self.num_jumps):
            state, info = jump.step(energy_fn, state, random.fold(i))
            logs["jump_acceptance"] = tf.reduce_mean(info.acceptance)
        state, info = run_sampler(
            MALA(step_size, self.num_leapfrog),
            energy_fn,
            state,
            num_steps=self.num_steps if num_steps is None else num_steps,
            random=random,
        )
        acceptance = tf.reduce_mean(info.acceptance)
        if training:
            change = self.adaptation_rate * (acceptance - self.target_acceptance)
            self.step_size.assign(step_size * tf.exp(change))
        logs |= {"mala_acceptance": acceptance, "mala_step_size": step_size}
        return state, logs
