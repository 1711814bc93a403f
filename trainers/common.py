"""What the programs share: flags from settings, run folders, errors in one line."""

import contextlib
import dataclasses
import json
import math
import numbers
import operator
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf
from absl import app, flags, logging

from keras_ebm import files
from keras_ebm.archives import check_archive
from keras_ebm.arguments import listed
from trainers import flag_errors, stopping

FLAGS = flags.FLAGS

MODEL_FILE = "model.keras"
RUN_FILE = "run.json"
SPLIT_FILE = "split.npz"
#: Folder of a run that is under way: its backups, and its record until it has a model.
BACKUP_FOLDER = "backup"
FLAGS_FILE = "flags.txt"
#: Tables and arrays that a run or a search writes into its folder.
RUN_TABLES = ("history.csv", "trials.csv", SPLIT_FILE)


#: Whole numbers of settings go through 32-bit integers of TensorFlow.
LARGEST = 2**31 - 1
#: What the value of a flag must be, in words, by the name of the flag.
RULES = {}
#: The range of seeds, which numpy and Keras take up to 32 bits of.
SEED = {"low": 0, "high": 2**32 - 2}


def setting(default, help: str, **range_of):
    """A field of a settings dataclass that becomes a flag of the same name.

    Args:
        default: of the field, and of the flag.
        help: str, of the flag.
        **range_of: bounds of a number, both optional: `low` or `above`, which the value
            must be at least or above, and `high` or `below`.
    """
    metadata = {"help": help, "range": range_of}
    return dataclasses.field(default=default, metadata=metadata)


class Checked:
    """Base of settings: a value outside its field's range is refused when they are.

    Raises:
        ValueError: if a value is of another type than its field, a number is not
            finite or outside the range that `setting` was given, or a word is none of
            `CHOICES`.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            rule = broken_rule(type(self), field, value)
            if rule:
                raise ValueError(
                    f"`{flag_name(field)}` must be {rule}. Received: "
                    f"{flag_name(field)}={value!r}; the default is {field.default!r}."
                )


def broken_rule(settings_class, field, value) -> str:
    """What a field's value must be and is not; empty where it is."""
    choices = getattr(settings_class, "CHOICES", {}).get(field.name)
    kind = kind_of(field)
    if value is None and kind is not field.type:
        return ""
    if choices:
        words = ", ".join(repr(choice) for choice in choices)
        return "" if value in choices else f"one of {words}"
    if kind in (int, float):
        return _broken_range(kind, field.metadata["range"], value)
    if kind is tuple:
        return "" if isinstance(value, tuple | list) else "a tuple"
    return "" if isinstance(value, kind) else f"a {kind.__name__}"


def kind_of(field) -> type:
    """The type of a field's values, but for the None that some may be."""
    return field.type if isinstance(field.type, type) else field.type.__args__[0]


def _broken_range(kind: type, bounds: dict, value) -> str:
    """The range of a number as words, where `value` is not in it; else empty."""
    if kind is int:
        bounds = {"high": LARGEST, "low": -LARGEST, **bounds}
        if "above" in bounds:
            del bounds["low"]
    words = {
        "low": "of at least",
        "above": "above",
        "high": "at most",
        "below": "below",
    }
    holds = {
        "low": operator.ge,
        "above": operator.gt,
        "high": operator.le,
        "below": operator.lt,
    }
    type_of_numbers = numbers.Integral if kind is int else numbers.Real
    good = isinstance(value, type_of_numbers) and not isinstance(value, bool)
    if good and math.isfinite(value):
        if all(holds[name](value, bound) for name, bound in bounds.items()):
            return ""
    told = [
        f"{words[name]} {bounds[name]:g}"
        if abs(bounds[name]) < 1e6
        else f"{words[name]} {bounds[name]}"
        for name in words
        if name in bounds
    ]
    noun = "an integer" if kind is int else "a finite number"
    return " ".join([noun, " and ".join(told)]).strip()


