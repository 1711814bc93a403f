"""What every sampler here returns, and the loop over its steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from keras_ebm.gradients import squared_norm
from keras_ebm.protocols import RandomDraws


class ChainInfo(NamedTuple):
    """What a step did to each chain, for logging; the chain does not need it.

    A step gives `(batch,)` tensors, a run of steps `(num_steps, batch)`.

    Attributes:
        energy: nats. Of an adjusted sampler where the chain then stands, of
            the unadjusted one where it took its gradient.
        gradient_norm: `||dE/dx||_2` there, before any clipping.
        movement: `||x_next - x||_2`, in units of `x`.
        acceptance: probability of acceptance; 1 of an unadjusted sampler.
        x: `(num_steps, batch, ...)`, where the chains went, if that was asked
            for, else None.
    """

    energy: tf.Tensor
    gradient_norm: tf.Tensor
    movement: tf.Tensor
    acceptance: tf.Tensor
    x: tf.Tensor | None = None


def step_info(
    before: tf.Tensor,
    after: tf.Tensor,
    energy: tf.Tensor,
    gradient: tf.Tensor,
    acceptance: tf.Tensor | None = None,
) -> ChainInfo:
    """The `ChainInfo` of one step from `before` to `after`."""
    return ChainInfo(
        energy,
        tf.sqrt(squared_norm(gradient)),
        tf.sqrt(squared_norm(after - before)),
        tf.ones_like(energy) if acceptance is None else acceptance,
    )


def run_chain(
    step: Callable,
    state: Any,
    num_steps: int,
    *,
    first: int = 0,
    keep: bool = False,
    unroll: bool = False,
):
    """Takes `num_steps` steps.

    Args:
        step: callable `(index, state) -> (state, ChainInfo)`, the index an
            integer scalar; the state a named tuple with a field `x`.
        state: to start from.
        num_steps: int >= 0.
        first: int, the first index.
        keep: bool, whether to keep where the chains went.
        unroll: bool, writes the steps out one by one, which lets gradients
            through; else they are a loop of the graph.

    Returns:
        `(state, info)` with the infos of all steps stacked.
    """
    if unroll or not num_steps:
        infos = []
        for index in range(first, first + num_steps):
            state, info = step(index, state)
            infos.append(info._replace(x=state.x if keep else None))
        return state, _stack(infos, state)

    shapes = [tf.shape(state.x)[:1]] * 4 + [tf.shape(state.x)] * keep
    arrays = [
        tf.TensorArray(tf.float32, num_steps, element_shape=_static(shape, state.x))
        for shape in shapes
    ]

    def body(i, state, arrays):
        following, info = step(first + i, state)
        values = [*info[:4], *([following.x] if keep else [])]
        arrays = [array.write(i, v) for array, v in zip(arrays, values, strict=True)]
        return i + 1, following, arrays

    _, state, arrays = tf.while_loop(
        lambda i, *_: i < num_steps,
        body,
        (tf.constant(0), state, arrays),
        maximum_iterations=num_steps,
    )
    values = [tf.stop_gradient(array.stack()) for array in arrays]
    state = type(state)(*(tf.stop_gradient(part) for part in state))
    return state, ChainInfo(*values)


def run_sampler(
    sampler: Any,
    energy_fn: Callable,
    state: Any,
    *,
    num_steps: int,
    random: RandomDraws,
    labels: tf.Tensor | None = None,
    first_step: int = 0,
    keep: bool = False,
    differentiable: bool = False,
):
    """Runs a batch of chains by any sampler.

    Args:
        sampler: the numbers of a step as a named tuple with two methods:
            `init(energy_fn, x) -> state` and
            `step(energy_fn, state, random) -> (state, ChainInfo)`, such as `Langevin`.
        energy_fn: callable from `(batch, ...)` to energies `(batch,)` in nats;
            with `labels`, from `(x, y)`.
        state: to start from, what `init` gave.
        num_steps: int >= 0.
        random: `keras_ebm.random.StepRandom`; each step draws its own noise.
        labels: int tensor `(batch,)`, or float `(batch, D)` of vectors; with another
            axis in front, of `first_step + num_steps`, another label at each step; or
            None.
        first_step: int, number of the first step, for chains that go on.
        keep: bool, whether `info.x` holds where the chains went.
        differentiable: bool, lets gradients through the steps, at their cost in
            memory.

    Returns:
        `(state, info)`: where the chains end, and `ChainInfo` of shape
        `(num_steps, batch)`.
    """

    def step(index, state):
        at_labels = _at_labels(energy_fn, labels, index)
        return sampler.step(at_labels, state, random.fold(index))

    return run_chain(
        step, state, num_steps, first=first_step, keep=keep, unroll=differentiable
    )


def _at_labels(energy_fn, labels, index):
    if labels is None:
        return energy_fn
    by_step = labels.shape.rank > (2 if labels.dtype.is_floating else 1)
    current = labels[index] if by_step else labels
    return lambda x: energy_fn(x, current)


def _static(shape, x):
    return x.shape[:1] if shape.shape[0] == 1 else x.shape


def _stack(infos, state) -> ChainInfo:
    if not infos:
        empty = tf.zeros([0, tf.shape(state.x)[0]])
        return ChainInfo(empty, empty, empty, empty)
    columns = zip(*infos, strict=True)
    return ChainInfo(*(None if c[0] is None else tf.stack(c) for c in columns))
