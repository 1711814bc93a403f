"""Parses flags, and says of one that is wrong which it is, its rule and a remedy."""

import difflib

from absl import app, flags

from keras_ebm.arguments import listed

FLAGS = flags.FLAGS
HELP = "--help lists all flags"
#: Names of the flags in the arguments themselves, those of a `--flagfile` left out.
GIVEN = set()
#: Names that flags had in earlier versions, as in the `flags.txt` of a run.
FORMER = {"epoch_steps": "validate_every", "move_step_size": "initial_step_size"}
#: What absl raises for arguments that cannot be read.
UNREADABLE = (flags.Error, UnicodeDecodeError)
#: What the values of a flag's parser are, where it is none of words.
_KINDS = {
    flags.BooleanParser: "true or false",
    flags.IntegerParser: "an integer",
    flags.FloatParser: "a number",
}


def parse(argv: list[str], rules: dict[str, str]) -> list[str]:
    """Parses a program's arguments into `FLAGS`.

    Args:
        argv: the program's name, and its arguments.
        rules: by the name of a flag, what its value must be, in words; of the others
            their type tells it.

    Returns:
        What of `argv` is no flag.

    Raises:
        app.UsageError: in one sentence, if there is no such flag, its value is missing
            or none that it may have, or a `--flagfile` cannot be read.
    """
    GIVEN.clear()
    GIVEN.update(_names(_renamed(argv[1:])))
    try:
        read = FLAGS.read_flags_from_files(argv[1:], force_gnu=False)
        return FLAGS([argv[0], *_renamed(read)])
    except flags.UnrecognizedFlagError as error:
        raise app.UsageError(_unknown(error)) from error
    except flags.CantOpenFlagFileError as error:
        raise app.UsageError(_flagfile(str(error.__context__))) from error
    except UnicodeDecodeError as error:
        raise app.UsageError(_flagfile(f"a file that is no text ({error})")) from error
    except (flags.Error, ValueError) as error:
        raise app.UsageError(_bad_value(error, rules)) from error


def _renamed(arguments: list[str]) -> list[str]:
    """Arguments in which flags of earlier versions bear their names of now."""
    found = []
    for argument in arguments:
        dashes = argument[: len(argument) - len(argument.lstrip("-"))]
        name, sign, value = argument[len(dashes) :].partition("=")
        now = FORMER.get(name) if dashes else None
        known = now in FLAGS and name not in FLAGS
        found.append(f"{dashes}{now}{sign}{value}" if known else argument)
    return found


def _names(arguments: list[str]):
    """The flags that arguments name, `--nopicture` as `picture`."""
    for argument in arguments:
        name = argument.lstrip("-").partition("=")[0]
        if argument.startswith("-"):
            yield name if name in FLAGS else name.removeprefix("no")


def _unknown(error: flags.UnrecognizedFlagError) -> str:
    near = difflib.get_close_matches(error.flagname, list(FLAGS), 3)
    names = listed(f"--{name}" for name in near)
    remedy = f"did you mean {names}? {HELP}" if near else HELP
    return (
        f"--{error.flagname[:200]} must be a flag of this program. Received: "
        f"{error.flagvalue[:200]}, which is none; {remedy}."
    )


def _flagfile(reason: str) -> str:
    return (
        "--flagfile must be a text file with a flag a line, such as the flags.txt of a "
        f"run. Received: {reason}; correct the path."
    )


def _bad_value(error: Exception, rules: dict[str, str]) -> str:
    """A value that is missing, of another type, or that absl's check refused."""
    message = str(error)
    if message == "--flagfile with no argument":
        message = "Missing value for flag --flagfile"
    missing = message.removeprefix("Missing value for flag ")
    if missing != message:
        name = missing.lstrip("-")
        return (
            f"--{name} must have a value, {_rule(name, rules)}. Received: {missing} as "
            f"the last argument; write --{name}=VALUE. {HELP}."
        )
    negated = message.removesuffix(" does not take an argument")
    if negated != message:
        name = negated.lstrip("-").removeprefix("no").partition("=")[0]
        return (
            f"--no{name} must have no value. Received: {negated[:200]}; write "
            f"--no{name}, or --{name}=true."
        )
    head, given, tail = message.partition("=")
    reason = f": {error.__context__}"
    name = head.removeprefix("flag --")
    if not given or name not in FLAGS or not tail.endswith(reason):
        return message.replace("\n", "; ")
    value = tail.removesuffix(reason)
    return (
        f"--{name} must be {_rule(name, rules)}. Received: --{name}={value[:200]}; "
        f"the default is {FLAGS[name].default}. {HELP}."
    )


def _rule(name: str, rules: dict[str, str]) -> str:
    """What a flag's value must be, in words."""
    if name in rules:
        return rules[name]
    # absl's --flagfile and --undefok are none of the program's.
    parser = FLAGS[name].parser if name in FLAGS else None
    if isinstance(parser, flags.EnumParser):
        return f"one of {listed(map(repr, parser.enum_values))}"
    kinds = (words for kind, words in _KINDS.items() if isinstance(parser, kind))
    return next(kinds, "a text")
