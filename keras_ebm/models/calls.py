"""Keras's `compile`, `fit` and `evaluate` with their arguments checked."""

from __future__ import annotations

import warnings

from keras_ebm.models.label_checks import check_array
from keras_ebm.models.loss_scaling import with_loss_scale


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

    def fit(self, x=None, y=None, *args, validation_data=None, **kwargs):
        """Trains as Keras's `fit` does, with labels that are numbers of classes.

        Args:
            x: raw inputs, or batches `(x, y)`, of which `y` may be absent.
            y: labels `(n,)` from 0 to `num_classes - 1`; -1, and NaN or NA among
                floats and objects, mean unlabelled.
            *args: further arguments of Keras's `fit`, as are `validation_data` and
                `kwargs`.

        Raises:
            ValueError: if a label in an array is another one, or an array of inputs
                is not finite. In batches such a label is a
                `tf.errors.InvalidArgumentError` of its step.
        """
        x = self.as_inputs(x)
        self.check_finite(x)
        if isinstance(validation_data, tuple) and len(validation_data) > 1:
            inputs, labels, *rest = validation_data
            inputs = self.as_inputs(inputs, "validation_data")
            self.check_finite(inputs)
            labels = check_array(labels, self.num_classes)
            validation_data = (inputs, labels, *rest)
        y = check_array(y, self.num_classes)
        return super().fit(x, y, *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """Measures as Keras's `evaluate` does; for labels see `fit`.

        Without a labelled row `accuracy` and `cross_entropy` are NaN, and a
        `UserWarning` says so.
        """
        x = self.as_inputs(x)
        y = check_array(y, self.num_classes)
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
