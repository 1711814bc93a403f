r"""Exports a trained model as a SavedModel: a classifier that refuses foreign inputs.

Run it as:

    keras-ebm export-classifier --model=runs/digits/model.keras \
        --calibration=digits --target_fpr=0.01 --output=served/digits
"""

from keras_ebm.export.common import define_flags, main_of
from keras_ebm.serving import export_classifier
from keras_ebm.trainers.program import running

main = main_of(export_classifier)

if __name__ == "__main__":
    define_flags()
    running.run_program(main)
