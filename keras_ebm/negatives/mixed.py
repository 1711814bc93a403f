"""Negatives of several kinds in one batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_ebm.negatives.base import Negatives, NegativeSource, as_source
from keras_ebm.negatives.reach import Reach
from keras_ebm.protocols import EnergyFn, RandomDraws
from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class Mixed(Saveable, NegativeSource, keras.layers.Layer):
    """Divides each batch among several sources: one batch of negatives of many kinds.

    The first rows of a batch go to the first source and so on, by `shares` rounded to
    whole rows, at least one each; batches are shuffled, so that these are any rows.
    Each source is drawn for its own rows alone, and a batch costs what its rows cost.
    In a batch of fewer rows than sources the last ones have a row each. Every replica
    divides its own rows.

    Markov chains may be among the sources; they start where they would alone, and not
    from a generator. As chains stand still outside of training, such a mix has no
    negatives there at all. A buffer of theirs is reached by the source itself.

    Args:
        sources: at least two sources of `keras_ebm.negatives`, or callables
            `(x, random) -> x_neg`, each of as many negatives as it is given rows, in
            the type of `x`. Saved with a model if each of them is.
        shares: numbers above 0, one for each source, that count by their ratio; None:
            equal ones.
        **kwargs: forwarded to `keras.layers.Layer`.

    Raises:
        ValueError: if an argument breaks its rule, or two sources log the same names,
            such as two of Markov chains; on drawing, if a source gives weights, or
            chains are to walk under labels.
    """

    _values = ("shares",)
    _parts = ("sources",)

    def __init__(
        self,
        sources: Sequence[NegativeSource | Callable],
        shares: Sequence[float] | None = None,
        **kwargs,
    ):
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)
        self.sources = _checked_sources(sources)
        self.shares = _checked_shares(shares, len(self.sources))
        names = [name for source in self._all() for name in source.log_names]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                "`sources` must log different names. Received more than once: "
                f"{', '.join(twice)}; take one source of chains."
            )
        self.log_names = tuple(names)
        self.starts_without_data = all(one.starts_without_data for one in self._all())
        self.computes = any(one.computes for one in self._all())
        gradients = [one.num_gradients for one in self._all()]
        pairs = zip(self._fractions(), gradients, strict=True)
        self.num_gradients = sum(map(math.prod, pairs))
        self.built = True

    def reaches(self) -> list[Reach]:
        """Those of all sources."""
        return [reach for source in self._all() for reach in source.reaches()]

    def counts(self, size: int | tf.Tensor) -> list:
        """Rows of a batch for each source, whose sum is `size`.

        Args:
            size: rows of the batch, an int or an int32 scalar tensor.

        Returns:
            A list of ints, or of int32 scalar tensors.
        """
        known = isinstance(size, int)
        larger, smaller = (max, min) if known else (tf.maximum, tf.minimum)
        last, sums, counts = 0, 0.0, []
        for index, fraction in enumerate(self._fractions(), start=1):
            sums += fraction
            end = math.floor(sums * size + 0.5) if known else _rounded(sums, size)
            # One row at least for each, of those before and of those behind.
            end = smaller(larger(end, last + 1), size - (len(self.sources) - index))
            end = larger(end, last)
            counts.append(end - last)
            last = end
        return counts

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
        """Negatives of every source; see `NegativeSource.draw`.

        Returns:
            `Negatives` shaped like `x`, or None where a source has none.

        Raises:
            ValueError: if a source gives weights, or there are labels.
        """
        del start, last_steps
        if labels is not None:
            raise ValueError(
                "`negatives` Mixed has no labels for its negatives. Received: labels "
                "of a conditional energy; use MarkovChains alone."
            )
        if not training and any(source.walks for source in self._all()):
            return None
        parts, logs, first = [], {}, 0
        for index, count in enumerate(self.counts(_size_of(x))):
            own, source = _rows_from(x, first, count), self._all()[index]
            made = source.draw(energy_fn, own, random.fold(index), training=training)
            if made is None:
                return None
            _check_unweighted(made, source)
            parts.append(tree.map_structure(lambda part, n=count: part[:n], made.x))
            logs.update(made.logs)
            first = first + count
        joined = tree.map_structure(lambda *each: tf.concat(each, axis=0), *parts)
        return Negatives(joined, None, logs)

    def _all(self) -> list[NegativeSource]:
        # No attribute: Keras would save a source's state twice.
        return [source for source in map(as_source, self.sources) if source is not None]

    def _fractions(self) -> list[float]:
        shares = self.shares or [1.0] * len(self.sources)
        return [share / math.fsum(shares) for share in shares]


def _checked_sources(sources: Any) -> list:
    """Two sources or more in a list, or a ValueError that names what is none."""
    several = isinstance(sources, Sequence) and not isinstance(sources, str)
    if not several or len(sources) < 2:
        raise ValueError(
            "`sources` must be a list of at least two sources of negatives. "
            f"Received: sources={sources!r}."
        )
    for index, source in enumerate(sources):
        if not isinstance(source, NegativeSource) and not callable(source):
            raise ValueError(
                "`sources` must be sources of keras_ebm.negatives such as CutAndBlend()"
                f", or callables (x, random). Received: sources[{index}]={source!r}."
            )
    return list(sources)


def _checked_shares(shares: Any, count: int) -> list[float] | None:
    """`count` numbers above 0 in a list, or None as it is."""
    if shares is None:
        return None
    several = isinstance(shares, Sequence) and not isinstance(shares, str)
    good = several and all(
        isinstance(share, int | float) and math.isfinite(share) and share > 0
        for share in shares
    )
    if not good or len(shares) != count:
        raise ValueError(
            f"`shares` must be {count} finite numbers above 0, one for each of "
            f"`sources`. Received: shares={shares!r}."
        )
    return [float(share) for share in shares]


def _check_unweighted(made: Negatives, source: NegativeSource) -> None:
    if made.weights is not None:
        raise ValueError(
            "`sources` of Mixed must give negatives without weights. Received: "
            f"{type(source).__name__}, which weighs them; use it alone, or leave the "
            "weights out, such as by resampling."
        )


def _size_of(x: Any) -> int | tf.Tensor:
    """Rows of the batch: an int where it is known while a graph is made."""
    leaf = tree.flatten(x)[0]
    return tf.shape(leaf)[0] if leaf.shape[0] is None else leaf.shape[0]


def _rounded(value, size):
    exact = value * tf.cast(size, tf.float64)
    return tf.cast(tf.floor(exact + 0.5), tf.int32)


def _rows_from(x: Any, first, count):
    """`count` rows from `first` on; one even where none is wanted.

    Means over no rows, such as those that chains log, would be no numbers.
    """
    if isinstance(count, int):
        first, count = first if count else 0, max(count, 1)
    else:
        first = tf.where(count > 0, first, 0)
        count = tf.maximum(count, 1)
    return tree.map_structure(lambda part: part[first : first + count], x)
