"""The report that every command writes: the same in JSON, Markdown and HTML, and the page senders no network."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console
from trident_bench.drawing import OURS, bars, picture, stacked_bars
from trident_bench.report import Report, Section, Spread, Table, figure


class Addresses(HTMLParser):
    """Collects what a page would load or lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.found += [value for name, value in attributes if name in {"src", "href", "srcset", "action", "data"}]


def draw(file: Path) -> None:
    with picture(file, 6, 3, "A picture") as canvas:
        left, right = canvas.subplots(1, 2)
        bars(left, "Bars", [("one", Spread(2, 1, 3), OURS), ("two", None, OURS)])
        stacked_bars(right, "Parts", [("one", [(1.0, OURS, "a"), (3.0, "#ffffff", "b")], "4 ms")])


@pytest.fixture
def report(tmp_path) -> Report:
    draw(tmp_path / "picture.png")
    table = Table("Rates", ("name", "a second"), [["Some <name>", "1,234"]])
    details = Table("Details", ("name", "ms"), [["hidden", "5"]])
    section = Section("Results", ["A note & more"], [table], ["picture.png"], [details])
    return Report("A title", {"rate": 1234.5}, [section], {"seconds": "5"})


def test_the_page_holds_everything_and_asks_no_network(report, tmp_path):
    *_, file = report.write(tmp_path)
    page = file.read_text("utf-8")
    parser = Addresses()
    parser.feed(page)
    assert parser.found
    assert all(address.startswith("data:") for address in parser.found), parser.found
    assert not {"script", "iframe"} & set(parser.tags)
    assert not re.search(r"url\(|@import", page)
    assert 'name="viewport"' in page
    for text in ("A title", "Some &lt;name&gt;", "A note &amp; more", "1,234", "hidden", "seconds: 5", "cores: "):
        assert text in page


def test_json_has_the_results_beside_machine_and_versions(report, tmp_path):
    found = json.loads(report.write(tmp_path)[0].read_text("utf-8"))
    assert found["rate"] == 1234.5
    assert {"date", "machine", "versions"} < set(found)


def test_markdown_and_terminal_show_the_same_table(report, tmp_path):
    text = report.write(tmp_path)[1].read_text("utf-8")
    assert "| Some <name> | 1,234 |" in text
    assert "![Results](picture.png)" in text
    console = Console(record=True, width=160)
    report.show(console)
    shown = console.export_text()
    assert "1,234" in shown
    assert "A note & more" in shown
    assert "hidden" not in shown


def test_the_same_figures_make_the_same_picture(tmp_path):
    for name in ("one.png", "two.png"):
        draw(tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_spread_is_median_and_extremes():
    assert Spread.of([3.0, 1.0, 8.0]) == Spread(median=3.0, low=1.0, high=8.0)
    with pytest.raises(ValueError, match="at least one"):
        Spread.of([])


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.00123, "0.00123"), (0.1234, "0.123"), (12.345, "12.3"), (99.96, "100"), (1234.5, "1,234")],
)
def test_figures_have_three_digits(value, shown):
    assert figure(value) == shown
