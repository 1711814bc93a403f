"""Programs that train, evaluate and apply; their code is in `keras_ebm.trainers`."""