def define_flags(settings_class, **defaults) -> None:
    """Defines one absl flag for every field of a settings dataclass."""
    for field in dataclasses.fields(settings_class):
        name = flag_name(field)
        default = defaults.get(field.name, field.default)
        choices = getattr(settings_class, "CHOICES", {}).get(field.name)
        text = field.metadata["help"]
        kind = kind_of(field)
        if choices:
            flags.DEFINE_enum(name, default, choices, text)
        elif kind is bool:
            flags.DEFINE_bool(name, default, text)
        elif kind is int:
            flags.DEFINE_integer(name, default, text)
        elif kind is float:
            flags.DEFINE_float(name, default, text)
        elif kind is tuple:
            flags.DEFINE_list(name, [str(item) for item in default], text)
        else:
            flags.DEFINE_string(name, default, text)
        _check_flag(settings_class, field)
        # A key flag of the running program, which is what `--help` lists.
        FLAGS.register_key_flag_for_module(sys.argv[0], FLAGS[name])


def _check_flag(settings_class, field) -> None:
    """Has a flag's number checked as it is parsed, which is before all work."""
    if kind_of(field) not in (int, float):
        return
    # Of what is no number, all of the rule is broken.
    RULES[flag_name(field)] = broken_rule(settings_class, field, math.nan)

    def check(value) -> bool:
        rule = broken_rule(settings_class, field, value)
        if rule and value is not None:
            raise flags.ValidationError(
                f"`{flag_name(field)}` must be {rule}; the default is {field.default}"
            )
        return True

    flags.register_validator(flag_name(field), check)


def flag_name(field) -> str:
    """A field's flag; `from_` is `--from`, which Python has no name for."""
    return field.name.rstrip("_")


def integers(what: str, values) -> tuple[int, ...]:
    """Integers from a flag's list of strings; `what` names them in the error."""
    try:
        return tuple(int(value) for value in values)
    except ValueError:
        raise ValueError(
            f"{what} must be integers with commas between them. Received: "
            f"{listed(values)}."
        ) from None


def apply_preset(
    presets: dict[str, dict], methods: dict[str, dict] | None = None
) -> None:
    """Gives the flags that were not passed the values of `--preset` and `--method`."""
    values = dict(presets.get(FLAGS.preset, {}))
    if methods:
        values |= methods.get(FLAGS.method, {})
    for name, value in values.items():
        if not FLAGS[name].present:
            FLAGS[name].value = value


def from_flags(settings_class):
    """Reads a settings dataclass back from the parsed flags.

    A value that a field may not have is a usage error.
    """
    values = {}
    for field in dataclasses.fields(settings_class):
        value = FLAGS[flag_name(field)].value
        values[field.name] = tuple(value) if field.type is tuple else value
    with usage_errors():
        return settings_class(**values)


def run_program(main: Callable) -> None:
    """Runs `main(argv)`, and says in one line on stderr why it came to no end.

    The exit status is then 2 for a usage error, 1 for a file that cannot be written or
    read, 130 for Ctrl-C and 143 for SIGTERM.
    """

    def refuse(argv, error, status=2):
        message = " ".join(str(error).split())
        sys.stderr.write(f"{Path(argv[0]).stem}: error: {message}\n")
        sys.exit(status)

    def parse(argv):
        try:
            return flag_errors.parse(argv, RULES)
        except app.UsageError as error:
            refuse(argv, error)

    def written(message, category, *where, **line):
        if category is UserWarning:
            return f"{Path(sys.argv[0]).stem}: warning: {message}\n"
        return write_plainly(message, category, *where, **line)

    write_plainly, warnings.formatwarning = warnings.formatwarning, written

    def guarded(argv):
        logging.set_verbosity(logging.WARNING)
        tf.get_logger().setLevel("WARNING")
        stopping.install()
        try:
            if len(argv) > 1:
                raise app.UsageError(
                    "Arguments must be flags, as --name=value. Received: "
                    f"{listed(map(repr, argv[1:]))[:1000]}; {flag_errors.HELP}."
                )
            main(argv)
        except app.UsageError as error:
            refuse(argv, error)
        except (OSError, tf.errors.OpError) as error:
            if not is_of_a_disk(error):
                raise
            refuse(argv, disk_error(error), 1)
        except KeyboardInterrupt as error:
            stopping.leave(error, name=Path(argv[0]).stem)
        finally:
            # What is left to do is not worth a traceback.
            stopping.ignore()

    app.run(guarded, flags_parser=parse)


