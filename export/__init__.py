"""Programs around SavedModels; their code is in `keras_ebm.export`."""
