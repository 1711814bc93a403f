"""Defaults that a run's rows do not allow: what takes their place.

A flag's value that nobody passed, but its default or a preset gave, is changed to one
that works, and stderr says so. What was passed is never changed: it is refused later,
with the rule that it breaks.
"""

import sys

import numpy as np

from keras_ebm.trainers.program import options
from keras_ebm.trainers.program.options import FLAGS
from keras_ebm.trainers.run import fitting


def adapt(name: str, value, why: str) -> None:
    """Changes a flag that was not passed, and says so; else leaves it."""
    if FLAGS[name].present or FLAGS[name].value == value:
        return
    FLAGS[name].value = value
    text = str(value).lower() if isinstance(value, bool) else value
    sys.stderr.write(f"{name}={text}, as {why}\n")


def adapt_batch(y: np.ndarray, strategy=None) -> None:
    """Makes a batch no larger than the training rows, and one that replicas share.

    Args:
        y: labels of the training rows, `(n,)`.
        strategy: `tf.distribute` strategy or None.
    """
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    # Where some rows are unlabelled, a batch is two halves.
    halves = 2 if 0 < np.sum(y >= 0) < len(y) else 1
    given = FLAGS.batch_size
    if given > len(y):
        # An even number, as a batch of other labels would have to be.
        shared = 2 * replicas if len(y) >= 2 * replicas else halves * replicas
        largest = max(len(y) // shared, 1) * shared
        adapt("batch_size", largest, f"there are {len(y)} training rows")
    elif given % (halves * replicas):
        shared = halves * replicas
        nearest = max(1, given // shared) * shared
        adapt("batch_size", nearest, f"{replicas} replicas share a batch")


def adapt_buffer() -> None:
    """Makes a replay buffer hold a batch, or a batch no larger than the buffer."""
    if "buffer_size" not in FLAGS or ("buffer" in FLAGS and FLAGS.buffer == "none"):
        return
    if "correction" in FLAGS and FLAGS.correction != "chains":
        return
    if FLAGS.batch_size > FLAGS.buffer_size > 0:
        adapt("buffer_size", FLAGS.batch_size, "it has to hold a batch")
    if FLAGS.batch_size > FLAGS.buffer_size > 0:
        adapt("batch_size", FLAGS.buffer_size, "the buffer holds no more")


def adapt_parts(total: int, least: int = 1) -> None:
    """Makes `--validate_every` divide the steps of a run into `least` parts or more."""
    given = FLAGS.validate_every
    if given > 0 and total >= least and (total % given or given * least > total):
        nearest = fitting.nearest_divisor(total, min(given, total // least))
        while nearest * least > total:
            nearest = fitting.nearest_divisor(total, nearest // 2)
        adapt("validate_every", nearest, f"it has to divide the {total} steps")


def adapt_training(run, fit_class, strategy=None) -> None:
    """Changes what `train-vera` and `train-langevin` were not told of.

    Args:
        run: `RunData`.
        fit_class: `FitSettings` of the program.
        strategy: `tf.distribute` strategy or None.
    """
    _, y = run.rows("train")
    adapt_batch(y, strategy)
    adapt_buffer()
    if FLAGS.keep_best and run.dataset.num_classes < 2:
        adapt("keep_best", False, "there are no classes whose accuracy tells the best")
    if FLAGS.stop_without_labels != "none":
        adapt("keep_best", False, "stop_without_labels chooses the weights")
    fit = options.from_flags(fit_class)
    if 0 < fit.batch_size <= len(y) and fit.epochs > 0 and fit.steps >= 0:
        total = fitting.total_steps(fit, y)
        adapt_parts(total)
        check_checkpoints(fit.checkpoint_every, total)


def check_checkpoints(every: int, total: int) -> None:
    """Refuses checkpoints that were passed and of which a run would not write one.

    Raises:
        ValueError: if the run has fewer steps than lie between two.
    """
    if every > total and FLAGS["checkpoint_every"].present:
        raise ValueError(
            f"`checkpoint_every` must be at most the {total} steps of the run, or no "
            f"checkpoint is kept. Received: checkpoint_every={every}; lower it, or "
            "leave it out."
        )
