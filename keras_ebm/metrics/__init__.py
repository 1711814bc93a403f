"""Measures of detection and of calibration, as functions and Keras metrics."""

from keras_ebm.metrics.calibration import (
    Reliability,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)
from keras_ebm.metrics.calibration_metrics import BrierScore, ExpectedCalibrationError
from keras_ebm.metrics.detection import (
    aupr,
    auroc,
    bootstrap_interval,
    detection_report,
    fpr_at_recall,
)
from keras_ebm.metrics.detection_metrics import AUROC, FPRAtRecall

__all__ = [
    "AUROC",
    "BrierScore",
    "ExpectedCalibrationError",
    "FPRAtRecall",
    "Reliability",
    "aupr",
    "auroc",
    "bootstrap_interval",
    "brier_score",
    "detection_report",
    "expected_calibration_error",
    "fpr_at_recall",
    "negative_log_likelihood",
    "reliability",
]
