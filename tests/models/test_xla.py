import keras
import pytest
from support import (
    CLASSES,
    FEATURES,
    assert_same_weights,
    batches,
    compile_sgd,
    make_network,
    make_vera,
    rows,
)

from keras_ebm.entropy import LogVolume
from keras_ebm.models import LangevinModel
from keras_ebm.negatives import LangevinMoves, MarkovChains, ReplayBuffer

X, Y = rows(32)


def langevin():
    buffer = ReplayBuffer((FEATURES,), 16, replacement="reservoir", store_labels=True)
    chains = MarkovChains(LangevinMoves(3, 0.05, 0.1), buffer)
    return LangevinModel(make_network(CLASSES), chains)


MODELS = {
    "importance": lambda: make_vera(gradient_penalty=0.1),
    "log_volume": lambda: make_vera(entropy=LogVolume()),
    "chains": langevin,
}


@pytest.mark.parametrize("name", MODELS)
def test_xla_takes_the_same_steps(name):
    models = []
    for jit_compile in (False, True):
        model = MODELS[name]()
        if name == "chains":
            model.compile(keras.optimizers.SGD(0.05), jit_compile=jit_compile)
        else:
            compile_sgd(model, jit_compile=jit_compile)
        data = batches(X, Y, 8)
        # A step of validation is one and the same but for what draws the negatives.
        validation = None if name == "log_volume" else data
        model.fit(data, epochs=1, shuffle=False, verbose=0, validation_data=validation)
        models.append(model)
    assert_same_weights(*models, rtol=1e-4, atol=1e-5)


def test_xla_is_refused_where_it_cannot_add_up_gradients(strategy):
    with strategy.scope():
        model = make_vera()
    with pytest.raises(ValueError, match="jit_compile.*2 replicas"):
        model.compile(jit_compile=True)
