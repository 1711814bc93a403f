r"""False alarms and delays of `keras_ebm.serving.DriftMonitor`, on simulated streams.

Scores are Gaussian: those of calibration rows, which every stream draws anew, and of
answers, of which some change. A change is told by how many times more answers a model
refuses that refused 5 %: all scores move (`moved`), some answers are foreign, far off
(`far`) or two standard deviations away (`near`), or p-values below .05 come more often
and are else as before (`flat`). Other martingales are beside the monitor's, on the same
ranks, and the best that could be had by one who knew change and scores (`known`).
Settings of the bets were chosen on other changes and seeds. It takes three quarters of
an hour; run from the top of the checkout:

    python -m benchmarks.drift --output=benchmarks/results/drift.json
    python -m benchmarks.drift --picture=docs/drift.png

What is in the file already is not repeated.
"""

import dataclasses
import math
import os
import statistics
from collections.abc import Callable

import numpy as np

from benchmarks.machine import machine
from keras_ebm import plots
from keras_ebm.serving import DriftMonitor
from keras_ebm.serving.betting import DEAL, stake
from keras_ebm.serving.reference import Reference, place
from keras_ebm.trainers.program import json_files, options, running

LEVEL, RATE = 0.01, 0.05
ROWS = (200, 1_000, 10_000)
#: Streams that are simulated together.
CHUNK = 500
#: Answers before a change, how many times more are refused, and answers after it.
QUIET, FACTORS, AFTER = (0, 1_000), (1.5, 2.0, 3.0, 4.0), 1_000
#: Answers within which a change should be found.
WITHIN = 500
FAR, NEAR = 6.0, 2.0
NORMAL = statistics.NormalDist()
KINDS = ("moved", "far", "near", "flat")
Scores = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def gaussian(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Scores of rows as the calibration's."""
    return random.standard_normal(shape)


def rounded(digits: int) -> Scores:
    """The same, with so many digits only: of many rows they are equal."""
    return lambda random, shape: np.round(random.standard_normal(shape), digits)


def foreign_share(factor: float, mean: float) -> float:
    """The share of answers that must be foreign for `factor` times more refusals."""
    refused = 1.0 - NORMAL.cdf(NORMAL.inv_cdf(1.0 - RATE) - mean)
    return RATE * (factor - 1.0) / (refused - RATE)


def changed(kind: str, factor: float) -> Scores:
    """Scores of which `factor` times more are refused at `RATE`."""
    threshold = NORMAL.inv_cdf(1.0 - RATE)
    if kind == "moved":
        shift = threshold - NORMAL.inv_cdf(1.0 - factor * RATE)
        return lambda random, shape: random.standard_normal(shape) + shift
    if kind in ("far", "near"):
        mean = {"far": FAR, "near": NEAR}[kind]
        share = foreign_share(factor, mean)

        def mixed(random, shape):
            scores = random.standard_normal(shape)
            return scores + mean * (random.random(shape) < share)

        return mixed

    def flat(random, shape):
        # Gaussian scores above the threshold, kept more often than others.
        scores = random.standard_normal(shape)
        other = random.standard_normal(shape)
        above = random.random(shape) < RATE * factor
        while (wrong := (scores > threshold) != above).any():
            scores = np.where(wrong, other, scores)
            other = random.standard_normal(shape)
        return scores

    return flat


def log_ratio(kind: str, factor: float, scores: np.ndarray) -> np.ndarray:
    """Log of the changed over the former density of scores, in nats."""
    threshold = NORMAL.inv_cdf(1.0 - RATE)
    if kind == "moved":
        shift = threshold - NORMAL.inv_cdf(1.0 - factor * RATE)
        return shift * scores - 0.5 * shift**2
    if kind == "flat":
        above, below = factor, (1.0 - factor * RATE) / (1.0 - RATE)
        return np.where(scores > threshold, math.log(above), math.log(below))
    mean = {"far": FAR, "near": NEAR}[kind]
    share = foreign_share(factor, mean)
    return np.log(1.0 - share + share * np.exp(mean * scores - 0.5 * mean**2))


def p_values(calibration: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Conformal p-values of a stream, as `ConformalDetector` gives them."""
    rows = len(calibration)
    above = rows - np.searchsorted(np.sort(calibration), scores, side="left")
    return ((above + 1) / (rows + 1)).astype(np.float32)


def ranks(calibration, scores, random, naive: bool = False) -> np.ndarray:
    """What the monitor bets on: `(streams, answers)`, uniform if nothing changes.

    Args:
        calibration: float array `(streams, rows)`; of no rows the answers are ranked
            among each other.
        scores: float array `(streams, answers)`.
        random: NumPy generator.
        naive: whether the p-values themselves are taken, their steps evened out.
    """
    rows = calibration.shape[1]
    draws = 1.0 - random.random(scores.shape)
    if not rows:
        values = upper_tail(scores)
    else:
        pairs = zip(calibration, scores, strict=True)
        values = np.stack([p_values(*pair) for pair in pairs])
    if naive:
        return values - (1.0 - draws) / (rows + 1)
    references = [Reference.of_scores(row) for row in calibration]
    pairs = zip(references, values, strict=True)
    bins = np.stack([reference.bins(row) for reference, row in pairs])
    cumulative = padded([reference.cumulative for reference in references])
    u = np.empty(scores.shape)
    for time in range(scores.shape[1]):
        u[:, time] = place(cumulative, bins[:, time], draws[:, time], not rows)
    return u


def upper_tail(scores: np.ndarray) -> np.ndarray:
    """The share of Gaussian scores that are higher."""
    return 0.5 * np.vectorize(math.erfc)(scores / math.sqrt(2.0))


def padded(rows: list[np.ndarray]) -> np.ndarray:
    """Arrays of different lengths as one, their last entries repeated."""
    longest = max(map(len, rows))
    return np.stack([np.pad(row, (0, longest - len(row)), "edge") for row in rows])


def monitor_capital(u: np.ndarray) -> np.ndarray:
    """Log of the monitor's capital, `(streams, answers)`."""
    shares, capital = np.tile(DEAL, (len(u), 1)), np.empty(u.shape)
    for time in range(u.shape[1]):
        shares, capital[:, time] = stake(shares, u[:, time], time)
    return capital.cumsum(axis=1)


def histogram_capital(u: np.ndarray, forget: float = 1.0) -> np.ndarray:
    """Bets on the density that former numbers had in bins, which may be forgotten."""
    edges = np.array([0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0])
    widths, streams = np.diff(edges), np.arange(len(u))
    bins = np.clip(np.searchsorted(edges, u) - 1, 0, len(widths) - 1)
    of_strengths = []
    for strength in (10.0, 40.0, 160.0):
        counts, capital = np.zeros((len(u), len(widths))), np.empty(u.shape)
        for time in range(u.shape[1]):
            chosen = bins[:, time]
            seen = strength * widths[chosen] + counts[streams, chosen]
            total = (strength + counts.sum(axis=1)) * widths[chosen]
            capital[:, time] = np.log(seen / total)
            counts *= forget
            counts[streams, chosen] += 1.0
        of_strengths.append(capital.cumsum(axis=1))
    return np.logaddexp.reduce(of_strengths, axis=0) - math.log(len(of_strengths))


def jumper_capital(u: np.ndarray, jump: float = 0.01) -> np.ndarray:
    """The simple jumper of Vovk (2021): bets on the mean."""
    shares, capital = np.full((len(u), 3), 1 / 3), np.empty(u.shape)
    slopes = np.array([-1.0, 0.0, 1.0])
    for time in range(u.shape[1]):
        payoff = 1.0 + slopes * (u[:, time, None] - 0.5)
        shares = ((1.0 - jump) * shares + jump / 3) * payoff
        factor = shares.sum(axis=1, keepdims=True)
        shares, capital[:, time] = shares / factor, np.log(factor[:, 0])
    return capital.cumsum(axis=1)


def power_capital(u: np.ndarray) -> np.ndarray:
    """The simple mixture of Vovk et al. (2003): powers of p-values, averaged."""
    powers = np.linspace(0.025, 0.975, 20)
    logs = np.log(u).cumsum(axis=1)
    times = np.arange(1, u.shape[1] + 1)
    each = [times * math.log(power) + (power - 1.0) * logs for power in powers]
    return np.logaddexp.reduce(each, axis=0) - math.log(len(powers))


SCHEMES = {
    "monitor": monitor_capital,
    "histogram": histogram_capital,
    "histogram, forgetting": lambda u: histogram_capital(u, 0.998),
    "simple jumper": jumper_capital,
    "powers": power_capital,
}


def first_alarms(capital: np.ndarray) -> np.ndarray:
    """The answer, from 1, that raised the alarm of each stream; 0 if none did."""
    over = capital >= -math.log(LEVEL)
    return np.where(over.any(axis=1), over.argmax(axis=1) + 1, 0)


def chunks(seed: int, streams: int):
    """Generators, and how many streams each is for."""
    for start in range(0, streams, CHUNK):
        random = np.random.default_rng([seed, start])
        yield random, min(CHUNK, streams - start)


def false_alarms(rows: int, scores: Scores, streams: int, length: int, naive=False):
    """Unchanged streams that raise an alarm."""
    alarms = 0
    for random, count in chunks(1, streams):
        calibration = scores(random, (count, rows))
        answers = scores(random, (count, length))
        u = ranks(calibration, answers, random, naive)
        alarms += int((first_alarms(monitor_capital(u)) > 0).sum())
    return {"streams": streams, "answers": length, "alarms": alarms}


def delays(rows: int, quiet: int, kind: str, factor: float, streams: int, schemes):
    """When changed streams raise an alarm, by martingale."""
    found = {name: [] for name in schemes}
    for random, count in chunks(2, streams):
        calibration = gaussian(random, (count, rows))
        after = changed(kind, factor)(random, (count, AFTER))
        scores = np.concatenate([gaussian(random, (count, quiet)), after], axis=1)
        u = ranks(calibration, scores, random) if set(schemes) - {"known"} else None
        for name in schemes:
            capital = (
                log_ratio(kind, factor, after).cumsum(axis=1)
                if name == "known"
                else SCHEMES[name](u)
            )
            found[name].append(first_alarms(capital))
    quiet_of = {name: 0 if name == "known" else quiet for name in schemes}
    return {
        name: told(np.concatenate(alarms), quiet_of[name])
        for name, alarms in found.items()
    }


def told(alarms: np.ndarray, quiet: int) -> dict:
    """Of streams without an alarm before the change: found in time, and when."""
    late = np.where(alarms == 0, quiet + AFTER + 1, alarms)
    delay = late[late > quiet] - quiet
    median, most = np.quantile(delay, [0.5, 0.95], method="higher")
    return {
        "streams": len(delay),
        "false_alarms": int((late <= quiet).sum()),
        "found_within": float((delay <= WITHIN).mean()),
        # Beyond `AFTER` there is no knowing.
        "median": int(median),
        "most_of_95": int(most),
    }


def jobs(settings) -> dict[str, Callable[[], dict]]:
    """What is measured, by the name that it has in the file."""
    streams, length = settings.streams, settings.length
    made = {}
    for rows in ROWS:
        name = f"quiet {rows}"
        made[name] = lambda r=rows: false_alarms(r, gaussian, streams, length)
    few = settings.changed_streams
    for rows in ROWS:
        for quiet in QUIET:
            for kind in KINDS:
                for factor in FACTORS:
                    beside = rows == 1_000 and factor == 2.0
                    schemes = [*SCHEMES] if beside else ["monitor"]
                    schemes += ["known"] if beside and not quiet else []
                    made[f"{kind} x{factor:g} {rows} after {quiet}"] = (
                        lambda r=rows, q=quiet, k=kind, f=factor, s=schemes: delays(
                            r, q, k, f, few, s
                        )
                    )
    for rows in ROWS[:2]:
        for digits in (0, 1):
            made[f"quiet {rows} rounded to {digits}"] = lambda r=rows, d=digits: (
                false_alarms(r, rounded(d), streams, length)
            )
    made["quiet 0"] = lambda: false_alarms(0, gaussian, streams, length)
    for rows in ROWS:
        made[f"quiet {rows} naive"] = lambda r=rows: false_alarms(
            r, gaussian, streams, length, naive=True
        )
    return made


@dataclasses.dataclass(frozen=True)
class DriftSettings:
    """Flags of the benchmark."""

    output: str = options.setting("", "JSON file to write and to continue.")
    streams: int = options.setting(10_000, "Unchanged streams.", low=1)
    length: int = options.setting(10_000, "Answers of each.", low=1)
    changed_streams: int = options.setting(2_000, "Streams of each change.", low=1)
    picture: str = options.setting("", "PNG of one stream to write, and nothing else.")


def markdown(heads, rows) -> str:
    """A table of lines of cells."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def false_alarm_table(runs: dict) -> str:
    """Unchanged streams that raised an alarm, by what the monitor had."""
    rows = [
        (name.removeprefix("quiet "), f"{100 * run['alarms'] / run['streams']:.2f}")
        for name, run in runs.items()
        if name.startswith("quiet")
    ]
    return markdown(("calibration rows", "false alarms, %"), rows)


def delay_cell(of: dict) -> str:
    """Found in time in %, and the median delay in answers."""
    beyond = of["median"] > AFTER
    median = f"> {AFTER:,}" if beyond else str(of["median"])
    return f"{100 * of['found_within']:.1f} ({median})"


def delay_table(runs: dict) -> str:
    """The monitor's delays, by change, calibration rows and answers before."""
    heads = ["change", *(f"{r:,}, after {q:,}" for q in QUIET for r in ROWS)]
    rows = []
    for kind in KINDS:
        for factor in FACTORS:
            names = [f"{kind} x{factor:g} {r} after {q}" for q in QUIET for r in ROWS]
            cells = [delay_cell(runs[n]["monitor"]) if n in runs else "" for n in names]
            rows.append((f"{kind} x{factor:g}", *cells))
    return markdown(heads, rows)


def scheme_table(runs: dict) -> str:
    """Martingales beside one another, of changes that double the refusals."""
    names = [f"{kind} x2 1000 after {quiet}" for quiet in QUIET for kind in KINDS]
    names = [name for name in names if name in runs]
    heads = ["martingale", *(name.replace(" x2 1000", "") for name in names)]
    rows = [
        (
            scheme,
            *(delay_cell(runs[n][scheme]) if scheme in runs[n] else "" for n in names),
        )
        for scheme in (*SCHEMES, "known")
    ]
    return markdown(heads, rows)


def example():
    """The picture of one stream, of which 1.5 times more is refused after 3,000."""
    random = np.random.default_rng(0)
    calibration = gaussian(random, (1, 1_000))[0]
    before, after = (
        gaussian(random, (1, 3_000)),
        changed("moved", 1.5)(random, (1, 1_500)),
    )
    p = p_values(calibration, np.concatenate([before, after], axis=1)[0])
    threshold = np.sort(calibration)[-int(RATE * 1_001)]
    refused = 100.0 * (1.0 - NORMAL.cdf(threshold))
    print(f"of unchanged rows these calibration rows refuse {refused:.1f} %")
    monitor = DriftMonitor(1_000)
    monitor.update(p, p > RATE)
    return plots.draw_drift(
        monitor.history(), LEVEL, alarm_at=monitor.alarm_at, expected=RATE
    )


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(DriftSettings)
    if settings.picture:
        plots.save(example(), settings.picture)
        return
    output = options.require("output")
    saved = {"machine": machine(), "level": LEVEL, "rate": RATE, "runs": {}}
    if os.path.exists(output):
        saved = json_files.read_json(output)
    for name, job in jobs(settings).items():
        if name not in saved["runs"]:
            saved["runs"][name] = job()
            print(name, saved["runs"][name], flush=True)
            json_files.write_json(output, saved)
    for table in (false_alarm_table, delay_table, scheme_table):
        print(f"\n{table(saved['runs'])}")


if __name__ == "__main__":
    options.define_flags(DriftSettings)
    running.run_program(main)
