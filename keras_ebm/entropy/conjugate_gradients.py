"""Preconditioned conjugate gradients for a batch of Jacobian systems."""

from typing import NamedTuple

import tensorflow as tf

from keras_ebm.jacobians import Linearization


class Solution(NamedTuple):
    """What the iterations leave.

    `w` solves `(J'J + I) w = L u` approximately, shape `(batch, k)`; `image`
    is `J w`, shape `(batch, D)`, free of further products; `log_moment` is
    `u' log(B) u`, shape `(batch,)`, for the preconditioned matrix `B`.
    """

    w: tf.Tensor
    image: tf.Tensor
    log_moment: tf.Tensor


def solve(
    linearization: Linearization, factor: tf.Tensor, u: tf.Tensor, num_iterations: int
) -> Solution:
    """Solves `A w = L u` for `A = J'J + I` and the preconditioner `L L'`.

    Args:
        linearization: `keras_ebm.jacobians.Linearization`.
        factor: `(k, k)`, the lower Cholesky factor `L` of an approximation to
            all of the batch's `A`; the closer, the fewer iterations.
        u: `(batch, k)`.
        num_iterations: int, two Jacobian products each.

    Returns:
        `Solution`; `log_moment` by Lanczos quadrature for `B = L^-1 A L^-T`, so
        that `log det A` is `log det L L'` plus its mean over random signs `u`.

    References:
        - Golub and Meurant (2010), "Matrices, moments and quadrature with
          applications".
    """
    residual = tf.linalg.matmul(u, factor, transpose_b=True)
    direction = precondition(factor, residual)
    squared = _dot(residual, direction)
    w, image, alphas, betas = 0.0, 0.0, [], []
    for _ in range(num_iterations):
        pushed = linearization.product(direction)
        product = linearization.transposed_product(pushed) + direction
        # A system that is solved already has a direction of zero: a step of zero.
        alpha = tf.math.divide_no_nan(squared, _dot(direction, product))
        w += alpha * direction
        image += alpha * pushed
        residual -= alpha * product
        preconditioned = precondition(factor, residual)
        following = _dot(residual, preconditioned)
        beta = tf.math.divide_no_nan(following, squared)
        direction = preconditioned + beta * direction
        squared = following
        alphas.append(alpha[:, 0])
        betas.append(beta[:, 0])
    moment = _log_moment(alphas, betas) * tf.reduce_sum(tf.square(u), axis=-1)
    return Solution(w, image, moment)


def precondition(factor: tf.Tensor, residual: tf.Tensor):
    """`(L L')^-1 r` of each row `r`."""
    return tf.transpose(tf.linalg.cholesky_solve(factor, tf.transpose(residual)))


def backward(factor: tf.Tensor, u: tf.Tensor):
    """`L^-T u` of each row."""
    upper = tf.linalg.matrix_transpose(factor)
    solved = tf.linalg.triangular_solve(upper, tf.transpose(u), lower=False)
    return tf.transpose(solved)


def _log_moment(alphas, betas):
    """`e1' log(T) e1` for the Lanczos matrix `T` of the iterations."""
    done = [alpha == 0 for alpha in alphas]
    inverse = [tf.math.reciprocal_no_nan(alpha) for alpha in alphas]
    diagonal, beside = [], []
    for i, stopped in enumerate(done):
        value = inverse[i] + (betas[i - 1] * inverse[i - 1] if i else 0.0)
        diagonal.append(tf.where(stopped, 1.0, value))
        if i:
            beside.append(tf.sqrt(betas[i - 1]) * inverse[i - 1])
    matrix = tf.linalg.diag(tf.stack(diagonal, axis=-1))
    if beside:
        beside = tf.stack(beside, axis=-1)
        matrix += tf.linalg.diag(beside, k=1) + tf.linalg.diag(beside, k=-1)
    values, vectors = tf.linalg.eigh(matrix)
    return tf.reduce_sum(tf.square(vectors[:, 0]) * tf.math.log(values), axis=-1)


def _dot(a, b):
    return tf.reduce_sum(a * b, axis=-1, keepdims=True)
