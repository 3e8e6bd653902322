"""What the load generators tell is read as they tell it; what they send is as it should be."""

import json
import random
from collections import Counter

import pytest
from trident_bench import korean
from trident_bench.load import facade_load, triton_load
from trident_bench.load.ensembles import Ensemble, Stage, choose
from trident_bench.load.errors import LoadError, MissingGeneratorError, PointError, TooShortError
from trident_bench.load.plan import Level
from trident_bench.load.traffic import write_traffic
from trident_bench.load.window import stage_use

TABLE = """\
Request Rate,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,\
Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency,Avg latency,\
request/response,response wait
199,195.208,7,4831,2,56,8808,528,1,12934,23187,26723,35891,14236,8,14220
"""
SAID = """\
    Request count: 584
    Avg send request rate: 196.88 infer/sec
    [WARNING] Perf Analyzer was not able to keep up with the desired request rate. 8.05% of the requests were delayed.
  Server:
    Inference count: 590
"""


def ensemble(name: str, inputs: set[str], outputs: set[str], languages: tuple[str, ...] = ("en",)) -> Ensemble:
    return Ensemble(name, frozenset(inputs), frozenset(outputs), (Stage("tokenizer", 1),), languages, ())


def test_perf_analyzers_table_is_read_in_milliseconds():
    load = triton_load.read_load(TABLE, SAID, failures=3)
    assert (load.requests, load.failures, load.throughput, load.late) == (584, 3, 195.208, 0.0805)
    assert load.latency.model_dump() == {"mean": 14.236, "p50": 12.934, "p90": 23.187, "p95": 26.723, "p99": 35.891}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", SAID),
        (TABLE, "Failed to obtain stable measurement."),
        (TABLE, "Request count: 0"),
        (TABLE.replace("p99 latency", "p98 latency"), SAID),
        (TABLE.replace("35891", "n/a"), SAID),
    ],
)
def test_a_table_that_tells_nothing_is_no_measurement(table, said):
    with pytest.raises(PointError):
        triton_load.read_load(table, said, 0)


def test_what_perf_analyzer_fails_with_is_told_without_its_settings():
    said = "*** Measurement Settings ***\n  Batch size: 1\n  Window: 5\n\nerror: failed to get model metadata\n\n"
    told = triton_load.failure("Successfully read data\n" * 5 + said)
    assert "failed to get model metadata" in str(told)
    assert "Successfully" not in str(told)
    assert isinstance(triton_load.failure("No valid requests recorded within time interval."), TooShortError)


def test_a_schedule_is_random_and_has_exactly_the_asked_rate(tmp_path):
    file = tmp_path / "schedule"
    triton_load.write_schedule(file, rate=200, seconds=5)
    pauses = [int(line) for line in file.read_text().split()]
    assert len(pauses) == 1000
    assert sum(pauses) == pytest.approx(5e6, rel=1e-3)
    assert min(pauses) > 0
    # Of a Poisson process, 63 % of the pauses are shorter than the mean one.
    assert 0.58 < sum(pause < 5000 for pause in pauses) / 1000 < 0.68


def test_locusts_latencies_are_told_unrounded():
    rng = random.Random(1)
    latencies = [rng.uniform(5, 300) for _ in range(1000)]
    told = json.dumps({"latencies": latencies, "failures": {"HTTP 429": 7, "reset": 2}, "late": 0.25})
    load = facade_load.read_load(told, seconds=4)
    assert (load.requests, load.failures, load.throughput, load.late) == (1000, 9, 250.0, 0.25)
    assert sorted(latencies)[989] <= load.latency.p99 <= sorted(latencies)[990]
    assert load.latency.p50 < load.latency.p90 < load.latency.p95 < load.latency.p99


def test_a_facade_that_answers_nothing_is_no_measurement_and_says_why():
    with pytest.raises(PointError, match="connection refused"):
        facade_load.read_load('{"latencies": [], "failures": {"connection refused": 5}, "late": 0}', 1)


def test_locust_that_cannot_be_installed_is_told(tmp_path):
    pinned = tmp_path / "pinned.txt"
    pinned.write_text(f"nothing @ file://{tmp_path}/nothing.whl\n")
    with pytest.raises(MissingGeneratorError, match="could not be installed"):
        facade_load.install(tmp_path / "environment", pinned)


def test_requests_differ_and_are_the_same_every_time(tmp_path):
    similarity = ensemble("sts", {"SENTENCE_1", "SENTENCE_2"}, {"SIMILARITY"})
    traffic = write_traffic(similarity, tmp_path, count=100)
    rows = json.loads(traffic.triton.read_text("utf-8"))["data"]
    facade = json.loads(traffic.facade.read_text("utf-8"))
    assert len({json.dumps(row) for row in rows}) > 90
    assert facade["path"] == "/pred/sentences"
    assert facade["bodies"][5] == {
        "sentence_1": rows[5]["SENTENCE_1"][0],
        "sentence_2": rows[5]["SENTENCE_2"][0],
        "model": "sts",
    }
    before = traffic.triton.read_bytes()
    assert write_traffic(similarity, tmp_path, count=100).triton.read_bytes() == before


