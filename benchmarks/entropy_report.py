"""Table and picture of `benchmarks.entropy_recovery`."""

import math

import numpy as np

from keras_ebm import plots

#: The batch whose noise is shown.
NOISE_BATCH = 200


def summary(rows: list[dict]) -> dict:
    """Mean over seeds, and the worst seed: farthest from 1."""
    values = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    recovery = values["recovery"]
    return {
        "passes": int(values["passes"][0]),
        "recovery": float(recovery.mean()),
        "worst_recovery": float(recovery[np.argmax(np.abs(recovery - 1.0))]),
        "cosine": float(values["cosine"].mean()),
        "worst_cosine": float(values["cosine"].min()),
        "noise": float(values["noise"].mean()),
    }


def table(results: dict) -> str:
    """Markdown: one table a generator."""
    lines = [
        "Recovery and cosine: mean over seeds, worst seed in brackets; 1 is perfect. "
        f"Noise: of a batch of {NOISE_BATCH}, over the power of the truth. "
        "Passes through the generator beyond those of a step without entropy. "
        "What each means: `benchmarks/entropy_recovery.py`.\n"
    ]
    for name, case in results["cases"].items():
        truth = case["truth"]
        lines.append(f"\n### {name} ({case['draws']} samples, {len(truth)} seeds)\n")
        if not name.startswith("linear"):
            best = min(t["attainable_cosine"] for t in truth)
            half = min(t["split_half_cosine"] for t in truth)
            text = f"The truth's halves agree to a cosine of {half:.3f} at worst, "
            lines.append(text + f"so that {best:.3f} is attainable.")
        if "minority_sign" in truth[0]:
            shares = ", ".join(f"{t['minority_sign']:.0%}" for t in truth)
            lines.append(f"Share of samples on the smaller orientation: {shares}.")
        lines += ["", "| estimator | passes | recovery | cosine | noise |"]
        lines.append("|---|---:|---:|---:|---:|")
        for estimator, rows in case["estimators"].items():
            s = summary(rows)
            lines.append(
                f"| {estimator} | {s['passes']} "
                f"| {s['recovery']:.2f} ({s['worst_recovery']:.2f}) "
                f"| {s['cosine']:.3f} ({s['worst_cosine']:.3f}) | {s['noise']:.2g} |"
            )
    return "\n".join(lines) + "\n"


#: Colours by how a name starts, and markers in the order of a family's members.
COLOURS = {
    "none": "black",
    "importance": "tab:blue",
    "log volume": "tab:red",
    "HMC": "tab:green",
    "mutual information": "tab:purple",
    "exact linear": "tab:gray",
}
MARKERS = "os^D"
#: Of recovery and of cosine.
LIMITS = ((-0.5, 1.5), (-0.5, 1.05))


def draw(results: dict):
    """Recovery (upper) and cosine (lower) against passes, one column a generator."""
    cases = results["cases"]
    columns = math.ceil(len(cases) / 2)
    # Every estimator of any generator, in the order of their first.
    estimators = dict.fromkeys(e for c in cases.values() for e in c["estimators"])
    styles = _styles(estimators)
    figure, axes = plots.pyplot().subplots(
        4, columns, figsize=(3.0 * columns, 11), squeeze=False, sharey="row"
    )
    handles = {}
    for index in range(2 * columns):
        row, column = divmod(index, columns)
        pair = axes[2 * row : 2 * row + 2, column]
        if index >= len(cases):
            for axis in pair:
                axis.set_visible(False)
            continue
        name = list(cases)[index]
        _draw_case(pair, cases[name]["estimators"], styles)
        pair[0].set_title(name, fontsize=10)
        pair[1].set_xlabel("passes through the generator")
        found = zip(*pair[0].get_legend_handles_labels(), strict=True)
        handles |= {label: handle for handle, label in found}
    for row, key in enumerate(("recovery", "cosine") * 2):
        axes[row, 0].set_ylabel(key)
    figure.legend(
        [handles[name] for name in estimators],
        list(estimators),
        loc="lower center",
        ncols=5,
        fontsize=9,
        frameon=False,
    )
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    return figure


def _draw_case(pair, estimators: dict, styles: dict) -> None:
    for name, rows in estimators.items():
        colour, marker = styles[name]
        # No pass at all stands at the left edge of a logarithmic axis.
        cost = summary(rows)["passes"] or 0.7
        for axis, key, (low, high) in zip(
            pair, ("recovery", "cosine"), LIMITS, strict=True
        ):
            # What is beyond the axes is drawn on their edge.
            seeds = np.clip([row[key] for row in rows], low, high)
            style = {"color": colour, "clip_on": False}
            axis.plot([cost] * len(rows), seeds, lw=1.2, **style)
            axis.plot(cost, np.mean(seeds), marker, ms=5.5, label=name, **style)
            axis.set(ylim=(low, high), xscale="log", xlim=(0.5, 400))
    for axis in pair:
        axis.axhline(1.0, color="gray", lw=0.8, ls=":")
        axis.axvline(22.0, color="tab:blue", lw=0.8, ls=":")
        axis.set_xticks([0.7, 10, 100], ["0", "10", "100"])
        axis.set_xticks([], minor=True)


def _styles(names) -> dict:
    """Colour and marker of every estimator."""
    styles, members = {}, {}
    for name in names:
        family = next(key for key in COLOURS if name.startswith(key))
        count = members[family] = members.get(family, -1) + 1
        styles[name] = COLOURS[family], MARKERS[count]
    return styles