def is_of_a_disk(error: Exception) -> bool:
    """Whether an error is one of reading or writing files, of Python or TensorFlow."""
    return isinstance(error, OSError) or "No space left on device" in str(error)


def disk_error(error: Exception) -> str:
    """An error of reading or writing files as text: the file, if known, and why."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def require(name: str) -> str:
    """Returns a string flag that must not be empty."""
    value = FLAGS[name].value
    if not value:
        raise app.UsageError(f"--{name} is required.")
    return value


class usage_errors:
    """Turns an error in what the user gave, inside the block, into a usage error.

    These are `ValueError`, `ImportError` and `OSError`. Keep work that can
    only fail by a fault of the program out of the block.
    """

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, ValueError | ImportError | OSError):
            raise app.UsageError(str(error)) from error
        return False


def require_folder(name: str) -> Path:
    """Returns the path in a flag, which must be a folder or be free to become one.

    Nothing is created yet.
    """
    folder = Path(require(name))
    try:
        if folder.exists() and not folder.is_dir():
            raise app.UsageError(
                f"--{name} must be a folder. Received: {folder}, which is a file."
            )
        _try_to_write(folder)
    except OSError as error:
        raise _not_writable(name, folder, error) from error
    return folder


def require_file(name: str) -> Path:
    """Returns the path of a file that can be written, before the work for it.

    Nothing is created yet: `make_parent` makes its folder.
    """
    path = Path(require(name))
    try:
        if path.is_dir():
            raise app.UsageError(
                f"--{name} must be a file. Received: {path}, which is a folder."
            )
        # A device, such as /dev/stdout, is written to where it is.
        if not path.exists() or path.is_file():
            _try_to_write(path.parent)
    except OSError as error:
        raise _not_writable(name, path, error) from error
    return path


def make_parent(path: Path) -> None:
    """Creates the folder of a file that is about to be written."""
    files.make_folder(Path(path).parent)


def _try_to_write(folder: Path) -> None:
    """Raises OSError unless a file can be created in a folder, or where it would be.

    What the rights say is not enough: a disk may be read-only, and root has them all.
    """
    folder = folder.absolute()
    while not os.path.lexists(folder):
        folder = folder.parent
    with tempfile.TemporaryFile(dir=os.path.realpath(folder)):
        pass


def _not_writable(name: str, path: Path, error: OSError) -> app.UsageError:
    return app.UsageError(
        f"--{name} must be a path that can be written. Received: {path} "
        f"({disk_error(error)}); choose another folder or its rights."
    )


def check_apart(written: dict, read: dict | None = None) -> None:
    """Refuses outputs that would overwrite one another, or what is read.

    Args:
        written: path by the name of its flag; empty where there is none.
        read: likewise of inputs.

    Raises:
        app.UsageError: if two flags name one file, and at least one is written.
    """
    seen = {os.path.realpath(path): name for name, path in (read or {}).items() if path}
    for name, path in written.items():
        other = seen.setdefault(os.path.realpath(path), name) if path else name
        if other != name:
            # A flag, or what is read without one.
            other = f"--{other}" if other in FLAGS else other
            raise app.UsageError(
                f"--{name} must be another file than {other}, which it would "
                f"overwrite. Received: {path} for both; choose another path."
            )


def files_of_run(model: str) -> dict[str, str]:
    """What a model is read from, by name for `check_apart`: its file and its record."""
    folder = Path(model).parent
    beside = {str(folder / name): str(folder / name) for name in (RUN_FILE, SPLIT_FILE)}
    return {"model": model, **beside}


def files_of_spec(name: str, spec: str) -> dict[str, str]:
    """The file that a dataset's spec names, by `name`; empty where it names none."""
    source, _, path = spec.partition(":")
    return {name: os.path.expanduser(path)} if source in ("csv", "npz") else {}


