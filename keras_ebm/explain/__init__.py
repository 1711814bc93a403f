"""Why a row of a table has its energy, and what would make it acceptable.

Contributions and changes are about the model, not about the world: they say what
the energy makes of a column, not what causes what.
"""

from keras_ebm.explain.explainer import Change, Contributions, Explainer
from keras_ebm.explain.integrated_gradients import integrated_gradients
from keras_ebm.explain.nearest import Place, nearest_acceptable

__all__ = [
    "Change",
    "Contributions",
    "Explainer",
    "Place",
    "integrated_gradients",
    "nearest_acceptable",
]
