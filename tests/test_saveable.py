"""Configurations by the names of a constructor's arguments."""

import keras
import numpy as np

from keras_ebm.saveable import Saveable


class Shape(Saveable):
    _values = ("sides", "unit")

    def __init__(self, sides, unit="m"):
        self.sides, self.unit = sides, unit


class Painted(Shape):
    _values = ("coats",)
    _parts = ("paint", "frame")

    def __init__(self, sides, unit="m", coats=1, paint=None, frame=None):
        super().__init__(sides, unit)
        self.coats, self.paint, self.frame = coats, paint, frame


class SavedDense(Saveable, keras.layers.Dense):
    _values = ("note",)

    def __init__(self, units, note="", **kwargs):
        super().__init__(units, **kwargs)
        self.note = note


def test_a_class_adds_its_arguments_to_those_it_inherits():
    config = Painted((1, 2), coats=3).get_config()
    assert config == {
        "sides": [1, 2],
        "unit": "m",
        "coats": 3,
        "paint": None,
        "frame": None,
    }
    assert Shape._values == ("sides", "unit")
    again = Painted.from_config(config)
    assert (again.sides, again.coats, again.paint) == ([1, 2], 3, None)


def test_tuples_and_arrays_become_lists():
    assert Shape((1, 2)).get_config()["sides"] == [1, 2]
    assert Shape(np.arange(2.0)).get_config()["sides"] == [0.0, 1.0]


def test_a_part_comes_back_as_the_object_it_was():
    config = Painted([1], paint=keras.layers.Dense(3), frame="oak").get_config()
    again = Painted.from_config(config)
    assert isinstance(again.paint, keras.layers.Dense) and again.paint.units == 3
    assert again.frame == "oak"


def test_what_keras_keeps_of_a_layer_is_kept():
    layer = SavedDense(3, note="n", name="last", activation="relu")
    again = SavedDense.from_config(layer.get_config())
    assert (again.name, again.units, again.note) == ("last", 3, "n")
    assert again.activation is keras.activations.relu
