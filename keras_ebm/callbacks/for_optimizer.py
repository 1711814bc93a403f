"""Keras callbacks that look at `model.optimizer`, pointed at another optimizer."""

import keras


class _View:
    """The model, except that `.optimizer` is another of its optimizers."""

    def __init__(self, model, attribute):
        object.__setattr__(self, "_model", model)
        object.__setattr__(self, "_attribute", attribute)

    def __getattr__(self, name):
        name = self._attribute if name == "optimizer" else name
        return getattr(self._model, name)

    def __setattr__(self, name, value):
        setattr(self._model, name, value)


class ForOptimizer(keras.callbacks.Callback):
    """Applies a learning-rate callback to one optimizer of several.

    Args:
        callback: such as `keras.callbacks.ReduceLROnPlateau(...)`.
        attribute: name of the optimizer on the model, for example
            `"generator_optimizer"`.

    Example:

    >>> ForOptimizer(
    ...     keras.callbacks.ReduceLROnPlateau("val_loss"),
    ...     "generator_optimizer",
    ... )
    """

    def __init__(self, callback: keras.callbacks.Callback, attribute: str):
        super().__init__()
        self.callback = callback
        self.attribute = attribute

    def set_model(self, model):
        if not hasattr(model, self.attribute):
            raise ValueError(
                "`attribute` must name an optimizer of the model. Received: "
                f"attribute={self.attribute!r} for {type(model).__name__}."
            )
        self._model = model
        self.callback.set_model(_View(model, self.attribute))

    def set_params(self, params):
        self.params = params
        self.callback.set_params(params)


def _delegate(name):
    def hook(self, *args, **kwargs):
        return getattr(self.callback, name)(*args, **kwargs)

    hook.__name__ = name
    return hook


for _name in dir(keras.callbacks.Callback):
    if _name.startswith("on_"):
        setattr(ForOptimizer, _name, _delegate(_name))
