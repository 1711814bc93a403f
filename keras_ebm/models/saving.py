"""How a model of several parts and several optimizers goes into a `.keras` file."""

import keras

from keras_ebm.saveable import Saveable


class SavesParts(Saveable):
    """Mixin for `keras.Model`: names of what is serialised, and the two ways round.

    A subclass lists the Keras objects it is built from in `_parts` and its
    plain arguments in `_values`, each an attribute of the same name, and gives
    its optimizers by the names of `compile`'s arguments in `named_optimizers()`.
    """

    # Without these two, a model whose `compile` takes other arguments than
    # Keras's loads without its optimizers.

    def get_compile_config(self):
        if not self.compiled:
            return None
        serialize = keras.saving.serialize_keras_object
        return {
            name: None if optimizer is None else serialize(optimizer)
            for name, optimizer in self.named_optimizers().items()
        }

    def compile_from_config(self, config):
        deserialize = keras.saving.deserialize_keras_object
        self.compile(
            **{
                name: None if value is None else deserialize(value)
                for name, value in config.items()
            }
        )

    def named_optimizers(self) -> dict:
        raise NotImplementedError
