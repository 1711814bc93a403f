"""Loads `.keras` files."""

from pathlib import Path

import keras

from keras_ebm.archives import check_archive


def load_model(path) -> keras.Model:
    """Loads a `.keras` file written by a trainer.

    Raises:
        ValueError: if there is no such file, or it holds no energy model.
    """
    import keras_ebm

    model = load_keras("model", path, "a .keras file that a trainer wrote")
    if not isinstance(model, keras_ebm.BaseEnergyModel):
        raise ValueError(
            "`model` must hold a keras_ebm energy model. Received: "
            f"{path}, which holds a {type(model).__name__}."
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
        check_archive(path)
        return keras.saving.load_model(path, compile=False)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:500]
        raise ValueError(
            f"`{name}` must be {rule}. Received: {path}, which cannot be loaded "
            f"({reason})."
        ) from error
