"""Energy models of tables as scikit-learn estimators.

They need scikit-learn: `pip install "keras_ebm[data]"`.
"""

from keras_ebm.estimators.class_shares import ClassShares
from keras_ebm.estimators.classifier import EnergyClassifier
from keras_ebm.estimators.few_labels import KernelClassifier
from keras_ebm.estimators.imputer import EnergyImputer
from keras_ebm.estimators.outlier_detector import EnergyOutlierDetector
from keras_ebm.estimators.pseudo_labels import PseudoLabels

__all__ = [
    "ClassShares",
    "EnergyClassifier",
    "EnergyImputer",
    "EnergyOutlierDetector",
    "KernelClassifier",
    "PseudoLabels",
]
