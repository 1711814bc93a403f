"""From a calibrated detector to a SavedModel that answers like it."""

from keras_ebm.serving.export import export_classifier, export_ood_scorer
from keras_ebm.serving.verify import verify

__all__ = ["export_classifier", "export_ood_scorer", "verify"]