def test_an_embeddings_request_names_the_set_and_a_korean_one_is_korean(tmp_path):
    traffic = write_traffic(ensemble("sts_ko_embedding", {"TEXT"}, {"EMBEDDING"}, ("ko",)), tmp_path, count=20)
    body = json.loads(traffic.facade.read_text("utf-8"))["bodies"][0]
    assert body["model"] == "sts_ko"
    assert all("가" <= character <= "힣" for character in body["sentences"][0] if character not in " .")


def test_korean_sentences_have_the_lengths_that_are_promised():
    counted = Counter(len(text.split()) for text in korean.sentences(2000))
    assert set(counted) == set(korean.WORDS)
    assert sum(words * count for words, count in counted.items()) / 2000 == pytest.approx(8, abs=0.5)


def test_an_ensemble_of_unknown_inputs_and_one_that_is_not_served_are_refused(tmp_path):
    with pytest.raises(LoadError, match="no texts for ensemble 'pictures' with the inputs PIXELS"):
        write_traffic(ensemble("pictures", {"PIXELS"}, {"LABEL"}), tmp_path)
    served = [ensemble("cola", {"TEXT"}, {"PROBABILITY"}), ensemble("qa", {"QUESTION", "CONTEXT"}, {"ANSWER"})]
    with pytest.raises(LoadError, match="no ensemble 'colla'; it has cola, qa"):
        choose(served, ["colla"])
    assert [each.name for each in choose(served, ["qa", "qa"])] == ["qa"]
    assert choose(served, []) == served


def counted(
    requests: int, executions: int, queue: int, batches: list[tuple[int, int]], items: int | None = None
) -> dict:
    compute = sum(size * ns for size, ns in batches)
    zero = {"count": requests, "ns": 0}
    return {
        "inference_count": requests if items is None else items,
        "execution_count": executions,
        "inference_stats": {
            "success": {"count": requests, "ns": 0},
            "queue": {"count": requests, "ns": queue},
            "compute_input": zero,
            "compute_infer": {"count": requests, "ns": compute},
            "compute_output": zero,
        },
        "batch_stats": [
            {"batch_size": size, "compute_input": {"ns": 0}, "compute_infer": {"ns": ns}, "compute_output": {"ns": 0}}
            for size, ns in batches
        ],
    }


def test_a_batchs_time_counts_once_for_the_instance_and_for_each_request_that_waited():
    before = counted(0, 0, 0, [(4, 0)])
    # Ten batches of four took 50 ms each, within a second, on one of two instances.
    after = counted(40, 10, int(40 * 20e6), [(4, int(500e6))])
    use = stage_use("reader", 2, before, after, seconds=1.0)
    assert (use.requests, use.executions, use.batch) == (40, 10, 4)
    assert (use.queue_ms, use.compute_ms, use.busy) == (20, 50, 0.25)


def test_a_request_of_several_items_makes_a_batch_of_as_many():
    before, after = counted(0, 0, 0, []), counted(10, 5, 0, [(32, int(1e6))], items=320)
    use = stage_use("encoder", 1, before, after, seconds=1.0)
    assert (use.requests, use.items, use.batch) == (10, 320, 64)


def test_batches_that_overlap_in_one_instance_count_each():
    before, after = counted(0, 0, 0, [(4, 0)]), counted(40, 10, 0, [(4, int(1.9e9))])
    assert stage_use("encoder", 1, before, after, seconds=1.0).busy == pytest.approx(1.9)


def test_an_idle_stage_is_not_busy():
    same = counted(7, 3, 100, [(2, 1000)])
    use = stage_use("reader", 1, same, same, seconds=1.0)
    assert (use.requests, use.queue_ms, use.compute_ms, use.busy, use.batch) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_perf_analyzer_is_asked_for_one_level_with_the_projects_data(tmp_path, protocol):
    closed = triton_load.command("qa", protocol, "h:1", tmp_path / "d.json", Level("concurrency", 8), 6)
    opened = triton_load.command("qa", protocol, "h:1", tmp_path / "d.json", Level("rate", 12.5), 6)
    assert closed[closed.index("--concurrency-range") + 1] == "8"
    assert opened[opened.index("--request-intervals") + 1] == "rate-12.5.intervals"
    for command in (closed, opened):
        assert command[command.index("--input-data") + 1] == str(tmp_path / "d.json")
        assert "--verbose-csv" in command
