"""Settings of what is asked of rows without labels, and the methods by name."""

import dataclasses
import math

from keras_ebm.objectives import SemiSupervised
from keras_ebm.trainers.program.options import Checked, setting

#: Flags of the methods that one `--method` chooses among, beside those of the preset.
_NO_ENERGY = {"negatives": "none", "gradient_penalty": 0.0}
_PENALTY = {"negatives": "none"}
_VAT = {"virtual_adversarial_weight": 0.3}
VERA_METHODS = {
    "supervised": _NO_ENERGY,
    "gradient_penalty": _PENALTY,
    "entropy": {**_NO_ENERGY, "conditional_entropy_weight": 0.1},
    "pseudo_label": {**_NO_ENERGY, "pseudo_label_weight": 1.0},
    "vat": {**_NO_ENERGY, **_VAT},
    "vera": {},
    "vera+entropy": {"conditional_entropy_weight": 0.3},
    "vera+pseudo_label": {"pseudo_label_weight": 1.0},
    "vera+vat": _VAT,
}
CHAIN_METHODS = {
    "chains": {},
    "chains+entropy": {"conditional_entropy_weight": 0.3},
    "chains+vat": _VAT,
}


@dataclasses.dataclass(frozen=True)
class SemiSupervisedSettings(Checked):
    """Weights of the terms on rows without labels."""

    SUBJECTS = {
        "conditional_entropy_weight": "Rows without labels",
    }

    conditional_entropy_weight: float = setting(
        0.0, "Weight of the entropy of p(y|x) on unlabelled rows.", low=0
    )
    pseudo_label_weight: float = setting(
        0.0,
        "Weight of the cross-entropy of unlabelled rows with the label that the "
        "network gives them.",
        low=0,
    )
    pseudo_label_threshold: float = setting(
        0.95,
        "Probability from which the network's guess counts as a label.",
        low=0,
        high=1,
    )
    virtual_adversarial_weight: float = setting(
        0.0, "Weight of virtual adversarial training (VAT).", low=0
    )
    adversarial_radius: float = setting(
        0.1,
        "Radius of virtual adversarial training, over the square root of the number of "
        "inputs.",
        above=0,
    )
    ramp_steps: int = setting(
        0, "Steps over which all terms but the cross-entropy rise from 0.", low=0
    )


def build_semi_supervised(settings: SemiSupervisedSettings, shape) -> dict:
    """Arguments of an `EnergyModel` for inputs of `shape`."""
    arguments = {
        "conditional_entropy_weight": settings.conditional_entropy_weight,
        "ramp_steps": settings.ramp_steps,
    }
    if settings.pseudo_label_weight or settings.virtual_adversarial_weight:
        arguments["semi_supervised"] = SemiSupervised(
            pseudo_label_weight=settings.pseudo_label_weight,
            pseudo_label_threshold=settings.pseudo_label_threshold,
            virtual_adversarial_weight=settings.virtual_adversarial_weight,
            radius=settings.adversarial_radius * math.sqrt(math.prod(shape)),
        )
    return arguments
