"""How an object goes into a saved model: by the constructor's arguments."""

from __future__ import annotations

import keras


class Saveable:
    """Mixin: a configuration out of attributes that bear the arguments' names.

    A class lists its plain arguments in `_values`, those that are Keras objects
    themselves in `_parts`, and both may add to those of the class that it extends.
    Beside it in the bases, and after it, may stand a Keras class, whose configuration
    (a layer's name and type) is kept.
    """

    _values: tuple[str, ...] = ()
    _parts: tuple[str, ...] = ()

    def get_config(self) -> dict:
        inherited = getattr(super(), "get_config", dict)
        config = dict(inherited())
        for name in self._values:
            value = getattr(self, name)
            # As JSON has it; Keras would note a tuple in a form of its own.
            config[name] = list(value) if isinstance(value, tuple) else value
        for name in self._parts:
            part = getattr(self, name)
            config[name] = (
                None if part is None else keras.saving.serialize_keras_object(part)
            )
        return config

    @classmethod
    def from_config(cls, config: dict):
        config = dict(config)
        for name in cls._parts:
            if config.get(name) is not None:
                config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)