def check_workdir(dataset: str) -> None:
    """Refuses a dataset that is a file of `--workdir` which a run writes anew."""
    for path in files_of_spec("dataset", dataset).values():
        written = (os.path.join(FLAGS.workdir, name) for name in RUN_TABLES)
        if os.path.realpath(path) in map(os.path.realpath, written):
            raise app.UsageError(
                "--dataset must be no file that a run writes into --workdir, as it "
                f"would be overwritten. Received: {path}; choose another folder, or "
                "rename the file."
            )


def start_run(folder: Path) -> None:
    """Creates the run folder and writes `flags.txt`, usable as `--flagfile`."""
    with usage_errors():
        files.make_folder(folder)
    # The programs' own flags, not absl's.
    own = FLAGS.flags_by_module_dict().get(__name__, [])
    lines = [
        flag.serialize()
        for flag in own
        if flag.value is not None and flag.name != "resume"
    ]
    text = "\n".join(line for line in lines if line)
    files.write_text(folder / FLAGS_FILE, text + "\n")


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


def _multiworker():
    try:
        config = json.loads(os.environ.get("TF_CONFIG", ""))
        workers, task = config["cluster"]["worker"], config["task"]
        known = task["type"] == "worker" and 0 <= int(task["index"]) < len(workers)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise ValueError(
            "`strategy` multiworker needs TF_CONFIG, the same cluster on every worker "
            "and its own task. Received: TF_CONFIG="
            f"{os.environ.get('TF_CONFIG', '')!r}; set it to such as "
            '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
            '"task": {"type": "worker", "index": 0}}.'
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


def worker_of(strategy) -> tuple[int, int]:
    """`(index, count)` of the worker that this process is; `(0, 1)` when alone."""
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None or not resolver.cluster_spec():
        return 0, 1
    return resolver.task_id, resolver.cluster_spec().num_tasks("worker")


def check_one_worker(remedy: str) -> None:
    """Checks, in the scope of a strategy, that a replay buffer can be kept.

    Args:
        remedy: the setting that does without one, for the error.

    Raises:
        ValueError: if several workers train, each with its own part of a buffer.
    """
    if worker_of(tf.distribute.get_strategy())[1] > 1:
        raise ValueError(
            "`buffer` cannot be saved whole from several workers. Received: "
            "strategy=multiworker with a replay buffer; use strategy=mirrored, or "
            f"{remedy}."
        )


def own_folder(workdir, is_chief: bool) -> Path:
    """Where a worker writes: the run's folder, or one aside if it is not the first."""
    if is_chief:
        return Path(workdir)
    return Path(tempfile.gettempdir()) / f"keras_ebm-worker-{os.getpid()}"


def scope_of(strategy):
    """The scope of a strategy, for `with`; None's is that of a single device."""
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def check_batch(batch_size: int, strategy, what: str = "`batch_size`") -> None:
    """Raises ValueError if a strategy's replicas cannot share a batch equally."""
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise ValueError(
            f"{what} must be a multiple of the number of replicas. Received: "
            f"batch_size={batch_size} for {replicas}."
        )


def make_strategy(name: str, cpu_replicas: int = 2):
    """Returns a `tf.distribute` strategy, or None for a single device.

    Call it before anything runs on a device.

    Args:
        name: `"none"`, `"mirrored"`: one replica on each GPU, or
            `"multiworker"`: the same on every machine that `TF_CONFIG` names.
        cpu_replicas: int, replicas where there is no GPU; two show that a
            program is right, they do not make it faster.

    Raises:
        ValueError: if `multiworker` finds no `TF_CONFIG`.
    """
    if name == "none":
        return None
    if name == "multiworker":
        return _multiworker()
    if tf.config.list_physical_devices("GPU"):
        return tf.distribute.MirroredStrategy()
    cpu = tf.config.list_physical_devices("CPU")[0]
    if tf.config.get_logical_device_configuration(cpu) is None:
        devices = [tf.config.LogicalDeviceConfiguration()] * cpu_replicas
        tf.config.set_logical_device_configuration(cpu, devices)
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    # The default reduction of CPU replicas fails with several steps per
    # execution and with a second strategy in one process.
    return tf.distribute.MirroredStrategy(
        devices, cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
