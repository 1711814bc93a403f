"""What `Doctor` measures of a model in training: numbers by name."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_ebm.callbacks.entropy_watch import LOG as EFFECTIVE_SAMPLE_SIZE
from keras_ebm.callbacks.entropy_watch import weighs_proposals
from keras_ebm.callbacks.stop_on_divergence import unsound_logs
from keras_ebm.models.base import BaseEnergyModel
from keras_ebm.negatives import as_source
from keras_ebm.random import StepRandom
from keras_ebm.rows import as_rows, num_rows, take

#: Data rows, samples and chains that an examination looks at, at most.
ROWS = 64
#: Share of a box's width that counts as its border.
BORDER = 1e-3


class Measures:
    """Takes the measures of one model, in all its examinations.

    Args:
        model: the model in training.
        x: raw data rows, of which the first `ROWS` are looked at, or None: what needs
            them is then not measured.
    """

    def __init__(self, model: BaseEnergyModel, x: Any = None):
        self.model = model
        self.source = as_source(model.negatives)
        self.x = None if x is None else _float_rows(model, x)
        self._gaps: list[float] = []
        self._best = self._gap = 0.0
        self.begin()
        self._samples: np.ndarray | None = None
        self._latents: tf.Tensor | None = None
        self._walk: Callable | None = None
        self.entries = _num_entries(model)
        # Energies of rows differ by the root of how many entries they have.
        self.scale = math.sqrt(self.entries)
        if self.x is not None:
            flat = _flat(self.x)
            self.spread = _spread(flat) or 1.0
            self.nearest = _nearest(flat) or 1.0
            self.mean = flat.mean(axis=0)

    @property
    def steps(self) -> int:
        """Steps since the last examination."""
        return len(self._gaps)

    def begin(self, batch: int = 0) -> None:
        """The means in the logs begin anew, with this batch of the epoch."""
        self._first, self._count, self._total = batch, 0, 0.0

    def forget(self) -> None:
        """Nothing of the steps before counts any more, such as after a roll-back."""
        self._gaps, self._samples, self._best = [], None, 0.0

    def note(self, batch: int, logs: dict[str, Any]) -> None:
        """Takes the gap of a step out of the means of the epoch up to this batch."""
        data, negative = (
            float(logs.get(name, math.nan))
            for name in ("data_energy", "negative_energy")
        )
        count = batch + 1 - self._first
        total = (negative - data) * count
        self._gaps.append((total - self._total) / (count - self._count))
        self._count, self._total = count, total

    def take(self, logs: dict[str, Any], step: int) -> dict[str, float]:
        """The measures of an examination; those that cannot be had are left out.

        Args:
            logs: of the step or the epoch.
            step: int, steps that the run has behind it.
        """
        found = {"unsound": float(len(unsound_logs(logs))), **self._of_gaps()}
        size = logs.get(EFFECTIVE_SAMPLE_SIZE)
        if size is not None and weighs_proposals(self.model):
            found[EFFECTIVE_SAMPLE_SIZE] = float(size)
        if self.x is not None:
            found |= self._of_chain_logs(logs) | self._of_generator()
            found |= self._of_chains(step)
        self._gaps = []
        # What is not finite is said once, by `unsound`, and is no evidence else.
        finite = {name: v for name, v in found.items() if math.isfinite(v)}
        return finite | {"unsound": found["unsound"]}

    def _of_gaps(self):
        """How far negatives lie above the data in the steps since the last time."""
        gaps = np.asarray(self._gaps) / self.scale
        if not len(gaps) or not np.isfinite(gaps).all():
            return {}
        found = {"gap": float(abs(gaps.mean()))}
        if len(gaps) > 3:
            # A drift is a line, which does not swing.
            steps = np.arange(len(gaps))
            line = np.polyval(np.polyfit(steps, gaps, 1), steps)
            found["gap_swing"] = float(np.std(gaps - line))
        return found

    def _energies(self, x) -> np.ndarray:
        labels = _labels(self.model, len(x))
        if self.model.conditional and labels is None:
            return np.full(len(x), math.nan)
        labels = labels if self.model.conditional else None
        return self.model.energy_fn(labels)(x).numpy()

    def _of_chain_logs(self, logs):
        """How far the chains of a step come, from what their moves log."""
        moves = getattr(self.source, "moves", None)
        found = {}
        if "mala_acceptance" in logs:
            found["acceptance"] = float(logs["mala_acceptance"])
        if moves is None:
            return found
        if "chain_movement" in logs:
            one = float(logs["chain_movement"]) / math.sqrt(self.entries)
        elif "mala_step_size" in logs:
            one = math.sqrt(2.0 * float(logs["mala_step_size"]) * found["acceptance"])
            one *= moves.num_leapfrog
        else:
            return found
        # A step is mostly noise, whose sum grows as the root of the steps.
        found["chain_stride"] = one / self.spread
        found["chain_reach"] = found["chain_stride"] * math.sqrt(moves.num_steps)
        return found

    def _of_generator(self):
        generator = self.model.generator
        if generator is None:
            return {}
        if self._latents is None:
            shape = [ROWS, generator.latent_dim]
            self._latents = StepRandom(0, 0).normal(shape, "doctor")
        made = tf.cast(generator(self._latents), tf.float32)
        # In one pass, since a pass of few rows costs as much as one of many.
        energies = self._energies(tf.concat([made, self.x], axis=0))
        gap = float(energies[:ROWS].mean() - energies[ROWS:].mean()) / self.scale
        samples = _flat(made)
        nearest = _nearest(samples) / self.nearest
        self._best = max(self._best, nearest)
        found = {
            "sample_gap": gap,
            "sample_spread": _spread(samples) / self.spread,
            "sample_nearest": nearest,
            "sample_kept": nearest / self._best if self._best else math.nan,
        }
        if self._samples is not None:
            found |= self._of_moved_samples(samples) | {
                "sample_gap_rise": gap - self._gap
            }
        self._samples, self._gap = samples, gap
        return found

    def _of_moved_samples(self, samples):
        """How far the samples of the same latents are from where they were."""
        moved = float(np.sqrt(np.mean((samples - self._samples) ** 2)))
        own = max(self.spread, _spread(samples), _spread(self._samples))
        # The way to the data is theirs to go.
        off = self._samples.mean(axis=0) - self.mean
        own = math.sqrt(own**2 + float(np.mean(off**2)))
        # Over many steps samples forget where they were.
        turns = float(np.clip(self.steps / 20.0, 1.0, 5.0))
        return {
            "sample_change": moved / self.spread / turns,
            "sample_jump": moved / own,
        }

    def _of_chains(self, step):
        ends = self._chain_ends(step)
        if ends is None:
            return {}
        found = {"chain_spread": _spread(_flat(ends)) / self.spread}
        box = getattr(getattr(self.source, "moves", None), "box", None)
        if box is not None:
            # Of the entries that are not there in the data, such as black pixels.
            there = _at_border(self.x.numpy(), box)
            share = (_at_border(ends, box) - there) / max(1e-6, 1.0 - there)
            found["border_share"] = max(0.0, share)
        return found

    def _chain_ends(self, step) -> np.ndarray | None:
        """Where chains ended: states of the buffer, or a walk that changes nothing."""
        source, random = self.source, StepRandom(self.model.seed, step)
        if source is None or not source.walks:
            return None
        if source.buffer is not None:
            if not source.buffer.whole()["visited"].any():
                return None
            return source.buffer.pick(ROWS, random)[0].numpy()
        if not getattr(getattr(source, "moves", None), "differentiable", False):
            # Its step size would adapt, which is the training's to do.
            return None
        if self._walk is None:
            self._walk = tf.function(self._fresh_walk, autograph=False)
        ends = self._walk(tf.constant(step, tf.int64))
        return None if ends is None else ends.numpy()

    def _fresh_walk(self, step):
        model, start = self.model, None
        labels = _labels(model, len(self.x)) if model.conditional else None
        if model.conditional and labels is None:
            return None
        random = StepRandom(model.seed, step)
        if model.generator is not None:
            start = model.draw(len(self.x), random).x
        energy = model.class_energy if model.conditional else model.inputs_energy
        made = self.source.draw(
            energy, self.x, random, labels, training=True, start=start
        )
        return made.x


def _float_rows(model, x):
    """The first rows, preprocessed; None where they are not one tensor of floats."""
    x = as_rows(x, "x", model.raw_spec())
    rows = model.preprocess(take(x, slice(min(ROWS, num_rows(x)))))
    one = hasattr(rows, "dtype") and tf.as_dtype(rows.dtype).is_floating
    return tf.cast(rows, tf.float32) if one else None


def _labels(model, count: int):
    """A label for each of so many rows, all classes in turn; None for vectors."""
    if model.label_size or model.num_classes < 2:
        return None
    return tf.range(count) % model.num_classes


def _num_entries(model) -> int:
    """Entries of a preprocessed input; 1 where it is no single tensor."""
    shape = model.network.input_shape
    if not isinstance(shape, tuple) or not all(isinstance(n, int) for n in shape[1:]):
        return 1
    return math.prod(shape[1:])


def _flat(x) -> np.ndarray:
    """Rows as `(n, entries)`."""
    return np.asarray(x).reshape(len(x), -1)


def _nearest(rows: np.ndarray) -> float:
    """Median over rows `(n, entries)` of the distance to the nearest other one."""
    squares = np.sum((rows[:, None] - rows[None]) ** 2, axis=-1)
    np.fill_diagonal(squares, np.inf)
    return float(np.median(np.sqrt(squares.min(axis=1))))


def _spread(rows: np.ndarray) -> float:
    """Root of the mean variance of the entries of rows `(n, entries)`."""
    return float(np.sqrt(np.mean(np.var(rows, axis=0))))


def _at_border(x: np.ndarray, box) -> float:
    low, high = box
    near = BORDER * (high - low)
    return float(np.mean((x <= low + near) | (x >= high - near)))
