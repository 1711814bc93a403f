"""What a search reports of its trials: a table, as csv and Markdown, and a picture."""

import csv
from pathlib import Path

from keras_ebm import plots


def table_of(tuner) -> list[dict]:
    """A row for each trial, in their order: what was tried and what came of it.

    Returns:
        List of dicts: `trial`, `status`, the objective (None where it failed),
        `steps`, `seconds` of the process that ended it, the parameters, `after` (the
        trial that hyperband let it go on from) and `reason` of a failure.
    """
    rows = []
    for name, trial in sorted(tuner.oracle.trials.items()):
        values = trial.hyperparameters.values
        result = tuner.result_of(name)
        rows.append(
            {
                "trial": name,
                "status": trial.status.lower(),
                tuner.task.objective.name: result.get(tuner.task.objective.name),
                "steps": result.get("steps"),
                "seconds": result.get("seconds"),
                **{p.name: values[p.name] for p in tuner.task.space},
                "after": values.get("tuner/trial_id", ""),
                "reason": result.get("reason", ""),
            }
        )
    return rows


def write_table(path: Path, rows: list[dict]) -> None:
    """Writes the rows as csv."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def markdown(rows: list[dict], objective) -> str:
    """The rows as a Markdown table, the best first and failures last."""
    sign = -1.0 if objective.direction == "max" else 1.0

    def order(row):
        value = row[objective.name]
        return (value is None, 0.0 if value is None else sign * value)

    names = [name for name in rows[0] if name != "reason"]
    lines = [names, ["---"] * len(names)]
    lines += [[_cell(row[n]) for n in names] for row in sorted(rows, key=order)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def draw(path: Path, task, rows: list[dict]) -> None:
    """Draws the trials as lines over the parameters to the objective."""
    axes = [
        plots.ParallelAxis(
            p.name, [row[p.name] for row in rows], p.scale, p.ends or p.values
        )
        for p in task.space
    ]
    values = [row[task.objective.name] for row in rows]
    higher = task.objective.direction == "max"
    figure = plots.parallel_coordinates(axes, values, task.objective.name, higher)
    plots.save(figure, path)
