r"""Exports a trained model as a SavedModel: energy, score, p-value and accept flag.

Run it as:

    keras-ebm export-ood-scorer --model=runs/digits/model.keras \
        --calibration=digits --target_fpr=0.01 --output=served/digits
"""

from keras_ebm.export.common import define_flags, main_of
from keras_ebm.serving import export_ood_scorer
from keras_ebm.trainers.program import running

main = main_of(export_ood_scorer)

if __name__ == "__main__":
    define_flags()
    running.run_program(main)
