"""Flags from settings, and settings from flags."""

import dataclasses
import math
import numbers
import operator
import sys

from absl import app, flags

from keras_ebm.arguments import listed
from keras_ebm.trainers.program.errors import usage_errors

FLAGS = flags.FLAGS


#: Whole numbers of settings go through 32-bit integers of TensorFlow.
LARGEST = 2**31 - 1
#: Subject and name of each flag, in the order of `--help`.
_SUBJECTS: list[tuple[str, str]] = []
OTHERS = "Other flags"
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
    choices = choices_of(settings_class, field.name)
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


def choices_of(settings_class, name: str) -> tuple:
    """The words that a field may have; empty where it may have any.

    What stands in `CHOICES` is a tuple, or a function that reads them off a table.
    """
    choices = getattr(settings_class, "CHOICES", {}).get(name, ())
    return tuple(choices() if callable(choices) else choices)


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
    """Defines one absl flag for every field of a settings dataclass.

    `SUBJECTS` of the class names the subject that begins with a field, for `--help`,
    and `UNUSED` the inherited fields that the program has no use for: their flags are
    there, as in the `flags.txt` of a run, but `--help` leaves them out.
    """
    for field in dataclasses.fields(settings_class):
        name = flag_name(field)
        _note_subject(settings_class, field)
        default = defaults.get(field.name, field.default)
        choices = choices_of(settings_class, field.name)
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


def _note_subject(settings_class, field) -> None:
    if field.name in getattr(settings_class, "UNUSED", ()):
        return
    owners = (c for c in reversed(settings_class.__mro__) if field.name in vars(c))
    owner = next(owners, settings_class)
    subject = vars(owner).get("SUBJECTS", {}).get(field.name)
    if subject is None:
        subject = _SUBJECTS[-1][0] if _SUBJECTS else OTHERS
    _SUBJECTS.append((subject, flag_name(field)))


def subjects() -> dict[str, list[str]]:
    """Names of the program's own flags by subject, those without one at the end."""
    found: dict[str, list[str]] = {}
    for subject, name in _SUBJECTS:
        found.setdefault(subject, []).append(name)
    known = {name for _, name in _SUBJECTS}
    main = FLAGS.get_key_flags_for_module(sys.argv[0])
    others = [flag.name for flag in main if flag.name not in known]
    own = set(FLAGS.flags_by_module_dict().get(__name__, ()))
    others = [name for name in others if FLAGS[name] not in own]
    if others:
        found.setdefault(OTHERS, []).extend(others)
    return found


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


def numbers_of(what: str, values) -> tuple[float, ...]:
    """Finite numbers from a flag's list of strings; `what` names them in the error."""
    try:
        found = tuple(float(value) for value in values)
    except ValueError:
        found = (math.nan,)
    if not all(math.isfinite(value) for value in found):
        raise ValueError(
            f"{what} must be finite numbers with commas between them. Received: "
            f"{listed(values)}."
        )
    return found


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


def require(name: str) -> str:
    """Returns a string flag that must not be empty."""
    value = FLAGS[name].value
    if not value:
        # What it is for, as in --help.
        what = " ".join(FLAGS[name].help.split()).rstrip(".")
        raise app.UsageError(
            f"--{name} is required ({what}). Received: no value; pass --{name}=VALUE."
        )
    return value


def own_flags() -> list:
    """The flags that settings became, without absl's own."""
    return FLAGS.flags_by_module_dict().get(__name__, [])


def spread(argv: list[str], name: str) -> list[str]:
    """Arguments in which a flag takes all that follow it up to the next flag.

    `--name a b --other` becomes `--name=a --name=b --other`; other arguments stay.
    """
    found: list[str] = []
    taking = False
    for argument in argv:
        if argument.startswith("-"):
            taking = argument in (f"--{name}", f"-{name}")
            found += [] if taking else [argument]
        else:
            found.append(f"--{name}={argument}" if taking else argument)
    # Alone it is left, to be refused as lacking a value.
    alone = f"--{name}" in argv and not any(a.startswith(f"--{name}=") for a in found)
    return [*found, f"--{name}"] if alone else found


def peek(argv: list[str], *names: str, switches: tuple[str, ...] = ()) -> dict:
    """Values of flags among arguments, before it is known which flags there are.

    Args:
        argv: the program's name and arguments: `--name value`, `--name=value`, or in a
            `--flagfile`.
        *names: of flags that are texts.
        switches: names of flags that are true or false.

    Returns:
        Value by name; empty or False where a flag is not given, or what is given cannot
        be read and will be refused when all is parsed.
    """
    values = flags.FlagValues()
    for name in names:
        flags.DEFINE_string(name, "", "", flag_values=values)
    for name in switches:
        flags.DEFINE_bool(name, False, "", flag_values=values)
    # What stands behind an unknown flag is its value, and no end of the flags.
    values.set_gnu_getopt(True)
    try:
        values(argv, known_only=True)
    except (flags.Error, UnicodeDecodeError):
        return {**dict.fromkeys(names, ""), **dict.fromkeys(switches, False)}
    return {name: values[name].value for name in (*names, *switches)}
