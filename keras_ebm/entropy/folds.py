"""Samples that a generator reaches from two sides: the fold of its image."""

import math

import tensorflow as tf


def fold_excess(
    x: tf.Tensor,
    means: tf.Tensor,
    jacobians: tf.Tensor,
    log_density: tf.Tensor,
    width: float = 0.3,
):
    """`log(1 + q_opposite(x) / q_own(x))`: what a local density misses at a fold.

    Where latent and data dimension agree, a decoder may cover a region twice,
    with Jacobians of opposite sign. An estimate of `log q(x)` from the sheet
    that a sample came from leaves out the other sheet,

        q_opposite(x_i) = mean_j [sign det J_j != sign det J_i]
                          N(x_i; g(z_j), width^2 J_j J_j' + I)

    in units of the generator's noise (`GaussianGenerator.whitened`). Sheets of
    the same sign are not seen. Pairs are formed within the batch, or within a
    replica's share of it.

    Args:
        x: `(batch, D)` samples, in units of the noise.
        means: `(batch, D)`, `g(z)`, likewise.
        jacobians: `(batch, D, D)`, transposed (`dense_jacobian`).
        log_density: `(batch,)`, estimates of `log q(x)` from the own sheet, nats.
        width: float > 0, size of a sample's neighbourhood in the latent.

    Returns:
        Tensor of shape `(batch,)`, at least 0, in nats; differentiable.
    """
    size = x.shape[-1]
    covariance = width**2 * tf.linalg.matmul(jacobians, jacobians, transpose_a=True)
    covariance += tf.eye(size)
    factor = tf.linalg.cholesky(covariance)
    # Row j: the distances of every sample to sample j's neighbourhood.
    offsets = tf.transpose(x[:, None] - means[None], [1, 2, 0])
    whitened = tf.linalg.triangular_solve(factor, offsets)
    log_kernel = (
        -0.5 * tf.reduce_sum(tf.square(whitened), axis=1)
        - tf.reduce_sum(tf.math.log(tf.linalg.diag_part(factor)), axis=-1)[:, None]
        - 0.5 * size * math.log(2.0 * math.pi)
    )
    sign = tf.sign(_determinant(jacobians))
    opposite = sign[:, None] != sign[None]
    count = tf.cast(tf.shape(x)[0], tf.float32)
    # -1e30 in place of minus infinity, whose gradient would be NaN.
    masked = tf.where(opposite, log_kernel, -1e30)
    log_opposite = tf.reduce_logsumexp(masked, axis=0) - tf.math.log(count)
    return tf.math.softplus(log_opposite - log_density)


def _determinant(matrices):
    if matrices.shape[-1] != 2:
        return tf.linalg.det(matrices)
    # Written out: XLA has no determinant.
    first, second = matrices[:, 0], matrices[:, 1]
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
