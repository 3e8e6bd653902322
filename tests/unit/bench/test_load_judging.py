"""Knees, bottlenecks and their report, on made-up points."""

import pytest
from trident_bench.load.report import sections
from trident_bench.load.summary import (
    concurrent_executions,
    facade_share,
    find_bottleneck,
    find_knee,
    lone_latency,
    summarise,
)

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


def test_the_stage_that_computes_all_the_time_is_the_bottleneck(point, stage):
    only = point(stages=(stage("qa_tokenizer", 0.3, queue_ms=50), stage("qa_reader", 0.97), stage("qa_decoder", 0.1)))
    found = find_bottleneck(only.window, concurrent_executions([only]))
    assert (found.kind, found.name) == ("stage", "qa_reader")
    assert "97%" in found.why


def test_busy_cores_without_a_busy_stage_are_the_bottleneck(point, stage):
    only = point(stages=(stage(busy=0.4),), cores_busy=0.97)
    found = find_bottleneck(only.window, concurrent_executions([only]))
    assert (found.kind, found.name) == ("cores", "")
    assert "97%" in found.why
    assert "40%" in found.why


def test_a_machine_with_time_left_has_no_bottleneck(point, stage):
    only = point(stages=(stage(busy=0.4),), cores_busy=0.5)
    assert find_bottleneck(only.window, concurrent_executions([only])).kind == "none"


def test_a_stage_that_takes_two_batches_at_a_time_is_no_bottleneck_with_one_of_them(point, stage):
    def with_busy(under_way, busy):
        return point(under_way, stages=(stage("encoder", busy), stage("tokenizer", 0.2)), cores_busy=busy / 2)

    half, full = with_busy(4, 1.0), with_busy(64, 1.87)
    most = concurrent_executions([half, full])
    assert most == {"encoder": 2, "tokenizer": 1}
    assert find_bottleneck(half.window, most).kind == "none"
    found = find_bottleneck(full.window, most)
    assert (found.kind, found.name) == ("stage", "encoder")
    assert "187% of the 200% that 2 batches at a time can take" in found.why
    less = half.model_copy(update={"protocol": "http"})
    by_http, by_grpc = summarise([less, full], 1000)
    assert (by_http.curves[0].bottleneck.kind, by_grpc.curves[0].bottleneck.kind) == ("none", "stage")
    assert concurrent_executions([point(1, stages=(stage("encoder", 1.04),))]) == {"encoder": 1}, (
        "clocks differ a little"
    )


def test_the_facades_share_is_taken_where_both_have_as_many_requests_under_way(point):
    points = [point(1, 100, 10), point(16, 400, 40), point(64, 500, 140)]
    points += [point(1, 80, 12, protocol="facade"), point(16, 300, 60, protocol="facade")]
    assert facade_share(summarise(points, 10)) == (16, 0.75)
    assert facade_share(summarise(points[:3], 10)) is None


def test_the_sections_hold_every_point_and_name_what_is_missing(sweep, point, tmp_path):
    points = [*sweep, point(300, 280, 30, mode="rate"), point(1, protocol="facade")]
    glance, sts = sections(summarise(points, 10), 10, ["A note"], tmp_path)
    assert glance.remarks[0] == "A note"
    assert [row[:3] for row in glance.tables[0].rows] == [
        ["sts", "gRPC", "sts_encoder"],
        ["sts", "facade", "sts_encoder"],
    ]
    assert glance.tables[0].rows[0][4:] == ["390", "16", "45", "400", "≥ 280"]
    assert (tmp_path / sts.pictures[0]).read_bytes().startswith(PNG)
    rows = [row for table in sts.details for row in table.rows]
    # Every point, with its stages in the last columns; each curve's knee is marked.
    assert len(rows) == len(points)
    assert all(row[-1].endswith("%") and "+" in row[-1] for row in rows)
    assert [row[0] for row in rows if row[0].endswith("(knee)")] == [
        "16 under way (knee)",
        "300 a second (knee)",
        "1 under way (knee)",
    ]
    assert any(each.startswith("gRPC, closed loop: bottleneck: sts_encoder computes") for each in sts.remarks)


def test_a_knee_that_was_not_found_is_said(point, tmp_path):
    _, sts = sections(summarise([point(8, 100, 90, failures=4)], 10), 10, [], tmp_path)
    assert sts.remarks == ["gRPC, closed loop: no point without failures has a p99 of at most 450 ms."]
