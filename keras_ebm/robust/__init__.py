"""Attacks on classifiers, and what is done against them."""

from keras_ebm.robust.adversarial import Adversarial
from keras_ebm.robust.ball import NORMS, Ball
from keras_ebm.robust.bpda import bpda
from keras_ebm.robust.losses import Evasion, Goal, answer
from keras_ebm.robust.masking_checks import (
    MaskedGradients,
    masking_checks,
    masking_failures,
)
from keras_ebm.robust.pgd import Attacked, pgd
from keras_ebm.robust.refined import Refined
from keras_ebm.robust.square_attack import square_attack
from keras_ebm.robust.transfer import transfer

__all__ = [
    "NORMS",
    "Adversarial",
    "Attacked",
    "Ball",
    "Evasion",
    "Goal",
    "MaskedGradients",
    "Refined",
    "answer",
    "bpda",
    "masking_checks",
    "masking_failures",
    "pgd",
    "square_attack",
    "transfer",
]
