"""Settings of adversarial training, an option of every model with classes."""

import dataclasses

from keras_ebm.robust import NORMS, Adversarial
from keras_ebm.trainers.program.options import Checked, setting


@dataclasses.dataclass(frozen=True)
class AdversarialSettings(Checked):
    """How far and how hard rows of the cross-entropy are attacked."""

    CHOICES = {"adversarial_norm": NORMS}
    SUBJECTS = {"adversarial_bound": "Attacked rows"}

    adversarial_bound: float = setting(
        0.0,
        "Largest change of the rows that the cross-entropy is trained on, which are "
        "attacked: of images where a pixel goes from 0 to 1, of others in units of "
        "preprocessed inputs. 0 attacks none.",
        low=0,
    )
    adversarial_norm: str = setting("linf", "Norm of that change.")
    adversarial_steps: int = setting(
        10, "Steps of gradient ascent, each a pass of the classifier.", low=1
    )
    adversarial_share: float = setting(
        1.0, "Share of each batch's rows that are attacked.", above=0, high=1
    )


def build_adversarial(
    settings: AdversarialSettings, value_range: tuple[float, float] | None
) -> dict:
    """Arguments of an `EnergyModel` for inputs with that range of pixels, or None."""
    if not settings.adversarial_bound:
        return {}
    unit = value_range[1] - value_range[0] if value_range else 1.0
    adversarial = Adversarial(
        settings.adversarial_bound * unit,
        norm=settings.adversarial_norm,
        box=value_range,
        num_steps=settings.adversarial_steps,
        share=settings.adversarial_share,
    )
    return {"adversarial": adversarial}
