"""Settings refuse what their fields may not be, and all presets are allowed."""

import dataclasses

import pytest

from keras_ebm.trainers import attack, langevin, likelihood, presets, rollout, vera
from keras_ebm.trainers.program.options import Checked, setting
from keras_ebm.trainers.settings.chains import ChainSettings
from keras_ebm.trainers.settings.data import DataSettings
from keras_ebm.trainers.settings.density import DensitySettings
from keras_ebm.trainers.settings.vera import ModelSettings


@dataclasses.dataclass(frozen=True)
class Example(Checked):
    CHOICES = {"colour": ("red", "blue")}

    share: float = setting(0.5, "A share.", low=0, below=1)
    count: int = setting(1, "A count.", low=1)
    weight: float | None = setting(None, "A weight.", above=0)
    colour: str = setting("red", "A colour.")
    names: tuple = setting((), "Names.")
    on: bool = setting(True, "Whether.")


@pytest.mark.parametrize(
    "values, rule",
    [
        ({"share": 1.0}, "`share` must be a finite number of at least 0 and below 1"),
        ({"share": -0.1}, "share=-0.1; the default is 0.5"),
        ({"share": float("nan")}, "share=nan"),
        ({"share": "half"}, "share='half'"),
        ({"count": 0}, "`count` must be an integer of at least 1"),
        ({"count": True}, "count=True"),
        ({"count": 1.5}, "count=1.5"),
        ({"count": 2**31}, "at most 2147483647. Received: count=2147483648"),
        ({"weight": 0.0}, "`weight` must be a finite number above 0. Received"),
        ({"weight": float("inf")}, "weight=inf"),
        ({"colour": "green"}, "one of 'red', 'blue'. Received: colour='green'"),
        ({"names": "a,b"}, "`names` must be a tuple"),
        ({"on": "yes"}, "`on` must be a bool"),
    ],
)
def test_a_setting_outside_its_range_is_refused_by_name_rule_and_value(values, rule):
    with pytest.raises(ValueError) as error:
        Example(**values)
    assert rule in str(error.value)


def test_the_ends_of_a_range_belong_to_it_as_it_says():
    Example(share=0, count=2**31 - 1, weight=1e-30, names=["a"])


@pytest.mark.parametrize(
    "recipes, classes",
    [
        (presets.VERA_PRESETS, (ModelSettings, vera.FitSettings)),
        (presets.LANGEVIN_PRESETS, (ChainSettings, langevin.FitSettings)),
        (presets.LIKELIHOOD_PRESETS, (DensitySettings, likelihood.StepSettings)),
        (presets.ROLLOUT_PRESETS, (rollout.RolloutSettings,)),
        (attack.PRESETS, (attack.AttackSettings,)),
    ],
)
def test_every_preset_is_within_the_ranges(recipes, classes):
    for recipe in recipes.values():
        for settings_class in (*classes, DataSettings):
            presets.with_preset(recipe, settings_class)
