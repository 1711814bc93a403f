"""What a search reports of its trials: a table, as csv and Markdown, and a picture."""

import csv
import io
from pathlib import Path

from keras_ebm import files, plots


def table_of(tuner) -> list[dict]:
    """A row for each trial, in their order: what was tried and what came of it.

    Returns:
        List of dicts: `trial`, `status`, the objective and `val_nll` (nats; None
        where it failed), `steps`, `seconds` of the process that ended it, the
        parameters, `after` (the trial that hyperband let it go on from) and `reason`
        of a failure.
    """
    # The likelihood tells apart what classifies as many rows rightly.
    names = dict.fromkeys([tuner.task.objective.name, "val_nll"])
    rows = []
    for name, trial in sorted(tuner.oracle.trials.items(), key=_number):
        values = trial.hyperparameters.values
        result = tuner.result_of(name)
        rows.append(
            {
                "trial": name,
                "status": trial.status.lower(),
                **{name: result.get(name) for name in names},
                "steps": result.get("steps"),
                "seconds": result.get("seconds"),
                **{p.name: values[p.name] for p in tuner.task.space},
                "after": values.get("tuner/trial_id", ""),
                "reason": result.get("reason", ""),
            }
        )
    return rows


def _number(item):
    """Of a trial; their names are as long as `--trials` was when they began."""
    return int(item[0])


def write_table(path: Path, rows: list[dict]) -> None:
    """Writes the rows as csv."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(path, text.getvalue())


def by_merit(rows: list[dict], objective) -> list[dict]:
    """The rows with the best first, of equals that of the lower `val_nll`."""
    sign = -1.0 if objective.direction == "max" else 1.0

    def order(row):
        if row[objective.name] is None:
            return (True,)
        return (False, sign * row[objective.name], row["val_nll"], int(row["trial"]))

    return sorted(rows, key=order)


def markdown(rows: list[dict], objective) -> str:
    """The rows as a Markdown table, the best first and failures last."""
    names = [name for name in rows[0] if name != "reason"]
    lines = [names, ["---"] * len(names)]
    lines += [[_cell(row[n]) for n in names] for row in by_merit(rows, objective)]
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
