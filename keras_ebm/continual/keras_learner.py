"""Any Keras classifier as a learner of a stream."""

from collections.abc import Callable, Iterable

import keras
import numpy as np

from keras_ebm.arguments import check_size
from keras_ebm.continual.learner import Learner


class KerasLearner(Learner):
    """Fits one Keras model to each task in turn: fine-tuning.

    The model has an output for every class of the stream. It is told no task: among the
    classes seen so far, the highest output is chosen. A classifier trained by its
    cross-entropy forgets the former tasks, since each pushes all other outputs down.

    Args:
        model: compiled Keras model from rows to `(batch, K)` logits or probabilities,
            such as a `keras.Sequential` or a model of this package, whose classes are
            the integers from 0 to K - 1.
        epochs: int >= 1, passes over a task while it lasts.
        batch_size: int >= 1.
        before_task: callable on the model before each task, such as
            `lambda model: model.negatives.buffer.reset()`; or None.
        **fit: further arguments of `model.fit`, such as `callbacks`.

    Raises:
        ValueError: if the model is not compiled.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        epochs: int = 1,
        batch_size: int = 128,
        before_task: Callable[[keras.Model], object] | None = None,
        **fit,
    ):
        super().__init__()
        if getattr(model, "optimizer", None) is None:
            raise ValueError(
                "`model` must be compiled, as its optimizer lasts over all tasks. "
                "Received: a model without an optimizer; call model.compile(...)."
            )
        self.model = model
        self.epochs = check_size("epochs", epochs)
        self.batch_size = check_size("batch_size", batch_size)
        self.before_task = before_task
        self.fit_arguments = {"verbose": 0, "shuffle": False, **fit}

    @property
    def looks_once(self) -> bool:  # type: ignore[override]
        """Whether there is a single pass over a task's rows."""
        return self.epochs == 1

    def learn_task(self, x: np.ndarray, y: np.ndarray) -> None:
        self._check_classes(y)
        if self.before_task is not None:
            self.before_task(self.model)
        self.model.fit(
            x,
            y,
            epochs=self.epochs,
            batch_size=self.batch_size,
            **self.fit_arguments,
        )

    def class_scores(self, x: np.ndarray) -> np.ndarray:
        outputs = self.model.predict(x, batch_size=1_000, verbose=0)
        return np.asarray(outputs, np.float32)[:, self.classes]

    def kept(self) -> Iterable:
        variables = {id(v): v for v in self.model.variables}
        variables |= {id(v): v for v in self.model.optimizer.variables}
        return [keras.ops.convert_to_numpy(v) for v in variables.values()]

    def _check_classes(self, y) -> None:
        outputs = getattr(self.model, "num_classes", None)
        size = outputs or self.model.output_shape[-1]
        if y.max() >= size:
            raise ValueError(
                "`model` must have an output for each class. Received: class "
                f"{y.max()} for {size} outputs; build it with at least {y.max() + 1}."
            )
