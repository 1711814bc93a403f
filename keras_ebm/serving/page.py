"""The card of an export as a page that a person reads: `card.html` beside its JSON."""

import html
import json
import math
from typing import Any

from keras_ebm import pages

#: Keys of `about`, and the headings that their measures stand under.
ABOUT = {
    "data": "What it was trained on",
    "training": "How training went",
    "held_out": "On rows that nothing saw",
    "foreign": "Foreign rows",
}
TITLES = {
    "score": "Score that the decision compares",
    "target_fpr": "False-alarm rate",
    "false_alarms_at_most": "Known rows refused, on the mean at most",
    "calibration": "Calibration",
    "calibration_rows": "Calibration rows, n",
    "per_class": "Compared within the predicted class",
    "threshold": "Threshold of the score",
    "trained_on": "Split, digest",
    "weights_sha256": "Weights, SHA-256",
    "calibration_sha256": "Calibration scores, SHA-256",
    "dataset": "Data",
    "fingerprint": "Data, digest",
    "seed": "Seed of the split",
    "energy": "Energy on the test rows, mean (nats)",
    "num_test": "Test rows",
    "epochs": "Epochs",
    "accuracy": "Accuracy",
    "nll": "Negative log-likelihood (nats)",
    "ece": "Expected calibration error",
    "brier": "Brier score",
    "temperature": "Temperature of the probabilities",
    "lapse_rate": "Lapse rate of the probabilities",
    "num_rows": "Rows",
    "refused": "Refused",
    "refused_share": "Share refused",
    "refused_low": "Share refused, 95 % interval from",
    "refused_high": "Share refused, 95 % interval to",
    "expected_low": "By the calibration it should lie, 95 %, from",
    "expected_high": "By the calibration it should lie, 95 %, to",
    "accepted_accuracy": "Accuracy on accepted rows",
}
PROMISE = (
    "A row that is exchangeable with the calibration rows is refused with a "
    "probability of {rate} at most, on the mean over sets of {rows}, whatever the "
    "network."
)
#: What a reader might take for promised.
NOT_PROMISED = (
    "That foreign rows are refused. How many of them are depends on the network and on "
    "them; what was measured stands on this page, if anything was.",
    "The rate for rows unlike the calibration rows: of another time, place, camera or "
    "client the share refused may be any. Watch it.",
    "The rate for this one set of calibration rows: it scatters about its mean, the "
    "more the fewer they are.",
    "The rate within a class or a group of rows, unless it is compared within classes.",
    "That an accepted answer is right. Its probabilities tell how sure the model is.",
)


def card_page(card: dict[str, Any]) -> str:
    """The card as HTML, which links to nothing.

    Args:
        card: what `keras_ebm.serving.export.model_card` gives, with `about` where there
            is more to tell: dicts of measures by the keys of `ABOUT`.
    """
    about = card.get("about", {})
    parts = [pages.paragraph(_summary(card)), _promises(card)]
    for name, title in ABOUT.items():
        values = about.get(name)
        if values:
            is_foreign = name == "foreign"
            shown = _foreign(values, card["score"]) if is_foreign else _scalars(values)
            parts.append(pages.section(title, shown))
    parts.append(pages.section("Decision", _scalars(_decision(card))))
    if card.get("ranges"):
        parts.append(pages.section("Columns", _ranges(card["ranges"])))
    if card.get("recalibrated"):
        parts.append(pages.section("Earlier calibrations", _earlier(card)))
    parts.append(pages.section("Versions", _scalars(card.get("versions", {}))))
    return pages.page("Model card", parts)


def check_about(about: Any) -> None:
    """Raises ValueError unless `about` is what a card can show, and JSON can hold."""
    keys = list(about) if isinstance(about, dict) else None
    if keys is None or set(keys) - ABOUT.keys():
        raise ValueError(
            f"`about` must be a dict with keys of {', '.join(ABOUT)}. Received: "
            f"{type(about).__name__ if keys is None else keys}."
        )
    try:
        json.dumps(about, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`about` must hold what strict JSON can. Received: {error}; give plain "
            "numbers, texts, lists and dicts, and leave out what is NaN."
        ) from error


def _summary(card: dict) -> str:
    classes = card.get("class_names")
    what = f"A classifier of {len(classes)} classes" if classes else "A density"
    return (
        f"{what} that answers with its energy, a p-value, whether a row is accepted, "
        "and the reason."
    )


def _promises(card: dict) -> str:
    rate = card["false_alarms_at_most"]
    rows = f"{card['calibration_rows']} calibration rows"
    if card["per_class"]:
        fewest = min(card["calibration_rows_by_class"])
        rows = f"at least {fewest} calibration rows of its predicted class"
    held = PROMISE.format(rate=f"{rate:.4g}", rows=rows)
    items = "\n".join(f"<li>{html.escape(text)}</li>" for text in NOT_PROMISED)
    return (
        pages.section("What is promised", pages.paragraph(held))
        + "\n"
        + pages.section("What is not", f"<ul>\n{items}\n</ul>")
    )


def _decision(card: dict) -> dict:
    names = [name for name in TITLES if name in card]
    shown = {name: card[name] for name in names}
    if isinstance(shown.get("threshold"), list):
        values = shown["threshold"]
        shown["threshold"] = ", ".join(f"{value:.4g}" for value in values)
    return shown


def _scalars(values: dict) -> str:
    """A table of values; lists in a line, and dicts by their own keys."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{name}: {key}": own for key, own in value.items()}
        elif isinstance(value, list):
            flat[name] = ", ".join(map(str, value))
        else:
            flat[name] = value
    return pages.measures(flat, TITLES)


def _foreign(sets: dict, served: str) -> str:
    """AUROC by score and foreign set, in %; the score that is served first."""
    names = dict.fromkeys(name for scores in sets.values() for name in scores)
    head = "".join(f'<th class="number">{html.escape(spec)}</th>' for spec in sets)
    rows = []
    for name in sorted(names, key=lambda name: name != served):
        cells = "".join(
            f'<td class="number">{pages.percent(scores[name])}</td>'
            if name in scores
            else "<td></td>"
            for scores in sets.values()
        )
        mark = " (which is served)" if name == served else ""
        title = f'<th scope="row">{html.escape(name)}{mark}</th>'
        rows.append(f"<tr>{title}{cells}</tr>")
    return pages.table(rows, f"<tr><th>AUROC in % by</th>{head}</tr>")


def _ranges(columns: dict) -> str:
    rows = []
    for name, known in columns.items():
        if "words" in known:
            words = known["words"]
            more = f" and {len(words) - 20} more" if len(words) > 20 else ""
            text = html.escape(", ".join(words[:20]) + more)
        else:
            ends = known["low"], known["high"]
            text = " to ".join(pages.number(end, _plain(end)) for end in ends)
        rows.append(f'<tr><th scope="row">{html.escape(name)}</th><td>{text}</td></tr>')
    return pages.table(rows, "<tr><th>Column</th><th>In training</th></tr>")


def _plain(value: float) -> str:
    whole = math.isfinite(value) and value == int(value) and abs(value) < 1e15
    return f"{int(value)}" if whole else f"{value:.6g}"


def _earlier(card: dict) -> str:
    rows = [
        f"<tr><th>{place}</th><td>{html.escape(str(own['calibration_sha256']))}</td></tr>"
        for place, own in enumerate(card["recalibrated"], 1)
    ]
    return pages.table(rows)
