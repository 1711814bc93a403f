"""How an object goes into a saved model: by the constructor's arguments."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np


class Saveable:
    """Mixin: a configuration out of attributes that bear the arguments' names.

    A class lists its own plain arguments in `_values`, and in `_parts` those that are
    Keras objects themselves, or may be; those of the classes that it extends are put
    before them. Where one of these is a Keras class, which stands after this one in
    the bases, its configuration (a layer's name and type) is kept too.
    """

    _values: tuple[str, ...] = ()
    _parts: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for kind in ("_values", "_parts"):
            names = (vars(base).get(kind, ()) for base in reversed(cls.__mro__))
            setattr(cls, kind, tuple(dict.fromkeys(itertools.chain(*names))))

    def get_config(self) -> dict:
        """The constructor's arguments, as values that JSON can hold."""
        inherited = getattr(super(), "get_config", dict)
        config = dict(inherited())
        for name in self._values:
            config[name] = _plain(getattr(self, name))
        for name in self._parts:
            config[name] = keras.saving.serialize_keras_object(getattr(self, name))
        return config

    @classmethod
    def from_config(cls, config: dict):
        """The object of a configuration, as `get_config` gives it."""
        config = dict(config)
        for name in cls._parts:
            if name in config:
                config[name] = keras.saving.deserialize_keras_object(config[name])
        inherited = getattr(super(), "from_config", None)
        return inherited(config) if inherited else cls(**config)


def _plain(value: Any) -> Any:
    """As JSON has it; Keras would note a tuple or an array in a form of its own."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple | list) else value
