from sklearn.utils.estimator_checks import parametrize_with_checks

from keras_ebm.estimators import EnergyClassifier

#: Small and without a graph, as scikit-learn's checks fit some fifty of them.
QUICK = {
    "hidden": (16,),
    "generator_hidden": (8,),
    "dropout": 0.0,
    "steps": 60,
    "batch_size": 32,
    "learning_rate": 0.02,
    "ramp_steps": 0,
    "random_state": 0,
    "run_eagerly": True,
}


@parametrize_with_checks([EnergyClassifier("supervised", **QUICK)])
def test_it_keeps_to_the_conventions_of_scikit_learn(estimator, check):
    check(estimator)
