"""Keras callbacks."""

from keras_ebm.callbacks.agreement_watch import AgreementWatch
from keras_ebm.callbacks.doctor import Doctor
from keras_ebm.callbacks.entropy_watch import EntropyWatch
from keras_ebm.callbacks.for_optimizer import ForOptimizer
from keras_ebm.callbacks.keep_best import KeepBest
from keras_ebm.callbacks.keep_checkpoints import KeepCheckpoints
from keras_ebm.callbacks.label_watch import LabelWatch
from keras_ebm.callbacks.progress import Progress
from keras_ebm.callbacks.reading_guide import ReadingGuide
from keras_ebm.callbacks.sample_pictures import SamplePictures
from keras_ebm.callbacks.stop_on_divergence import StopOnDivergence

__all__ = [
    "AgreementWatch",
    "Doctor",
    "EntropyWatch",
    "ForOptimizer",
    "KeepBest",
    "KeepCheckpoints",
    "LabelWatch",
    "Progress",
    "ReadingGuide",
    "SamplePictures",
    "StopOnDivergence",
]
