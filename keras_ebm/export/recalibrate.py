r"""Writes the next version of an export, with thresholds of new known rows.

The weights, the score and the names stay, and neither Keras nor the training run is
asked for. Use it where what is known has changed a little, as after an alarm of
`keras-ebm monitor`, or for another rate, or one within each predicted class. The rows
must be known ones that nothing of the model was trained or chosen on. TF Serving takes
the new version by itself, and the earlier one again if that folder is removed. Run it
as:

    keras-ebm recalibrate --model=served/table --calibration=csv:known.csv
"""

import dataclasses
from pathlib import Path

from keras_ebm.arguments import listed
from keras_ebm.data import forms
from keras_ebm.export.loading import load_signature
from keras_ebm.export.predict import (
    AskedSettings,
    PredictSettings,
    find_version,
    read_card,
    read_request,
)
from keras_ebm.serving.export import version_number
from keras_ebm.serving.recalibrating import recalibrate
from keras_ebm.trainers.program import errors, options, running
from keras_ebm.trainers.program.options import setting


@dataclasses.dataclass(frozen=True)
class RecalibrateSettings(AskedSettings):
    """Which export gets which thresholds."""

    calibration: str = setting(
        "",
        "Spec of known rows that training and the choice of the model did not see: "
        f"{listed(forms(with_options=True))}.",
    )
    target_fpr: float | None = setting(
        None,
        "Share of known inputs that may be refused; default that of the export.",
        above=0,
        below=1,
    )
    per_class: bool = setting(False, "Calibrate within each predicted class.")


def main(argv):
    del argv
    for name in ("model", "calibration"):
        options.require(name)
    settings = options.from_flags(RecalibrateSettings)
    with errors.usage_errors():
        version = find_version(Path(settings.model))
        card = read_card(version)
        loaded, signature = load_signature(version, "at_rate", card)
        specs = loaded.signatures["serving_default"].structured_input_signature[1]
        read = {
            f.name: getattr(settings, f.name) for f in dataclasses.fields(AskedSettings)
        }
        asked = PredictSettings(dataset=settings.calibration, **read)
        request, _ = read_request(asked, card, specs)
        numbered = version_number(version) is not None
        path, conformal = recalibrate(
            loaded,
            card,
            request,
            version.parent if numbered else version,
            target_fpr=settings.target_fpr,
            per_class=settings.per_class,
        )
    print(
        f"{path}: false-alarm rate {settings.target_fpr or card['target_fpr']:g} on "
        f"{int(conformal.sizes.sum())} calibration rows, the weights of {version}"
    )


if __name__ == "__main__":
    options.define_flags(RecalibrateSettings)
    running.run_program(main)
