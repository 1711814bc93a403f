"""Watches what a served model answers, for signs that its inputs have changed."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_ebm import files
from keras_ebm.arguments import check_integer, check_share, listed
from keras_ebm.ood import ConformalDetector, CrossConformalDetector
from keras_ebm.serving.betting import DEAL, stake
from keras_ebm.serving.intervals import share_interval
from keras_ebm.serving.reference import Reference, place

FORMAT = 1
#: Calibration rows at most; no detector has as many.
MOST_ROWS = 10**8
#: Points that the picture over time has at most; then two become one.
MOST_POINTS = 400
#: Types of what a state must hold.
SHAPE: dict[str, Any] = {
    "format": int,
    "level": float,
    "seed": int,
    "draws": int,
    "resets": int,
    "by_class": bool,
    "class_names": list,
    "references": list,
    "answers": int,
    "unanswered": int,
    "flagged": int,
    "refused": int,
    "classes": dict,
    "log_capital": float,
    "log_highest": float,
    "alarm_at": (int, type(None)),
    "shares": list,
    "seen": list,
    "history": dict,
    "notes": dict,
}


class DriftMonitor:
    """An alarm that is raised falsely with a stated probability, at any time.

    It is fed with the p-values of served answers, in their order, and keeps counts
    alone, no inputs. Each answer is ranked among the calibration rows and the answers
    before it, ties broken at random. While these are exchangeable, the ranks are
    independent and uniform, whatever the model and its score, and capital that bets
    against that, starting at 1, **ever** reaches `1 / level` with probability at most
    `level` (Ville's inequality): however long the stream is, and however often one
    looks. The probability is over calibration rows, answers and draws; the same
    answers and the same seed give the same alarm.

    What is not promised: a time by which a change is found (`docs/drift.md` has
    measured ones); anything of classes, whose shares are told but not tested; and
    exactness where many calibration scores are equal, where it holds to one calibration
    row. Answers that are fed twice, or that depend on one another as those of one
    machine or one day do, are a change too.

    After an alarm the monitor goes on counting, and `alarm` stays until `reset`. Look
    at what came in; if the model is to go on as it is, `reset` starts the next test,
    with the same promise; if it is calibrated anew, its answers need a new monitor.

    Args:
        calibration: what the p-values were computed from: the number of calibration
            rows, or a `Reference`; of a model that compares within predicted classes a
            sequence of these, one each. 0: the answers are compared among each
            other alone, which finds no change that was there from the first.
        level: float in (0, 1), the probability of ever raising a false alarm.
        seed: int >= 0 of the draws that break ties.
        class_names: optional sequence of str, for what is told of classes.

    Example:

    >>> monitor = DriftMonitor(999)
    >>> monitor.update(np.full(40, 0.002))
    True

    References:
        - Vovk, Nouretdinov and Gammerman (2003), "Testing exchangeability on-line".
        - Vovk (2021), "Testing randomness online", section 4: bets that jump.
    """

    def __init__(
        self,
        calibration: int | Reference | Sequence[int | Reference],
        *,
        level: float = 0.01,
        seed: int = 0,
        class_names: Sequence[str] = (),
    ):
        self.level = float(check_share("level", level))
        self.seed = check_integer("seed", seed)
        if self.seed < 0:
            raise ValueError(f"`seed` must be at least 0. Received: seed={seed}.")
        self.by_class = isinstance(calibration, Sequence)
        parts = calibration if isinstance(calibration, Sequence) else [calibration]
        if not parts:
            raise ValueError(
                "`calibration` must tell of one class at least. Received: an empty "
                "sequence."
            )
        self.references = [_reference(part) for part in parts]
        self.class_names = [str(name) for name in class_names]
        if self.by_class and self.class_names:
            _check_names(self.class_names, len(self.references))
        self.draws, self.resets = 0, 0
        #: What the owner keeps with the state; JSON-ready.
        self.notes: dict[str, Any] = {}
        self._begin()

    @classmethod
    def for_conformal(cls, conformal: ConformalDetector, **kwargs) -> "DriftMonitor":
        """A monitor for the p-values of a `ConformalDetector`; see the class."""
        references = references_of(conformal)
        return cls(references if conformal.by_class else references[0], **kwargs)

    @classmethod
    def for_card(cls, card: Mapping[str, Any], **kwargs) -> "DriftMonitor":
        """A monitor for the answers of an export, by the card that lies beside it.

        Args:
            card: dict, `assets.extra/keras_ebm.json` of the export's version.
            **kwargs: as of the class, but for `class_names`.
        """
        by_class = card["per_class"]
        names = card.get("class_names") or ()
        if "drift" in card:
            parts = [reference_from_state(part) for part in card["drift"]]
        else:
            # An export of an earlier version says how many rows there are at most.
            rows = [
                0 if card.get("calibration") == "cross" else card["calibration_rows"]
            ]
            counts = card.get("calibration_rows_by_class") if by_class else rows
            parts = [Reference.of_rows(count) for count in counts or [0] * len(names)]
        return cls(parts if by_class else parts[0], class_names=names, **kwargs)

    def _begin(self) -> None:
        self.answers, self.unanswered = 0, 0
        self.flagged, self.refused = 0, 0
        self.classes: dict[int, int] = {}
        self.log_capital, self.log_highest = 0.0, 0.0
        self.alarm_at: int | None = None
        self._shares = DEAL[None].copy()
        self._cumulative = [r.cumulative[None] for r in self.references]
        self._history = _History()
        self._generator = self._draws_from(self.draws)

    def _draws_from(self, start: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(self.seed).advance(start))

    def reset(self) -> None:
        """Starts the next test: capital 1, and the calibration rows alone to rank by.

        All counts begin anew, but for `resets`; draws and `notes` go on.
        """
        self.resets += 1
        self._begin()

    @property
    def alarm(self) -> bool:
        """Whether the capital has ever reached `1 / level` since the last `reset`."""
        return self.alarm_at is not None

    def update(
        self,
        p_values: np.ndarray,
        accepted: np.ndarray | None = None,
        classes: np.ndarray | None = None,
    ) -> bool:
        """Counts answers; one call or many, the state is the same.

        Args:
            p_values: float array `(rows,)`. Those of `nan`, or of 0 as an export has
                them, are of rows that could not be answered: they are counted apart
                and bet on by nobody.
            accepted: optional bool array `(rows,)`.
            classes: optional int array `(rows,)`, the predicted classes. Needed where
                the calibration compares within them.

        Returns:
            `alarm`.

        Raises:
            ValueError: if an argument breaks its rule; nothing is counted then.
        """
        p_values = _column("p_values", p_values, np.float64)
        rows = len(p_values)
        if accepted is not None:
            accepted = _column("accepted", accepted, bool, rows)
        classes = self._checked_classes(classes, rows)
        answered = ~(np.isnan(p_values) | (p_values == 0.0))
        bins = self._bins(p_values, classes, answered)
        self.unanswered += int(rows - answered.sum())
        for row in np.flatnonzero(answered):
            label = None if classes is None else int(classes[row])
            self._bet(int(bins[row]), label or 0 if self.by_class else 0)
            if label is not None:
                self.classes[label] = self.classes.get(label, 0) + 1
            refused = None if accepted is None else not accepted[row]
            self._note(refused)
        return self.alarm

    def _checked_classes(self, classes, rows: int) -> np.ndarray | None:
        if classes is not None:
            return _column("classes", classes, np.int64, rows)
        if self.by_class:
            raise ValueError(
                "`classes` must be given, as the p-values are of calibration rows of "
                "one's own class. Received: None; pass the predicted classes."
            )
        return None

    def _bins(self, p_values, classes, answered) -> np.ndarray:
        """Checks all that is fed, and gives the bin of each answer."""
        given = p_values[answered]
        if ((given <= 0.0) | (given > 1.0)).any():
            wrong = given[(given <= 0.0) | (given > 1.0)][0]
            raise ValueError(
                "`p_values` must be above 0 and at most 1, or nan where there is no "
                f"answer. Received: {wrong}."
            )
        number = len(self.references) if self.by_class else len(self.class_names)
        if classes is not None:
            known = classes[answered]
            wrong = known[(known < 0) | ((known >= number) & (number > 0))]
            if len(wrong):
                raise ValueError(
                    f"`classes` must be from 0 to {number - 1 if number else '...'} "
                    f"where there is an answer. Received: {wrong[0]}."
                )
        bins = np.zeros(len(p_values), np.int64)
        for index, reference in enumerate(self.references):
            part = answered & (classes == index) if self.by_class else answered
            bins[part] = reference.bins(p_values[part])
        return bins

    def _bet(self, bin_: int, part: int) -> None:
        """Ranks one answer, bets on it, and sees whether the capital is enough."""
        # 1 - draw is above 0.
        draw = 1.0 - self._generator.random(1)
        self.draws += 1
        unknown = not self.references[part].rows
        u = place(self._cumulative[part], np.array([bin_]), draw, unknown)
        self._shares, growth = stake(self._shares, u, self.answers)
        self.answers += 1
        self.log_capital += float(growth[0])
        self.log_highest = max(self.log_highest, self.log_capital)
        if self.alarm_at is None and self.log_capital >= -math.log(self.level):
            self.alarm_at = self.answers

    def _note(self, refused: bool | None) -> None:
        if refused is not None:
            self.flagged += 1
            self.refused += int(refused)
        self._history.add(self.log_capital, refused)

    def summary(self, coverage: float = 0.95) -> dict[str, Any]:
        """What was seen since the last `reset`, as JSON-ready values.

        Args:
            coverage: float in (0, 1), of the intervals of shares. Each holds at all
                times at once with this probability, if answers are independent and
                alike; see `share_interval`.

        Returns:
            dict with `answers`, `unanswered`, `alarm`, `alarm_at` (the answer that
            raised it), `level`, `log10_capital` now and at its `log10_highest`,
            `refused` (of those with a flag; None without any) and `classes` by name,
            each with `count`, `share`, `interval` and, where the calibration has
            classes, `calibration_share`.
        """
        total = sum(self.classes.values())
        return {
            "answers": self.answers,
            "unanswered": self.unanswered,
            "resets": self.resets,
            "level": self.level,
            "alarm": self.alarm,
            "alarm_at": self.alarm_at,
            "log10_capital": self.log_capital / math.log(10),
            "log10_highest": self.log_highest / math.log(10),
            "refused": _share(self.refused, self.flagged, coverage)
            if self.flagged
            else None,
            "classes": {
                self._name(label): {
                    **_share(self.classes.get(label, 0), total, coverage),
                    "calibration_share": self._calibration_share(label),
                }
                for label in self._labels()
                if total
            },
        }

    def _labels(self) -> list[int]:
        known = len(self.references) if self.by_class else len(self.class_names)
        return list(range(known)) or sorted(self.classes)

    def _name(self, label: int) -> str:
        return self.class_names[label] if self.class_names else str(label)

    def _calibration_share(self, label: int) -> float | None:
        rows = sum(reference.rows for reference in self.references)
        return self.references[label].rows / rows if self.by_class and rows else None

    def history(self) -> dict[str, list]:
        """The capital and the refused over time, of blocks of equally many answers.

        Returns:
            dict of lists, one entry a block: `answers` up to its end, the highest
            `log10_capital` in it, and how many were `flagged` and `refused` of it.
        """
        return self._history.columns()

    def state(self) -> dict[str, Any]:
        """All that `from_state` needs, as JSON-ready values."""
        return {
            "format": FORMAT,
            "level": self.level,
            "seed": self.seed,
            "draws": self.draws,
            "resets": self.resets,
            "by_class": self.by_class,
            "class_names": self.class_names,
            "references": [reference_state(part) for part in self.references],
            "answers": self.answers,
            "unanswered": self.unanswered,
            "flagged": self.flagged,
            "refused": self.refused,
            # In the order of the classes, whichever came first.
            "classes": {str(k): self.classes[k] for k in sorted(self.classes)},
            "log_capital": self.log_capital,
            "log_highest": self.log_highest,
            "alarm_at": self.alarm_at,
            "shares": self._shares[0].tolist(),
            "seen": [np.diff(part[0]).tolist() for part in self._cumulative],
            "history": vars(self._history),
            "notes": self.notes,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "DriftMonitor":
        """A monitor that goes on where the one that gave `state` stood.

        Raises:
            ValueError: if `state` is none.
        """
        _check_state(state)
        parts = [reference_from_state(part) for part in state["references"]]
        monitor = cls(
            parts if state["by_class"] else parts[0],
            level=state["level"],
            seed=state["seed"],
            class_names=state["class_names"],
        )
        for name in ("draws", "resets", "answers", "unanswered", "flagged", "refused"):
            setattr(monitor, name, state[name])
        for name in ("log_capital", "log_highest", "alarm_at"):
            setattr(monitor, name, state[name])
        monitor.notes = dict(state["notes"])
        monitor.classes = {int(k): v for k, v in state["classes"].items()}
        monitor._shares = np.array([state["shares"]], np.float64)
        monitor._cumulative = [_summed(part) for part in state["seen"]]
        monitor._history = _History(**state["history"])
        monitor._generator = monitor._draws_from(monitor.draws)
        return monitor

    def save(self, path: str | os.PathLike) -> None:
        """Writes the state as JSON; the file is whole or as it was before."""
        text = json.dumps(self.state(), allow_nan=False)
        files.write_text(path, text + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike) -> "DriftMonitor":
        """Reads what `save` wrote.

        Raises:
            ValueError: if the file is none; it names `path`.
        """
        remedy = "restore the file, or begin a new one with a new monitor"
        try:
            return cls.from_state(json.loads(Path(path).read_text("utf-8")))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{path} must be a state of a DriftMonitor, as it was written. "
                f"Received: a file that is none ({error}); {remedy}."
            ) from error


class _History:
    """Blocks of equally many answers, two of which become one when there are many."""

    def __init__(self, size=1, filled=0, highest=(), flagged=(), refused=()):
        self.size, self.filled = size, filled
        self.highest, self.flagged = list(highest), list(flagged)
        self.refused = list(refused)

    def add(self, log_capital: float, refused: bool | None) -> None:
        if self.filled == len(self.highest) * self.size:
            self._make_room()
            self.highest.append(log_capital)
            self.flagged.append(0)
            self.refused.append(0)
        self.filled += 1
        self.highest[-1] = max(self.highest[-1], log_capital)
        self.flagged[-1] += int(refused is not None)
        self.refused[-1] += int(bool(refused))

    def _make_room(self) -> None:
        if len(self.highest) < MOST_POINTS:
            return
        self.size *= 2
        for name, join in (("highest", max), ("flagged", sum), ("refused", sum)):
            values = getattr(self, name)
            joined = [join(values[i : i + 2]) for i in range(0, len(values), 2)]
            setattr(self, name, joined)

    def columns(self) -> dict[str, list]:
        ends = [self.size * (i + 1) for i in range(len(self.highest))]
        return {
            "answers": [min(end, self.filled) for end in ends],
            "log10_capital": [value / math.log(10) for value in self.highest],
            "flagged": list(self.flagged),
            "refused": list(self.refused),
        }


def references_of(conformal: ConformalDetector) -> list[Reference]:
    """What the p-values of a detector are ranked among, by class or of all rows.

    Cross-conformal p-values are of no rows beside which a new one would be
    exchangeable: they are ranked among each other alone.
    """
    if isinstance(conformal, CrossConformalDetector):
        return [Reference.unknown()]
    return [
        Reference.of_scores(conformal.scores[conformal.classes == label])
        for label in range(conformal.num_classes)
    ]


def reference_state(reference: Reference) -> dict[str, Any]:
    """A `Reference` as JSON; without equal scores the number of rows says it all."""
    state: dict[str, Any] = {"rows": reference.rows}
    if reference != Reference.of_rows(reference.rows):
        state |= {"edges": list(reference.edges), "counts": list(reference.counts)}
    return state


def reference_from_state(state: Mapping[str, Any]) -> Reference:
    """The `Reference` that gave `state`."""
    if "edges" not in state:
        return Reference.of_rows(state["rows"])
    return Reference(state["rows"], tuple(state["edges"]), tuple(state["counts"]))


def _reference(part: int | Reference) -> Reference:
    if isinstance(part, Reference):
        return part
    if check_integer("calibration", part) < 0:
        raise ValueError(
            "`calibration` must be numbers of rows, at least 0. Received: "
            f"calibration={part!r}."
        )
    return Reference.of_rows(int(part))


def _check_names(names: list[str], number: int) -> None:
    if len(names) != number:
        raise ValueError(
            f"`class_names` must name each of {number} classes. Received: "
            f"{listed(names)}."
        )


def _column(name: str, values, dtype, rows: int | None = None) -> np.ndarray:
    """A column of answers in its type, which must hold all of its values."""
    array = np.asarray(values)
    kinds = {"float64": "fiu", "bool": "b", "int64": "iu"}[np.dtype(dtype).name]
    if array.ndim != 1 or (array.size and array.dtype.kind not in kinds):
        raise ValueError(
            f"`{name}` must be an array of {np.dtype(dtype).name}, of shape `(rows,)`. "
            f"Received: {array.dtype} of shape {array.shape}."
        )
    if rows is not None and len(array) != rows:
        raise ValueError(
            f"`{name}` must have one entry for each of {rows} p-values. Received: "
            f"{len(array)}."
        )
    return array.astype(dtype)


def _share(count: int, total: int, coverage: float) -> dict[str, Any]:
    low, high = share_interval(count, total, coverage)
    return {"count": count, "share": count / total, "interval": [low, high]}


def _summed(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])[None]


def _check_state(state: Mapping[str, Any]) -> None:
    """Raises `ValueError` at the first key of a state that is not as it was written."""
    if not isinstance(state, Mapping):
        raise ValueError(f"a state is an object, not a {type(state).__name__}")
    for name, kind in SHAPE.items():
        if name not in state or not _is(state[name], kind):
            raise ValueError(f"{name!r} is absent or of another type")
    if state["format"] != FORMAT:
        raise ValueError(f"its format is {state['format']}, not {FORMAT}")
    history = state["history"]
    columns = [history.get(name) for name in ("highest", "flagged", "refused")]
    sizes = [history.get("size"), history.get("filled")]
    rules = {
        "shares": _are_numbers(state["shares"], float, len(DEAL)),
        "references": all(map(_is_reference, state["references"])),
        "classes": all(_is_whole(n) for n in state["classes"].values()),
        "class_names": all(isinstance(name, str) for name in state["class_names"]),
        "history": all(map(_is_whole, sizes)) and sizes[0] > 0,
        "history's blocks": isinstance(columns[0], list)
        and all(
            _are_numbers(column, kind, len(columns[0]))
            for column, kind in zip(columns, (float, int, int), strict=True)
        ),
    }
    for name, holds in rules.items():
        if not holds:
            raise ValueError(f"{name!r} is not as it was written")
    parts = [reference_from_state(part) for part in state["references"]]
    if len(state["seen"]) != len(parts) or not all(
        _are_numbers(seen, int, len(part.edges))
        for seen, part in zip(state["seen"], parts, strict=True)
    ):
        raise ValueError("'seen' is not as it was written")


def _is(value, kind) -> bool:
    """Whether a value of a state is of a kind; numbers must be finite, counts >= 0."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, bool):
        return bool in kinds
    if float in kinds:
        return isinstance(value, int | float) and math.isfinite(value)
    if int in kinds and isinstance(value, int):
        return 0 <= value < 2**63
    return isinstance(value, kinds) and not (int in kinds and value is not None)


def _is_whole(value) -> bool:
    return _is(value, int)


def _are_numbers(values, kind, size: int) -> bool:
    whole = isinstance(values, list) and len(values) == size
    return whole and all(_is(value, kind) for value in values)


def _is_reference(part) -> bool:
    if not isinstance(part, Mapping) or not _is_whole(part.get("rows")):
        return False
    if "edges" not in part:
        return part["rows"] <= MOST_ROWS
    edges, counts = part["edges"], part.get("counts")
    numbers = isinstance(edges, list) and _are_numbers(edges, int, len(edges))
    ascending = numbers and edges[:1] == [0] and edges == sorted(set(edges))
    return bool(ascending) and _are_numbers(counts, int, len(edges))
