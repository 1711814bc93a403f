"""Loads `.keras` files."""

import re
from pathlib import Path

import keras

from keras_ebm.archives import check_archive

#: How Keras tells of what it does not know, in .keras files and in those of HDF5.
_UNKNOWN = re.compile(
    r"(?:Could not locate|Unknown) (?P<kind>\w+(?: function)?):? '(?P<name>[^']*)'"
)
_MODULE = re.compile(r"Full object config: \{'module': '(?P<name>[^']*)'")
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
            f"is adopted by `keras-ebm adopt --network={path} --dataset=SPEC "
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
        raise ValueError(
            f"`{name}` must be {rule}. Received: {path}, which cannot be loaded "
            f"({_reason(error)})."
        ) from error


def _reason(error: BaseException) -> str:
    """Why a file cannot be loaded, and what to do about a class that is not known."""
    chain = [error]
    while chain[-1].__cause__ or chain[-1].__context__:
        chain.append(chain[-1].__cause__ or chain[-1].__context__)
    texts = [str(link) for link in chain]
    for text in reversed(texts):
        unknown = _UNKNOWN.search(text)
        if unknown:
            return _unknown(unknown["kind"], unknown["name"], text)
    if any("`Lambda` layer" in text for text in texts):
        return (
            "a Lambda layer holds code, which no file may bring along: use functions "
            "of keras.ops in its place, or a layer of your own that "
            "keras.saving.register_keras_serializable registers, save the network "
            "again, and pass --import=MODULE, of that layer's module"
        )
    # Keras tells first of the model that a layer could not be made for.
    last = texts[-1] if "could not be deserialized" in texts[0] else texts[0]
    return (last.splitlines() or [type(error).__name__])[0][:500]


def _unknown(kind: str, name: str, text: str) -> str:
    module = _MODULE.search(text)
    own = module["name"] if module and module["name"] != "builtins" else ""
    made = f"; it was made in {own}" if own else ""
    return (
        f"the {kind} {name!r} is not known: pass --import=MODULE, of the module that "
        f"registers it by keras.saving.register_keras_serializable{made}"
    )
