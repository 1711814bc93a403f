"""From a calibrated detector to a SavedModel that answers like it, and is watched."""

from keras_ebm.serving.drift import DriftMonitor
from keras_ebm.serving.export import export_classifier, export_ood_scorer
from keras_ebm.serving.intervals import share_interval
from keras_ebm.serving.recalibrating import recalibrate
from keras_ebm.serving.reference import Reference
from keras_ebm.serving.verify import verify

__all__ = [
    "DriftMonitor",
    "Reference",
    "export_classifier",
    "export_ood_scorer",
    "recalibrate",
    "share_interval",
    "verify",
]
