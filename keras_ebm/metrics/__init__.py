"""Measures of detection, calibration, likelihood and samples; some as Keras metrics."""

from keras_ebm.metrics.calibration import (
    Reliability,
    brier_score,
    expected_calibration_error,
    fit_temperature,
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
    resampled_detection,
)
from keras_ebm.metrics.detection_metrics import AUROC, FPRAtRecall
from keras_ebm.metrics.feature_extraction import InceptionFeatures, extractor_name
from keras_ebm.metrics.likelihood import GridPartition, log_partition_on_grid, nll_gap
from keras_ebm.metrics.modes import (
    ModeCount,
    count_modes,
    mode_count,
    perfect_sampler,
    stack_labels,
    to_pixels,
)
from keras_ebm.metrics.references import (
    ReferenceStatistics,
    reference_statistics,
)
from keras_ebm.metrics.sample_quality import (
    InceptionEstimate,
    KernelEstimate,
    frechet_distance,
    inception_score,
    kernel_distance,
)
from keras_ebm.metrics.sample_quality_metrics import (
    FrechetDistance,
    InceptionScore,
    KernelDistance,
)

__all__ = [
    "AUROC",
    "BrierScore",
    "ExpectedCalibrationError",
    "FPRAtRecall",
    "FrechetDistance",
    "GridPartition",
    "InceptionEstimate",
    "InceptionFeatures",
    "InceptionScore",
    "KernelDistance",
    "KernelEstimate",
    "ModeCount",
    "ReferenceStatistics",
    "Reliability",
    "aupr",
    "auroc",
    "bootstrap_interval",
    "brier_score",
    "count_modes",
    "detection_report",
    "resampled_detection",
    "expected_calibration_error",
    "extractor_name",
    "fit_temperature",
    "fpr_at_recall",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "log_partition_on_grid",
    "mode_count",
    "negative_log_likelihood",
    "nll_gap",
    "perfect_sampler",
    "reference_statistics",
    "reliability",
    "stack_labels",
    "to_pixels",
]
