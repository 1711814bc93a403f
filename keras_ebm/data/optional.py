"""Imports what only some data sources need, or says how to install it."""

import importlib
from types import ModuleType


def require(module: str) -> ModuleType:
    """Imports `module`, a part of the optional `data` dependencies.

    Args:
        module: str, a dotted module name such as `"sklearn.datasets"`.

    Returns:
        The module.

    Raises:
        ImportError: if it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This data source needs `{module.partition('.')[0]}`, which could "
            f'not be imported ({error}). Run `pip install "keras_ebm[data]"`.'
        ) from error
