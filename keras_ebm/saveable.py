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
    #: Whether a part may belong to several objects of one file, which then come back
    #: with one part again. Keras itself tells only of those on one level.
    _shares_parts = False

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
            part = getattr(self, name)
            config[name] = keras.saving.serialize_keras_object(part)
            if self._shares_parts:
                _mark(part, config[name])
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


def _mark(part: Any, config: Any) -> None:
    """Names the object that a configuration is of, as Keras reads it on loading."""
    if isinstance(part, list | tuple):
        for one, of_one in zip(part, config, strict=True):
            _mark(one, of_one)
    elif isinstance(config, dict):
        config["shared_object_id"] = id(part)


def _plain(value: Any) -> Any:
    """As JSON has it; Keras would note a tuple or an array in a form of its own."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple | list) else value
