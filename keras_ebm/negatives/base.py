"""What every source of negatives answers to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf
from keras import tree

from keras_ebm.negatives.reach import Reach
from keras_ebm.protocols import EnergyFn, RandomDraws
from keras_ebm.saveable import Saveable

if TYPE_CHECKING:
    # Which imports this module.
    from keras_ebm.negatives.replay_buffer import ReplayBuffer


class Negatives(NamedTuple):
    """Negatives, their weights (None: equal) and scalars to log.

    Those of chains come with their labels `(n,)` and with where the chains were
    before their last steps, as far as these were asked for.
    """

    x: tf.Tensor
    weights: tf.Tensor | None
    logs: dict
    labels: tf.Tensor | None = None
    before: tf.Tensor | None = None


class NegativeSource:
    """Base of where the negatives of a step come from.

    A source overrides `draw`, and names what it logs. `EnergyModel` trains against any
    of them. In `VERA` a source that walks takes the place of the generator's samples
    and starts from them, and any other stands beside them. `LangevinModel` needs one
    that walks.
    """

    #: Names of the scalars that it logs.
    log_names: tuple[str, ...] = ()
    #: Whether its negatives walk by the energy from points that can be given. Such a
    #: source has `moves`, and draws in training alone.
    walks = False
    #: Where its chains rest between steps, a `ReplayBuffer`, or None.
    buffer: ReplayBuffer | None = None
    #: Whether it needs no data to start from.
    starts_without_data = True
    #: How many gradients of the energy the negatives of a row take, on average.
    num_gradients: float = 0
    #: Whether its negatives are numbers that it computes, as codes and tokens are not.
    computes = False

    def reaches(self) -> list[Reach]:
        """The ranges that its negatives are bound to, or start in; to be compared."""
        return []

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
        """Makes the negatives of one step, through which no gradient flows.

        Args:
            energy_fn: callable from preprocessed inputs `(n, ...)` to energies `(n,)`
                in nats; with `labels`, from `(x, y)`.
            x: data `(n, ...)`, preprocessed.
            random: `keras_ebm.random.StepRandom`.
            labels: `(n,)` integers of the data where the model's chains walk under
                labels, else None.
            training: bool; outside of it nothing that is kept may change.
            start: of a source that walks; see `MarkovChains.draw`.
            last_steps: likewise.

        Returns:
            `Negatives`, or None where there are none outside of training.
        """
        raise NotImplementedError


class ComputedInputs:
    """Mixin of sources whose negatives are computed: only of floats is there any."""

    computes = True

    def check_floats(self, x: tf.Tensor) -> None:
        """Raises ValueError unless preprocessed data `x` are one tensor of floats."""
        name = f"`negatives` {type(self).__name__}"
        if not hasattr(x, "dtype"):
            raise ValueError(
                f"{name} takes inputs of one tensor. Received: a {type(x).__name__}; "
                "use CutJoin(), which takes each input from one of two rows, or write "
                "a callable (x, random) -> x_neg of your own."
            )
        dtype = tf.as_dtype(x.dtype)
        if not dtype.is_floating:
            raise computed_codes(name, f"inputs of {dtype.name}")


def computed_codes(what: str, received: str) -> ValueError:
    """The error of something that would compute with codes, such as tokens.

    Args:
        what: what computes.
        received: what shows that these are codes.
    """
    return ValueError(
        f"{what} computes new inputs, which codes and tokens are not: halfway between "
        f"token 3 and token 7 lies no related token. Received: {received}. Use "
        "negatives=CutJoin() or ColumnShuffle(), which take values as they are, or "
        "none; train on what an Embedding of your own gives; or let images of integers "
        "pass a preprocessor such as keras.layers.Rescaling."
    )


class BatchNegatives(Saveable, NegativeSource):
    """Base of negatives that are a function `(x, random) -> x_neg` of the batch.

    Of a network of several inputs, `x` and `x_neg` are dicts or lists of tensors.
    """

    def __call__(self, x: tf.Tensor, random: RandomDraws) -> tf.Tensor:
        raise NotImplementedError

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
    ) -> Negatives:
        del energy_fn, labels, training, start, last_steps
        made = tree.map_structure(tf.stop_gradient, self(x, random))
        return Negatives(made, None, {})


class _OfFunction(BatchNegatives):
    """A user's own callable as a source."""

    def __init__(self, function: Callable):
        self._function = function

    def __call__(self, x, random):
        return self._function(x, random)


def as_source(negatives: NegativeSource | Callable | None) -> NegativeSource | None:
    """What a model was given for `negatives`, as a source.

    Args:
        negatives: `NegativeSource`, callable `(x, random) -> x_neg`, or None.

    Raises:
        ValueError: if it is something else, such as a source's name.
    """
    if negatives is None or isinstance(negatives, NegativeSource):
        return negatives
    if callable(negatives):
        return _OfFunction(negatives)
    raise ValueError(
        "`negatives` must be a callable (x, random), a source of keras_ebm.negatives "
        f"such as MarkovChains, or None. Received: negatives={negatives!r}."
    )
