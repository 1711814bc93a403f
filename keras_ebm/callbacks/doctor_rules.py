"""The states that `Doctor` knows, as a table: measures, their limits, and a remedy."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras

from keras_ebm.callbacks.entropy_watch import LOG as EFFECTIVE_SAMPLE_SIZE
from keras_ebm.callbacks.entropy_watch import WARN_BELOW, fed_estimator

HEALTHY = "healthy"


class Limit(NamedTuple):
    """A limit of a measure: `above` or `below` it a run is in the state."""

    side: str
    value: float

    def __str__(self) -> str:
        return f"{self.side} {self.value:g}"

    def holds(self, measured: float) -> bool:
        """Whether a measure is on the side of the state."""
        compare = operator.gt if self.side == "above" else operator.lt
        return compare(measured, self.value)


def above(value: float) -> Limit:
    """A limit that a measure is above in the state."""
    return Limit("above", value)


def below(value: float) -> Limit:
    """A limit that a measure is below in the state."""
    return Limit("below", value)


class Rule(NamedTuple):
    """A state of a run, and what it is known by.

    Args:
        name: of the state.
        meaning: what is the matter, as half a sentence.
        limits: by measure; the state is there where all of them hold. A rule is not
            applicable where one of its measures was not taken.
        remedy: what to change: flags of the programs and arguments by name; or a
            callable from the model to that.
        times: int, examinations in a row in which the limits have to hold.
        cured: whether earlier weights and a lower rate are a cure.
        after: int, steps of the run before which the state is nobody's fault.
    """

    name: str
    meaning: str
    limits: dict[str, Limit]
    remedy: str | Callable[[keras.Model], str]
    times: int = 1
    cured: bool = False
    after: int = 40


def _feed_entropy(model):
    return f"take {fed_estimator(model.generator)}, or a larger sigma of the generator"


_LOWER_RATES = (
    "lower --learning_rate and --generator_learning_rate (the optimizers' rates), or "
    "raise --gradient_penalty"
)

#: By precedence: where several hold, the first is the state of the run, as the likely
#: cause of the others.
RULES = (
    Rule(
        "not_finite",
        "a log is not finite, or out of the range of its limit",
        {"unsound": above(0)},
        f"look for rows that are not finite; else {_LOWER_RATES}",
        cured=True,
        after=0,
    ),
    Rule(
        "chains_frozen",
        "the chains hardly move",
        {"chain_reach": below(0.02)},
        "raise --step_size, --noise_stddev or --num_steps (step_size, noise_stddev and "
        "num_steps of the moves)",
    ),
    Rule(
        "chains_rejected",
        "the chains' proposals are hardly ever accepted",
        {"acceptance": below(0.05)},
        "lower --step_size, or raise --adaptation_rate (initial_step_size and "
        "adaptation_rate of the moves)",
        times=2,
    ),
    Rule(
        "chains_saturated",
        "the chains end at the borders of their box",
        {"border_share": above(0.5)},
        "lower --step_size (step_size of the moves), or bound the gradient by "
        "--max_gradient",
        times=2,
    ),
    Rule(
        "chains_overshooting",
        "the chains' steps are far larger than the data",
        {"chain_stride": above(2.5)},
        "lower --step_size or --noise_stddev (step_size and noise_stddev of the moves)",
        times=2,
    ),
    Rule(
        "chains_scattered",
        "the chains end far outside of the data",
        {"chain_spread": above(6.0)},
        "lower --step_size (step_size of the moves), bound the gradient by "
        "--max_gradient, or give the moves a box of the data's range",
        times=2,
    ),
    Rule(
        "entropy_starved",
        "the entropy's gradient rests on a single proposal",
        {EFFECTIVE_SAMPLE_SIZE: below(WARN_BELOW)},
        _feed_entropy,
    ),
    Rule(
        "generator_lagging",
        "the generator hardly changes while the energy tells its samples from the data",
        {
            "sample_gap": above(0.75),
            "sample_gap_rise": above(0.1),
            "sample_change": below(0.02),
        },
        "raise --generator_learning_rate (generator_optimizer's rate) towards "
        "--learning_rate",
        times=2,
    ),
    Rule(
        "generator_collapsed",
        "the generator's samples have become alike",
        {"sample_nearest": below(0.35), "sample_kept": below(0.35)},
        "raise --entropy_weight (entropy_weight), or lower --generator_learning_rate",
        times=2,
        cured=True,
    ),
    Rule(
        "generator_jumping",
        "the generator's samples are thrown about",
        {"sample_jump": above(1.5)},
        "lower --generator_learning_rate (generator_optimizer's rate), or raise "
        "--entropy_weight (entropy_weight)",
        cured=True,
    ),
    Rule(
        "drifting",
        "the energies of data and negatives drift apart",
        {"gap": above(15.0)},
        f"{_LOWER_RATES} or energy_l2; of chains raise --num_steps",
        times=2,
        cured=True,
    ),
    Rule(
        "oscillating",
        "the gap between the energies of data and negatives swings",
        {"gap_swing": above(3.0)},
        _LOWER_RATES,
        cured=True,
        after=20,
    ),
)

#: The number of each state in the history; 0 is healthy.
CODES = {HEALTHY: 0, **{rule.name: i + 1 for i, rule in enumerate(RULES)}}


class Finding(NamedTuple):
    """A rule that holds, and the measures that say so."""

    rule: Rule
    evidence: dict[str, float]

    def told(self) -> str:
        """The numbers beside their limits, as a line."""
        parts = [
            f"{name} {self.evidence[name]:.3g}, {limit}"
            for name, limit in self.rule.limits.items()
        ]
        return "; ".join(parts)


def find(
    examined: Sequence[dict[str, float]],
    step: int,
    first_step: int = 0,
    rules: Sequence[Rule] = RULES,
) -> list[Finding]:
    """The rules that hold, by precedence.

    Args:
        examined: measures of the examinations so far, the latest last.
        step: int, of the latest.
        first_step: int, from which on energies are trained.
        rules: those to look at.
    """
    found = []
    for rule in rules:
        last = examined[-rule.times :]
        early = step - first_step < rule.after
        if early or len(last) < rule.times:
            continue
        if all(_holds(rule, measures) for measures in last):
            found.append(
                Finding(rule, {name: examined[-1][name] for name in rule.limits})
            )
    return found


def _holds(rule, measures) -> bool:
    return all(
        name in measures and limit.holds(measures[name])
        for name, limit in rule.limits.items()
    )
