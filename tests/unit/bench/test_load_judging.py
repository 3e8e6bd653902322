"""Knees, bottlenecks and the report, on made-up points."""

import csv
import re
from html.parser import HTMLParser

import pytest
from trident_bench.load.knee import at_a_time, find_knee, lone_latency, name_bottleneck
from trident_bench.load.page import Report, draw_all, write_page
from trident_bench.load.points import as_csv
from trident_bench.load.summary import facade_share, summarise
from trident_bench.load.sweep import Step
from trident_bench.report import figure

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def sweep(point):
    """Saturates at 400 requests a second; p99 passes ten times 5 ms after 16 under way."""
    found = {1: (100, 10), 4: (250, 18), 16: (390, 45), 32: (400, 90), 64: (398, 180)}
    return [point(value, throughput, p99) for value, (throughput, p99) in found.items()]


def test_the_knee_is_the_highest_throughput_within_a_multiple_of_a_lone_requests_latency(sweep):
    assert lone_latency(sweep) == 5
    knee = find_knee(sweep, lone_ms=5, multiple=10)
    assert (knee.point.value, knee.limit_ms, knee.within) == (16, 50, False)
    assert find_knee(sweep, lone_ms=5, multiple=20).point.value == 32


def test_a_sweep_that_ends_before_its_knee_says_so(sweep):
    knee = find_knee(sweep[:3], lone_ms=5, multiple=10)
    assert (knee.point.value, knee.within) == (16, True)


def test_points_with_failures_are_no_knee(sweep, point):
    assert find_knee([*sweep, point(24, 999, 20, failures=1)], lone_ms=5).point.value == 16
    none = find_knee([point(1, 100, 900)], lone_ms=5)
    assert (none.point, none.within) == (None, False)


def test_without_a_lone_request_the_lightest_load_stands_for_it(point):
    assert lone_latency([point(100, 100, 40, mode="rate"), point(20, 20, 8, mode="rate")]) == 4
    assert lone_latency([]) is None


def test_the_stage_that_computes_all_the_time_is_the_bottleneck(point, stage):
    only = point(stages=(stage("qa_tokenizer", 0.3, queue_ms=50), stage("qa_reader", 0.97), stage("qa_decoder", 0.1)))
    found = name_bottleneck(only.window, at_a_time([only]))
    assert (found.kind, found.name) == ("stage", "qa_reader")
    assert "97%" in found.why


def test_busy_cores_without_a_busy_stage_are_the_bottleneck(point, stage):
    only = point(stages=(stage(busy=0.4),), cores_busy=0.97)
    found = name_bottleneck(only.window, at_a_time([only]))
    assert (found.kind, found.name) == ("cores", "")
    assert "97%" in found.why
    assert "40%" in found.why


def test_a_machine_with_time_left_has_no_bottleneck(point, stage):
    only = point(stages=(stage(busy=0.4),), cores_busy=0.5)
    assert name_bottleneck(only.window, at_a_time([only])).kind == "none"


def test_a_stage_that_takes_two_batches_at_a_time_is_no_bottleneck_with_one_of_them(point, stage):
    def with_busy(under_way, busy):
        return point(under_way, stages=(stage("encoder", busy), stage("tokenizer", 0.2)), cores_busy=busy / 2)

    half, full = with_busy(4, 1.0), with_busy(64, 1.87)
    most = at_a_time([half, full])
    assert most == {"encoder": 2, "tokenizer": 1}
    assert name_bottleneck(half.window, most).kind == "none"
    found = name_bottleneck(full.window, most)
    assert (found.kind, found.name) == ("stage", "encoder")
    assert "187% of the 200% that 2 batches at a time can take" in found.why
    less = half.model_copy(update={"protocol": "http"})
    by_http, by_grpc = summarise([less, full], 1000)
    assert (by_http.modes[0].bottleneck.kind, by_grpc.modes[0].bottleneck.kind) == ("none", "stage")
    assert at_a_time([point(1, stages=(stage("encoder", 1.04),))]) == {"encoder": 1}, "clocks differ a little"


def test_the_facades_share_is_taken_where_both_have_as_many_requests_under_way(point):
    points = [point(1, 100, 10), point(16, 400, 40), point(64, 500, 140)]
    points += [point(1, 80, 12, protocol="facade"), point(16, 300, 60, protocol="facade")]
    assert facade_share(summarise(points, 10)) == (16, 0.75)
    assert facade_share(summarise(points[:3], 10)) is None


def test_the_table_has_every_stages_columns(sweep, point, stage):
    three = point(1, ensemble="qa", stages=(stage("a"), stage("b", 0.5), stage("c")))
    rows = list(csv.DictReader(as_csv([*sweep, three]).splitlines()))
    assert len(rows) == 6
    assert (rows[0]["stage_2_model"], rows[0]["stage_3_model"]) == ("sts_encoder", None)
    assert (rows[5]["stage_2_model"], rows[5]["stage_2_busy"], rows[5]["stage_3_model"]) == ("b", "0.5000", "c")
    assert float(rows[2]["requests_per_second"]) == 390


class Addresses(HTMLParser):
    """Collects what a page would load or lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.found += [value for name, value in attributes if name in {"src", "href", "srcset", "action", "data"}]


def report_of(sweeps, **given) -> Report:
    told = {
        "sweeps": sweeps,
        "failed": [],
        "notes": [],
        "settings": {"seconds a point": "5"},
        "machine": {"processor": "Some <processor>", "cores": "2"},
        "versions": {"Triton": "triton 2.51.0"},
        "written": "2026-01-01 00:00 UTC",
        "multiple": 10.0,
        "interrupted": False,
    }
    return Report(**(told | given))


def test_the_page_holds_everything_and_asks_no_network(sweep, point):
    sweeps = summarise([*sweep, point(300, 280, 30, mode="rate"), point(1, protocol="facade")], 10)
    plots = draw_all(sweeps)
    assert list(plots) == ["sts"]
    assert plots["sts"].startswith(PNG)
    page = write_page(
        report_of(sweeps, notes=["A note & more"], failed=[Step("qa http rate 9", None, "too slow")]), plots
    )
    parser = Addresses()
    parser.feed(page)
    assert all(address.startswith(("data:", "#")) for address in parser.found), parser.found
    assert not {"script", "iframe", "link rel=stylesheet"} & set(parser.tags)
    assert not re.search(r"url\(|@import", page)
    assert 'name="viewport"' in page
    for said in (
        "Some &lt;processor&gt;",
        "A note &amp; more",
        "qa http rate 9: too slow",
        "triton 2.51.0",
        "sts_encoder",
    ):
        assert said in page
    assert page.count('class="knee"') == 3


def test_a_page_of_a_knee_that_was_not_found_and_of_an_interrupted_run_says_so(point):
    sweeps = summarise([point(8, 100, 90, failures=4)], 10)
    page = write_page(report_of(sweeps, interrupted=True), draw_all(sweeps))
    assert "No point without failures" in page
    assert "interrupted" in page


@pytest.mark.parametrize(
    ("value", "told"),
    [(0, "0"), (0.00123, "0.00123"), (0.1234, "0.123"), (12.345, "12.3"), (99.96, "100"), (1234.5, "1,234")],
)
def test_figures_have_three_digits(value, told):
    assert figure(value) == told
