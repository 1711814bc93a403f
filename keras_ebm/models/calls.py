"""Keras's `compile`, `fit` and `evaluate` with their arguments checked."""

from __future__ import annotations

import warnings
from typing import Any

import tensorflow as tf

from keras_ebm.models.label_checks import check_array, check_vectors
from keras_ebm.models.loss_scaling import with_loss_scale
from keras_ebm.models.weight_checks import (
    check_class_weight,
    check_sample_weight,
    labels_beside_weights,
    rows_of,
    weigh_classes,
)


class ChecksCalls:
    """Mixin for `keras.Model`: calls whose arguments are checked before any work.

    It stands beside `TakesRawInputs`, `ReportsMeans` and `SavesParts`, which it needs.
    """

    #: Those of `_values` that no compiled step reads as a constant.
    _read_anew: tuple[str, ...] = ()

    def compile(self, optimizer="adam", jit_compile=False, **kwargs):
        """Configures training.

        Args:
            optimizer: Keras optimizer of the energy network.
            jit_compile: bool, compiles the step by XLA: no gain on CPUs, but
                several times as fast on GPUs. For one replica only.
            **kwargs: `run_eagerly`, `steps_per_execution`. Losses and metrics
                are the model's own and cannot be passed.

        Raises:
            ValueError: if a loss or a metric is passed, or `jit_compile` under a
                strategy of several replicas.
        """
        for name in ("loss", "metrics", "weighted_metrics", "loss_weights"):
            if kwargs.get(name) is not None:
                raise ValueError(
                    f"`{name}` cannot be set: the losses and metrics of "
                    f"{type(self).__name__} are its own. Received: "
                    f"{name}={kwargs[name]!r}; add other measures as callbacks."
                )
        replicas = self.distribute_strategy.num_replicas_in_sync
        if jit_compile and replicas > 1:
            raise ValueError(
                "`jit_compile` must be False under a strategy of several replicas, "
                "whose gradients XLA cannot add up. Received: "
                f"jit_compile={jit_compile!r} for {replicas} replicas."
            )
        optimizer = with_loss_scale(optimizer, self.network)
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        # Built here, not inside the compiled step: lazily built optimizers
        # fail under strategies and lose their state on a resume.
        self.optimizer.build(self.network.trainable_variables)

    def fit(
        self,
        x=None,
        y=None,
        *args,
        validation_data=None,
        class_weight=None,
        sample_weight=None,
        **kwargs,
    ):
        """Trains as Keras's `fit` does, with labels that are numbers of classes.

        Weights weigh each row's share of the loss: its cross-entropy, or its other
        terms of `p(y|x)`, times its weight, summed over the rows that a term is of and
        divided by their number, as Keras does it; and its energy, in a mean that is
        divided by the sum of the weights, as energies have no zero point. So a weight
        of 0 leaves a row out, and one of 2 stands for two of it. Batch normalisation,
        negatives and the other logs take rows as they come.

        Args:
            x: raw inputs, or batches `(x, y)` or `(x, y, sample_weight)`, of which the
                latter may be absent.
            y: labels `(n,)` from 0 to `num_classes - 1`; -1, and NaN or NA among
                floats and objects, mean unlabelled. Without classes there are none. Of
                a network of vector labels `(n, D)` finite numbers.
            *args: further arguments of Keras's `fit`, as are `validation_data` and
                `kwargs`.
            class_weight: dict from classes to weights, finite and at least 0; rows of
                others, and without a label, weigh 1 (`{-1: weight}` weighs these too).
            sample_weight: weights `(n,)`, finite and at least 0; not with
                `class_weight`.

        Raises:
            ValueError: if a label or a weight in an array is another one, an array of
                inputs is not finite, or negatives are bound to a range of another
                scale than an array's preprocessed rows, such as a generator that ends
                in tanh where these reach 255 (at a lesser distance: a `UserWarning`).
                In batches such a label or weight is a
                `tf.errors.InvalidArgumentError` of its step.
        """
        x = self.as_inputs(x)
        self.check_finite(x)
        if isinstance(validation_data, tuple) and len(validation_data) > 1:
            inputs, labels, *rest = validation_data
            inputs = self.as_inputs(inputs, "validation_data")
            self.check_finite(inputs)
            labels = self._check_targets(labels, inputs)
            rest = [check_sample_weight(weights, rows_of(inputs)) for weights in rest]
            labels = labels_beside_weights(inputs, labels, *rest)
            validation_data = (inputs, labels, *rest)
        y = self._check_targets(y, x)
        x, weights = self._check_weights(x, y, class_weight, sample_weight)
        y = labels_beside_weights(x, y, sample_weight)
        self.check_first_rows(x)
        return super().fit(
            x, y, *args, validation_data=validation_data, **weights, **kwargs
        )

    def _check_targets(self, y, x):
        """Labels of classes, or vectors of a `VectorConditional`, before any step."""
        if not self.label_size:
            return check_array(y, self.num_classes)
        if y is None and rows_of(x) is None:
            return y  # They come with the batches.
        return check_vectors(y, self.label_size, rows_of(x))

    def check_first_rows(self, x: Any) -> None:
        """Looks at what `fit` is given before the first step; here at nothing."""

    def _check_weights(self, x, y, class_weight, sample_weight):
        """The inputs, and Keras's arguments of weights."""
        class_weight = check_class_weight(class_weight, self.num_classes)
        if class_weight is None:
            weights = check_sample_weight(sample_weight, rows_of(x))
            return x, {} if weights is None else {"sample_weight": weights}
        if sample_weight is not None:
            raise ValueError(
                "`class_weight` and `sample_weight` cannot be given together. "
                f"Received: class_weight={class_weight!r} and an array of weights; "
                "multiply the rows' weights by those of their classes."
            )
        if isinstance(x, tf.data.Dataset):
            # Keras's own way knows no rows without a label.
            return weigh_classes(x, class_weight, self.num_classes), {}
        if y is None and rows_of(x) is not None:
            raise ValueError(
                "`class_weight` needs the rows' labels. Received: class_weight="
                f"{class_weight!r} and y=None; give `sample_weight`."
            )
        return x, {"class_weight": class_weight}

    def evaluate(self, x=None, y=None, *args, sample_weight=None, **kwargs):
        """Measures as Keras's `evaluate` does; for labels and weights see `fit`.

        Weights count in the loss alone. Without a labelled row `accuracy` and
        `cross_entropy` are NaN, and a `UserWarning` says so.
        """
        x = self.as_inputs(x)
        y = self._check_targets(y, x)
        if sample_weight is not None:
            kwargs["sample_weight"] = check_sample_weight(sample_weight, rows_of(x))
            y = labels_beside_weights(x, y, sample_weight)
        results = super().evaluate(x, y, *args, **kwargs)
        # Not after every epoch of `fit`, which asks with an iterator of its own.
        if self.has_no_labels() and "_use_cached_eval_dataset" not in kwargs:
            warnings.warn(
                "`evaluate`: no row has a label, so that there is no accuracy and no "
                "cross-entropy: both are NaN",
                stacklevel=2,
            )
        return results

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name in self._values and name not in self._read_anew:
            self._trace_again()

    def _trace_again(self) -> None:
        """Has compiled steps read the settings anew, which are constants in them."""
        for step in ("train", "test", "predict"):
            if getattr(self, f"{step}_function", None) is not None:
                getattr(self, f"make_{step}_function")(force=True)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Every part is built; the hook fails on uneven shards of a strategy.
        pass
