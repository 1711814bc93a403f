"""Negatives of several kinds, as one batch or as terms with weights of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_ebm.arguments import check_positive
from keras_ebm.negatives.base import Negatives, NegativeSource, as_source
from keras_ebm.negatives.reach import Reach
from keras_ebm.protocols import EnergyFn, RandomDraws
from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class Mixed(Saveable, NegativeSource, keras.layers.Layer):
    """Divides each batch among several sources: negatives of many kinds.

    The first rows of a batch go to the first source and so on, by `shares` rounded to
    whole rows, at least one each; batches are shuffled, so that these are any rows.
    Each source is drawn for its own rows alone, and a batch costs what its rows cost.
    In a batch of fewer rows than sources the last ones have a row each. Every replica
    divides its own rows.

    With `size` there are more negatives than data, up to one of every source for every
    row, or fewer, which costs less. With `term_weights` the loss has a term for each
    source, the mean over its negatives, that counts by its weight whatever its share;
    without them each negative counts alike.

    Markov chains may be among the sources; they start where they would alone, and not
    from a generator. As chains stand still outside of training, such a mix has no
    negatives there at all. A buffer of theirs is reached by the source itself.

    Args:
        sources: sources of `keras_ebm.negatives`, or callables
            `(x, random) -> x_neg`, each of as many negatives as it is given rows, in
            the type of `x`. Saved with a model if each of them is.
        shares: numbers above 0, one for each source, that count by their ratio; None:
            equal ones.
        size: float > 0, negatives for each row of a batch. No source makes more than
            one of a row, so that its share of `size` is at most 1.
        term_weights: numbers above 0, one for each source, that count by their ratio;
            None: each negative counts alike. For the contrastive and logistic
            objectives.
        **kwargs: forwarded to `keras.layers.Layer`.

    Raises:
        ValueError: if an argument breaks its rule, or two sources log the same names,
            such as two of Markov chains; on drawing, if a source gives weights, or
            chains are to walk under labels.
    """

    _values = ("shares", "size", "term_weights")
    _parts = ("sources",)

    def __init__(
        self,
        sources: Sequence[NegativeSource | Callable],
        shares: Sequence[float] | None = None,
        size: float = 1.0,
        term_weights: Sequence[float] | None = None,
        **kwargs,
    ):
        super().__init__(dtype=kwargs.pop("dtype", "float32"), **kwargs)
        self.size = check_positive("size", size)
        self.sources = _checked_sources(sources, least=1 if size < 1 else 2)
        self.shares = _checked_ratios("shares", shares, len(self.sources))
        self.term_weights = _checked_ratios(
            "term_weights", term_weights, len(self.sources)
        )
        self._check_size()
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
        self.num_gradients = self.size * sum(map(math.prod, pairs))
        self.built = True

    def _check_size(self):
        most = max(self._fractions()) * self.size
        if most > 1.0 + 1e-9:
            raise ValueError(
                "`size` must leave each source at most one negative for a row. "
                f"Received: size={self.size} with shares={self.shares}, {most:.4g} of "
                f"one source; use size={1.0 / max(self._fractions()):.4g} or less."
            )

    def reaches(self) -> list[Reach]:
        """Those of all sources."""
        return [reach for source in self._all() for reach in source.reaches()]

    def counts(self, size: int | tf.Tensor) -> list:
        """Negatives of each source, whose sum is `self.size * size`, rounded.

        Args:
            size: rows of the batch, an int or an int32 scalar tensor.

        Returns:
            A list of ints, or of int32 scalar tensors.
        """
        known = isinstance(size, int)
        larger, smaller = (max, min) if known else (tf.maximum, tf.minimum)
        total = size
        if self.size != 1.0:
            total = larger(_rounded(self.size, size), 1)
        last, sums, counts = 0, 0.0, []
        for index, fraction in enumerate(self._fractions(), start=1):
            sums += fraction
            end = _rounded(sums, total)
            # One row at least for each, of those before and of those behind.
            end = smaller(larger(end, last + 1), total - (len(self.sources) - index))
            end = larger(end, last)
            # Rounding may ask for one more than there are rows.
            counts.append(smaller(end - last, size))
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
            `Negatives`, `self.size` for each row of `x`, or None where a source has
            none.

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
        counts = self.counts(_size_of(x))
        for index, count in enumerate(counts):
            own, source = _rows_from(x, first, count), self._all()[index]
            made = source.draw(energy_fn, own, random.fold(index), training=training)
            if made is None:
                return None
            _check_unweighted(made, source)
            parts.append(tree.map_structure(lambda part, n=count: part[:n], made.x))
            logs.update(made.logs)
            if self.size <= 1.0:
                first = first + count
        joined = tree.map_structure(lambda *each: tf.concat(each, axis=0), *parts)
        return Negatives(joined, self._row_weights(counts), logs)

    def _row_weights(self, counts) -> tf.Tensor | None:
        """Weights of the negatives, which sum to 1: equal ones within a source."""
        if self.term_weights is None:
            return None
        sizes = [tf.cast(count, tf.float32) for count in counts]
        rows = [
            tf.fill([count], weight / tf.maximum(size, 1.0))
            for count, size, weight in zip(
                counts, sizes, self.term_weights, strict=True
            )
        ]
        joined = tf.concat(rows, axis=0)
        return joined / tf.reduce_sum(joined)

    def _all(self) -> list[NegativeSource]:
        # No attribute: Keras would save a source's state twice.
        return [source for source in map(as_source, self.sources) if source is not None]

    def _fractions(self) -> list[float]:
        shares = self.shares or [1.0] * len(self.sources)
        return [share / math.fsum(shares) for share in shares]


def _checked_sources(sources: Any, least: int) -> list:
    """`least` sources or more in a list, or a ValueError that names what is none."""
    several = isinstance(sources, Sequence) and not isinstance(sources, str)
    if not several or len(sources) < least:
        count = "two sources" if least > 1 else "one source"
        raise ValueError(
            f"`sources` must be a list of at least {count} of negatives. "
            f"Received: sources={sources!r}."
        )
    for index, source in enumerate(sources):
        if not isinstance(source, NegativeSource) and not callable(source):
            raise ValueError(
                "`sources` must be sources of keras_ebm.negatives such as CutAndBlend()"
                f", or callables (x, random). Received: sources[{index}]={source!r}."
            )
    return list(sources)


def _checked_ratios(name: str, ratios: Any, count: int) -> list[float] | None:
    """`count` numbers above 0 in a list, or None as it is."""
    if ratios is None:
        return None
    several = isinstance(ratios, Sequence) and not isinstance(ratios, str)
    good = several and all(
        isinstance(ratio, int | float) and math.isfinite(ratio) and ratio > 0
        for ratio in ratios
    )
    if not good or len(ratios) != count:
        raise ValueError(
            f"`{name}` must be {count} finite numbers above 0, one for each of "
            f"`sources`. Received: {name}={ratios!r}."
        )
    return [float(ratio) for ratio in ratios]


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


def _rounded(value: float, size: int | tf.Tensor):
    if isinstance(size, int):
        return math.floor(value * size + 0.5)
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
