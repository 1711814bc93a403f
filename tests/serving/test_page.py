"""The card of an export as a page."""

import html.parser
import json

import pytest

from keras_ebm.serving import export_classifier
from keras_ebm.serving.page import NOT_PROMISED, card_page


class Reader(html.parser.HTMLParser):
    """Elements that were opened and not closed, and what links elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.opened, self.links, self.headings = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag in ("h1", "h2"):
            self.headings.append(tag)
        if tag not in ("meta", "img"):
            self.opened.append(tag)

    def handle_endtag(self, tag):
        assert self.opened.pop() == tag


def card_of(export) -> dict:
    return json.loads((export.path / "assets.extra/keras_ebm.json").read_text("utf-8"))


@pytest.mark.parametrize("name", ["table_export", "vector_export"])
def test_the_page_is_whole_and_links_to_nothing(name, request):
    export = request.getfixturevalue(name)
    text = (export.path / "assets.extra/card.html").read_text("utf-8")
    assert text == card_page(card_of(export))
    reader = Reader(text)
    assert reader.opened == [] and reader.links == []
    assert reader.headings.count("h1") == 1
    assert all(promise.split(":")[0] in text for promise in NOT_PROMISED)


def test_the_page_shows_promise_ranges_and_foreign_sets(table_export):
    card = card_of(table_export)
    card["about"] = {
        "data": {"dataset": "<script>alert(1)</script>"},
        "foreign": {"noise:uniform": {"knn": 0.5, "energy": 0.875}},
    }
    text = card_page(card)
    assert "refused with a probability of 0.1 at most" in text
    assert "sets of 99 calibration rows" in text
    assert text.count("<script>") == 1 and "&lt;script&gt;alert(1)" in text
    # The score that is served stands first.
    assert text.index("energy (which is served)") < text.index(">knn<")
    assert '<data value="0.875">87.5</data>' in text
    low = card["ranges"]["age"]["low"]
    assert f'<data value="{low!r}">' in text and "Graz, Linz, Wien" in text


@pytest.mark.parametrize(
    "about, message",
    [
        ({"other": {}}, "keys of data, training, held_out, foreign. Received: ."),
        ("text", "Received: str"),
        ({"data": {"x": float("nan")}}, "leave out what is NaN"),
        ({"data": {"x": object()}}, "what strict JSON can"),
    ],
)
def test_what_a_card_cannot_hold_is_refused_before_anything_is_written(
    table_export, tmp_path, about, message
):
    with pytest.raises(ValueError, match=message):
        export_classifier(
            table_export.detector, tmp_path / "m", table_export.rows, about=about
        )
    assert list(tmp_path.iterdir()) == []
