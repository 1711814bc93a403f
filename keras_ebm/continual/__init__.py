"""Classes that come one after another: streams, learners, and what they forget."""

from keras_ebm.continual.chain_learner import ChainLearner
from keras_ebm.continual.class_stream import Task, class_stream
from keras_ebm.continual.density_learner import DensityLearner
from keras_ebm.continual.features import Features, cosine_features, flat_rows
from keras_ebm.continual.first_task_scaling import FirstTaskScaling
from keras_ebm.continual.keras_learner import KerasLearner
from keras_ebm.continual.learner import Learner
from keras_ebm.continual.nearest_mean import NearestMean
from keras_ebm.continual.ridge_features import RidgeFeatures
from keras_ebm.continual.run_stream import StreamResult, run_stream
from keras_ebm.continual.streaming_lda import StreamingLDA

__all__ = [
    "ChainLearner",
    "DensityLearner",
    "Features",
    "FirstTaskScaling",
    "KerasLearner",
    "Learner",
    "NearestMean",
    "RidgeFeatures",
    "StreamResult",
    "StreamingLDA",
    "Task",
    "class_stream",
    "cosine_features",
    "flat_rows",
    "run_stream",
]
