"""Loads `.keras` files."""

from pathlib import Path

import keras

from keras_ebm.archives import check_archive

#: Files of HDF5, which Keras writes too.
LEGACY = (".h5", ".hdf5")


def load_model(path, name: str = "model") -> keras.Model:
    """Loads a `.keras` file written by a trainer.

    Args:
        path: of the file.
        name: of the setting that gives it, for the error.

    Raises:
        ValueError: if there is no such file, or it holds no energy model.
    """
    import keras_ebm

    model = load_keras(name, path, "a .keras file that a trainer wrote")
    if not isinstance(model, keras_ebm.BaseEnergyModel):
        raise ValueError(
            f"`{name}` must hold a keras_ebm energy model. Received: "
            f"{path}, which holds a {type(model).__name__}; a classifier of your own "
            f"is adopted by `python -m trainers.adopt --network={path} --dataset=SPEC "
            "--workdir=DIR`, whose model.keras serves."
        )
    return model


def load_keras(name: str, path, rule: str = "a .keras file") -> keras.Model:
    """Loads a `.keras` file.

    Args:
        name: of the setting that gives it, for the error.
        path: of the file.
        rule: what it must be.

    Raises:
        ValueError: if there is no such file, or it is cut off, far larger unpacked
            than on the disk (see `keras_ebm.archives`), or holds no model.
    """
    if not Path(path).is_file():
        raise ValueError(
            f"`{name}` must be {rule}. Received: {path}, which does not exist."
        )
    try:
        if Path(path).suffix not in LEGACY:
            check_archive(path)
        return keras.saving.load_model(path, compile=False)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:500]
        raise ValueError(
            f"`{name}` must be {rule}. Received: {path}, which cannot be loaded "
            f"({reason})."
        ) from error
