"""Programs that train, evaluate and apply; `keras-ebm` lists them."""
