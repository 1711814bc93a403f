"""Samples of an energy by chains, under conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.negatives import LangevinMoves, MALAMoves, MarkovChains, ReplayBuffer
from keras_ebm.protocols import EnergyFn
from keras_ebm.random import StepRandom
from keras_ebm.samplers import Region


class SamplesByChains:
    """Mixin for models whose negatives may be `MarkovChains`: `sample` and its parts.

    Chains walk as in training, on the model's own energy or on another one, from the
    buffer, from noise or from given inputs, under given labels, in a given region.
    """

    # Of the model.
    network: Any
    negatives: Any
    conditional: bool
    label_size: int
    num_classes: int
    class_energy: Callable
    inputs_energy: Callable
    check_labels: Callable
    _source: Callable

    @property
    def can_sample(self) -> bool:
        source = self._source()
        return source is not None and source.walks and source.starts_without_data

    def chain_energy(self):
        """The energy function that chains walk on, of `x` or of `(x, y)`."""
        return self.class_energy if self.conditional else self.inputs_energy

    def sample(
        self,
        num_samples: int,
        seed: int = 0,
        num_steps: int | None = None,
        fresh: bool = False,
        *,
        labels: Any = None,
        start: Any = None,
        fixed: Any = None,
        radius: float | None = None,
        energy: EnergyFn | None = None,
        moves: LangevinMoves | MALAMoves | None = None,
    ):
        """Runs chains that go on from the buffer, or start anew.

        Args:
            num_samples: int >= 1.
            seed: int.
            num_steps: int >= 1, default those of training.
            fresh: bool, starts anew although there is a buffer to go on from.
                Where `conditional`, chains without labels of their own always do.
            labels: that the chains walk under: a class for each sample or one for all,
                or vectors `(num_samples, D)` or one, `(D,)`. By default those of the
                buffer's states, or the classes in turn. Chains go on from states of
                the same classes where the buffer has some of each. A model that is not
                `conditional` then walks on `E(x, y)` of its classes.
            start: preprocessed inputs `(num_samples, ...)` that chains start at.
            fixed: booleans that broadcast to `start`, which they need: True where an
                entry stays as it is.
            radius: float > 0: chains stay in an L-infinity ball of it about `start`.
            energy: callable from preprocessed inputs to energies `(num_samples,)` in
                nats that chains walk on, such as a composition, in place of the
                model's own.
            moves: `LangevinMoves` or `MALAMoves`, in place of those of training.

        Returns:
            Preprocessed inputs of shape `(num_samples, ...)`; where
            `conditional`, fresh ones are of the classes in turn.

        Raises:
            ValueError: if fresh chains would start at the data, the model has no
                chains and no `moves` are given, or an argument breaks its rule.
        """
        check_size("num_samples", num_samples)
        moves = moves or self._own_moves()
        random = StepRandom(seed, 0)
        labels = self._given_labels(labels, num_samples)
        if self.label_size and labels is None and energy is None:
            self.check_labels(None, num_samples)
        fixed = _checked_region(start, fixed, radius)
        x, own = self._starts(num_samples, random, labels, start, fresh)
        if energy is None and (self.conditional or labels is not None):
            walked_on, own = self.class_energy, own if labels is None else labels
        else:
            walked_on, own = energy or self.inputs_energy, None
        walk = self._walk(walked_on, moves, num_steps, radius, energy is None)
        return walk(x, own, fixed, tf.constant(seed, tf.int64))

    def _walk(self, energy_fn, moves, num_steps, radius, keep) -> Callable:
        """Compiled chains; those on the model's own energies are kept for other calls.

        A loop of samples would otherwise trace the network each time.
        """
        key = (energy_fn.__name__, moves, str(moves.get_config()), num_steps, radius)
        if not hasattr(self, "_compiled_walks"):
            self._compiled_walks = _Walks()
        found = self._compiled_walks.by_settings.get(key) if keep else None
        if found is not None:
            return found

        def walk(x, labels, fixed, seed):
            held = {}
            if fixed is not None or radius is not None:
                held["region"] = Region(start=x, radius=radius, fixed=fixed)
            end, _ = moves.move(
                energy_fn,
                x,
                StepRandom(seed, 0),
                labels,
                num_steps=num_steps,
                training=False,
                **held,
            )
            return end

        walk = tf.function(walk, autograph=False)
        if keep:
            self._compiled_walks.by_settings[key] = walk
        return walk

    def _own_moves(self):
        source = self._source()
        if source is None or not source.walks:
            raise ValueError(
                "`sample` needs chains. Received: a model with negatives="
                f"{self.negatives!r}; pass `moves`, such as "
                "keras_ebm.negatives.LangevinMoves, and `start`."
            )
        return source.moves

    def _given_labels(self, labels, count):
        """Labels of each sample, checked; None where there are none."""
        if labels is None:
            return None
        one = np.ndim(labels) == (1 if self.label_size else 0)
        if one:
            labels = np.repeat(np.asarray(labels)[None], count, axis=0)
        labels = self.check_labels(labels, count)
        return tf.constant(labels, tf.float32 if self.label_size else tf.int32)

    def _starts(self, count, random, labels, start, fresh):
        """Where chains start, and the labels that they have there or None."""
        if start is not None:
            x = tf.cast(tf.convert_to_tensor(start), tf.float32)
            shape = (count, *self.network.input_shape[1:])
            if tuple(x.shape) != shape:
                raise ValueError(
                    f"`start` must be preprocessed inputs of shape {shape}. Received: "
                    f"shape {tuple(x.shape)}."
                )
            return x, self._in_turn(count)
        buffer = None if fresh else self._buffer_to_go_on_from(labels)
        if buffer is not None:
            known = labels is not None and buffer.store_labels and not self.label_size
            return buffer.pick(count, random, labels.numpy() if known else None)
        return self._start_anew(count, random), self._in_turn(count)

    def _in_turn(self, count):
        return tf.range(count) % self.num_classes

    def _buffer_to_go_on_from(self, labels=None) -> ReplayBuffer | None:
        """The buffer, if `sample` can go on from chains in it."""
        buffer = getattr(self._source(), "buffer", None)
        if buffer is None or not buffer.store_labels and self.conditional:
            return None
        whole = buffer.whole()
        held = whole["visited"] > 0
        if not held.any():
            return None
        if labels is None or not buffer.store_labels:
            return buffer
        if self.label_size:
            return None  # States of other labels would have to be walked far.
        stored = np.unique(whole["labels"][held])
        return buffer if np.isin(labels.numpy(), stored).all() else None

    def _start_anew(self, count, random):
        source = self._source()
        if source is None or not source.walks:
            raise ValueError(
                "`start` is needed where a model has no chains. Received: start=None."
            )
        if source.start == "data":
            raise ValueError(
                "`sample` needs chains that start from noise. Received: "
                "start='data'; pass `start`, inputs of your own."
            )
        shape = (count, *self.network.input_shape[1:])
        return cast(MarkovChains, source).begin(tf.zeros(shape), random)


class _Walks:
    """Compiled chains by their settings; no object that Keras would save."""

    def __init__(self):
        self.by_settings: dict[tuple, Callable] = {}


def _checked_region(start, fixed, radius):
    """`fixed` as a tensor or None, after a look at what it and `radius` need."""
    if start is None and not (fixed is None and radius is None):
        raise ValueError(
            "`fixed` and `radius` need `start`, the inputs that they refer to. "
            "Received: start=None."
        )
    if radius is not None:
        check_positive("radius", radius)
    return None if fixed is None else tf.constant(np.asarray(fixed, bool))
