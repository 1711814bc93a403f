"""Negatives from Markov chains: fresh ones, or those of a replay buffer."""

from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_choice, check_positive
from keras_ebm.negatives.base import Negatives, NegativeSource
from keras_ebm.negatives.moves import LangevinMoves, MALAMoves
from keras_ebm.negatives.reach import REMEDY, Reach
from keras_ebm.negatives.replay_buffer import ReplayBuffer
from keras_ebm.protocols import EnergyFn, RandomDraws
from keras_ebm.samplers.langevin import Region
from keras_ebm.saveable import Saveable

STARTS = ("normal", "uniform", "data")


@keras.saving.register_keras_serializable(package="keras_ebm")
class MarkovChains(Saveable, NegativeSource, keras.layers.Layer):
    """Negatives that Markov chains walk to.

    What the chains start from makes the method: always from noise, short-run;
    always from the data, CD-k; from a buffer of where they were left, persistent
    contrastive divergence. In `VERA` fresh chains start from the generator.

    Args:
        moves: `LangevinMoves` or `MALAMoves`.
        buffer: `ReplayBuffer`, or None: every chain is fresh.
        start: where fresh chains start: `"normal"`, `"uniform"`, or `"data"`,
            with Gaussian noise on it if `start_stddev` is above 0.
        start_stddev: float >= 0, of the normal noise, in units of `x`.
        start_mean: float, of `"normal"`.
        start_range: `(low, high)` of `"uniform"`.
        restart_share: float in [0, 1], share of the buffer's chains that start
            anew each time they are taken out; 0.05 in the papers. Chains that
            have just started are not yet samples of `p`.
        fixed: booleans of an input's shape, or that broadcast to it: True where
            entries keep the values of the data that the chains are set against, so
            that the others are learnt given these; None for no such entries.
        radius: float > 0 or None: chains stay in an L-infinity ball about where they
            started, in units of `x`; for fresh chains.
        **kwargs: forwarded to `keras.layers.Layer`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Hinton (2002), "Training products of experts by minimizing contrastive
          divergence".
        - Tieleman (2008), "Training restricted Boltzmann machines using
          approximations to the likelihood gradient".
        - Nijkamp et al. (2019), https://arxiv.org/abs/1904.09770: short runs.
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689: the buffer
          and its restarts.
    """

    _values = (
        "start",
        "start_stddev",
        "start_mean",
        "start_range",
        "restart_share",
        "fixed",
        "radius",
    )
    _parts = ("moves", "buffer")
    walks = True
    computes = True

    def __init__(
        self,
        moves: LangevinMoves | MALAMoves,
        buffer: ReplayBuffer | None = None,
        *,
        start: str = "normal",
        start_stddev: float = 1.0,
        start_mean: float = 0.0,
        start_range: tuple[float, float] = (-1.0, 1.0),
        restart_share: float = 0.05,
        fixed: Any = None,
        radius: float | None = None,
        **kwargs,
    ):
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)
        self.moves = moves
        self.buffer = buffer
        self.start = check_choice("start", start, STARTS)
        self.start_stddev = check_positive(
            "start_stddev", start_stddev, zero_allowed=True
        )
        self.start_mean = float(start_mean)
        self.start_range = tuple(start_range)
        if not self.start_range[0] < self.start_range[1]:
            raise ValueError(
                "`start_range` must be (low, high) with low below high. "
                f"Received: start_range={start_range!r}."
            )
        check_positive("restart_share", restart_share, zero_allowed=True)
        if restart_share > 1:
            raise ValueError(
                "`restart_share` must be at most 1. "
                f"Received: restart_share={restart_share!r}."
            )
        self.restart_share = restart_share
        if moves.num_steps < 1:
            raise ValueError(
                "`moves` must take at least one step. "
                f"Received: num_steps={moves.num_steps}."
            )
        self.fixed = None if fixed is None else np.asarray(fixed, bool).tolist()
        self.radius = radius
        if radius is not None:
            check_positive("radius", radius)
        if (fixed is not None or radius) and not moves.differentiable:
            raise ValueError(
                "`fixed` and `radius` need `moves` that can be held in a region. "
                f"Received: moves={type(moves).__name__}; use LangevinMoves."
            )
        if radius and buffer is not None:
            raise ValueError(
                "`radius` is about where chains start, which a buffer does not keep. "
                f"Received: radius={radius!r} and a buffer; use buffer=None."
            )
        self.log_names = tuple(moves.log_names)
        self.built = True

    # A source of a user's own may set plain attributes; these two follow from others.
    @property
    def starts_without_data(self) -> bool:  # type: ignore[override]
        """Whether fresh chains start from noise."""
        return self.start != "data"

    @property
    def num_gradients(self) -> int:  # type: ignore[override]
        """How many gradients of the energy a negative takes."""
        return self.moves.num_gradients

    def reaches(self) -> list[Reach]:
        """The moves' box, the buffer's range and where fresh chains start."""
        found, buffer = [], self.buffer
        box = getattr(self.moves, "box", None)
        if box is not None:
            remedy = REMEDY + "take a `box` of the data's range."
            found.append(Reach("`box` of the chains' moves", box[0], box[1], remedy))
        if buffer is not None and buffer.storage == "uint8":
            remedy = REMEDY + "take a `value_range` of the data's."
            low, high = buffer.value_range
            found.append(Reach("`value_range` of the buffer", low, high, remedy))
        if self.start == "uniform":
            low, high = self.start_range
        else:
            low = self.start_mean - 3.0 * self.start_stddev
            high = self.start_mean + 3.0 * self.start_stddev
        if self.start != "data" and low < high:
            remedy = REMEDY + "start the chains where the data are."
            found.append(Reach("`start` of the chains", low, high, remedy, fixed=False))
        return found

    def begin(self, x: tf.Tensor, random: RandomDraws):
        """Where fresh chains start, shaped like `x`, the data `(count, ...)`."""
        if self.start == "uniform":
            return random.uniform(tf.shape(x), "restart", *self.start_range)
        origin = x if self.start == "data" else self.start_mean
        if not self.start_stddev:
            return tf.broadcast_to(origin, tf.shape(x))
        return origin + self.start_stddev * random.normal(tf.shape(x), "restart")

    def draw(
        self,
        energy_fn: EnergyFn,
        x: tf.Tensor,
        random: RandomDraws,
        labels: tf.Tensor | None = None,
        training: bool = False,
        *,
        start: tf.Tensor | None = None,
        last_steps: int = 0,
    ) -> Negatives | None:
        """Moves as many chains as there are data, and leaves them in the buffer.

        Args:
            energy_fn: callable from `(n, ...)` to energies `(n,)`; with `labels`,
                from `(x, y)`.
            x: data `(n, ...)`, preprocessed.
            random: `keras_ebm.random.StepRandom`.
            labels: `(n,)` integers or `(n, D)` numbers, under which the chains walk,
                or None. Chains of a buffer that stores labels keep their own.
            training: bool; outside of it chains stand still, and there are none.
            start: `(n, ...)`, where fresh chains start; default by the source's own
                `start`.
            last_steps: int, the last steps to be taken again from `before`,
                such as by a term that needs gradients through them.

        Returns:
            `Negatives`, through which no gradient flows, or None.

        Raises:
            ValueError: if the buffer is smaller than a batch.
        """
        if not training:
            return None
        fresh = self.begin(x, random) if start is None else start
        slots = None
        if self.buffer is not None:
            slots, fresh, labels = self._continue(x, random, labels, fresh)
        region = self._region(x, fresh)
        if region is not None:
            fresh = region.project(fresh)
        held: dict[str, Any] = {} if region is None else {"region": region}
        before = fresh
        if last_steps:
            # The one kind that takes steps again; see `WalkTerms`.
            moves = cast(LangevinMoves, self.moves)
            before, _ = moves.move(
                energy_fn,
                before,
                random,
                labels,
                num_steps=moves.num_steps - last_steps,
                **held,
            )
            first = moves.num_steps - last_steps
            end, logs = moves.move(
                energy_fn, before, random, labels, first=first, **held
            )
        else:
            end, logs = self.moves.move(energy_fn, before, random, labels, **held)
        end, before = tf.stop_gradient(end), tf.stop_gradient(before)
        if self.buffer is not None:
            self.buffer.put(slots, end, random, labels)
        return Negatives(end, None, logs, labels, before)

    def _region(self, x, start) -> Region | None:
        """Where chains that start at `start` may go, set against the data `x`."""
        if self.radius is not None:
            start = start if self.fixed is None else tf.where(self.fixed, x, start)
            return Region(start=start, radius=self.radius, fixed=self.fixed)
        return None if self.fixed is None else Region(start=x, fixed=self.fixed)

    def _continue(self, x, random, labels, fresh):
        """Chains of the buffer, but for those that are to start anew."""
        buffer = self.buffer
        count = tf.shape(x)[0]
        if x.shape[0] is not None and x.shape[0] > buffer.part_capacity:
            raise ValueError(
                "`capacity` of the buffer must be at least the batch on each replica. "
                f"Received: capacity={buffer.capacity} on {buffer.num_replicas} "
                f"replicas for {x.shape[0]} rows on one."
            )
        slots, states, kept_labels, known = buffer.take(count, random)
        again = random.uniform([count], "restarted") < self.restart_share
        anew = again | ~known
        if buffer.store_labels and labels is not None:
            own = tf.reshape(anew, [-1, *[1] * (kept_labels.shape.rank - 1)])
            labels = tf.where(own, tf.cast(labels, kept_labels.dtype), kept_labels)
        anew = tf.reshape(anew, [-1, *[1] * (x.shape.rank - 1)])
        return slots, tf.where(anew, fresh, states), labels
