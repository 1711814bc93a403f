"""JSON that the programs write and read."""

import json
from pathlib import Path

from keras_ebm import files
from keras_ebm.arguments import listed


def write_json(path, values: dict) -> None:
    """Writes `values` as JSON; a number that is not finite is an error.

    The file is whole or as it was before; see `keras_ebm.files`.
    """
    text = json.dumps(values, indent=2, allow_nan=False)
    files.write_text(path, text + "\n")


def is_cut_off(error: ValueError) -> bool:
    """Whether an error of `read_shaped` is that of a file which ends too early."""
    return isinstance(error.__cause__, json.JSONDecodeError)


def print_metrics(metrics: dict) -> None:
    """Prints one measure a line."""
    for name, value in metrics.items():
        text = f"{value:.4f}" if isinstance(value, float) else value
        print(f"{name:10s} {text}")


def read_json(path) -> dict:
    """Reads JSON as it is; what must be of a shape is read by `read_shaped`."""
    return json.loads(Path(path).read_text("utf-8"))


def read_shaped(
    path,
    shape: dict,
    remedy: str = "restore the file that was written, or run the program again",
) -> dict:
    """Reads a JSON object that a program wrote.

    Args:
        path: of the file.
        shape: type, or tuple of types, of each key that it must have.
        remedy: what to do where it is none, for the error.

    Raises:
        ValueError: if it cannot be read, is no JSON, or of another shape; names the
            file and the key. Its cause tells a file that is cut off: it is a
            `json.JSONDecodeError`.
    """
    try:
        values = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} must be JSON as it was written. Received: a file that cannot be "
            f"read ({error}); {remedy}."
        ) from error
    check_shape(path, values, shape, remedy)
    return values


def check_shape(path, values, shape: dict, remedy: str, where: str = "") -> None:
    """Raises ValueError unless JSON is an object with the keys and types of `shape`."""
    if not isinstance(values, dict):
        keys = f" with {listed(shape)}" if shape else ""
        raise ValueError(
            f"{path}{where} must hold an object{keys}. Received: a "
            f"{type(values).__name__}; {remedy}."
        )
    for name, kind in shape.items():
        kinds = kind if isinstance(kind, tuple) else (kind,)
        # Python takes true and false for the numbers 1 and 0.
        wrong_bool = isinstance(values.get(name), bool) and bool not in kinds
        if name not in values or wrong_bool or not isinstance(values[name], kind):
            received = (
                f"a {type(values[name]).__name__}" if name in values else "no such key"
            )
            raise ValueError(
                f"{path}{where} must have {name!r}, of type "
                f"{' or '.join(k.__name__ for k in kinds)}. Received: {received}; "
                f"{remedy}."
            )
