"""What the load generators tell is read as they tell it; what they send is as it should be."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from google.protobuf import json_format
from trident_bench import texts
from trident_bench.ensembles import Ensemble, choose, find_ensembles
from trident_bench.errors import BenchError, MeasurementError, TooShortError
from trident_bench.generator.loop import Sample
from trident_bench.generator.requests import WIRES
from trident_bench.load import generated, perf_analyzer
from trident_bench.load.plan import Level
from trident_bench.load.window import stage_usage
from trident_bench.repository import ensembles
from trident_client import contract
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelStatistics

REPOSITORY = Path(__file__).resolve().parents[3] / "model_repository"
TABLE = """\
Request Rate,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,\
Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency,Avg latency,\
request/response,response wait
199,195.208,7,4831,2,56,8808,528,1,12934,23187,26723,35891,14236,8,14220
"""
LOG = """\
    Request count: 584
    Avg send request rate: 196.88 infer/sec
    [WARNING] Perf Analyzer was not able to keep up with the desired request rate. 8.05% of the requests were delayed.
  Server:
    Inference count: 590
"""


def ensemble(name: str, inputs: list[str], output: str, languages: str = "") -> ModelConfig:
    content = {
        "name": name,
        "input": [{"name": each} for each in inputs],
        "output": [{"name": output}],
        "ensemble_scheduling": {"step": [{"model_name": "tokenizer"}]},
        "parameters": {"languages": {"string_value": languages}} if languages else {},
    }
    return json_format.ParseDict(content, ModelConfig())


def known(*configurations: ModelConfig) -> dict[str, Ensemble]:
    return find_ensembles({each.name: each for each in configurations})


def test_perf_analyzers_table_is_read_in_milliseconds():
    load = perf_analyzer.read_load(TABLE, LOG, failures=3)
    assert (load.requests, load.failures, load.throughput, load.late) == (584, 3, 195.208, 0.0805)
    assert load.latency.model_dump() == {"mean": 14.236, "p50": 12.934, "p90": 23.187, "p95": 26.723, "p99": 35.891}


@pytest.mark.parametrize(
    ("table", "log"),
    [
        ("", LOG),
        (TABLE, "Failed to obtain stable measurement."),
        (TABLE, "Request count: 0"),
        (TABLE.replace("p99 latency", "p98 latency"), LOG),
        (TABLE.replace("35891", "n/a"), LOG),
    ],
)
def test_a_table_that_holds_nothing_is_no_measurement(table, log):
    with pytest.raises(MeasurementError):
        perf_analyzer.read_load(table, log, 0)


def test_what_perf_analyzer_fails_with_is_told_without_its_settings():
    log = "*** Measurement Settings ***\n  Batch size: 1\n  Window: 5\n\nerror: failed to get model metadata\n\n"
    error = perf_analyzer.failure("Successfully read data\n" * 5 + log)
    assert "failed to get model metadata" in str(error)
    assert "Successfully" not in str(error)
    assert isinstance(perf_analyzer.failure("No valid requests recorded within time interval."), TooShortError)


def test_a_schedule_is_random_and_has_exactly_the_asked_rate(tmp_path):
    file = tmp_path / "schedule"
    perf_analyzer.write_schedule(file, rate=200, seconds=5)
    pauses = [int(line) for line in file.read_text().split()]
    assert len(pauses) == 1000
    assert sum(pauses) == pytest.approx(5e6, rel=1e-3)
    assert min(pauses) > 0
    # Of a Poisson process, 63 % of the pauses are shorter than the mean one.
    assert 0.58 < sum(pause < 5000 for pause in pauses) / 1000 < 0.68


def test_the_generators_latencies_are_told_unrounded():
    rng = random.Random(1)
    times = [rng.uniform(0.005, 0.3) for _ in range(1000)]
    load = generated.as_load(Sample(250.0, times, failures=Counter({"status 429": 7, "reset": 2}), late=0.25))
    assert (load.requests, load.failures, load.throughput, load.late) == (1000, 9, 250.0, 0.25)
    assert 1000 * sorted(times)[989] <= load.latency.p99 <= 1000 * sorted(times)[990]
    assert load.latency.p50 < load.latency.p90 < load.latency.p95 < load.latency.p99
    with pytest.raises(TooShortError):
        generated.as_load(Sample(0.0))


def test_all_protocols_ask_the_same_and_as_each_has_it(tmp_path):
    similarity = known(ensemble("sts", ["SENTENCE_1", "SENTENCE_2"], "SIMILARITY"))["sts"]
    items = similarity.items(generated.ROWS)
    assert len(set(items)) > 900
    assert similarity.items(generated.ROWS) == items
    rows = json.loads(perf_analyzer.write_data(similarity, tmp_path).read_text("utf-8"))["data"]
    assert (rows[5]["SENTENCE_1"], rows[5]["SENTENCE_2"]) == ([items[5][0]], [items[5][1]])
    head, _, body = WIRES["facade"].request("http://here:1", similarity, items[5]).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /similarity HTTP/1.1\r\nhost: here:1\r\n")
    pair = {"sentence_1": items[5][0], "sentence_2": items[5][1]}
    assert json.loads(body) == {"pairs": [pair], "model": "sts"}
    message = ModelInferRequest.FromString(WIRES["grpc"].request("here:1", similarity, items[5]))
    assert [each.name for each in message.inputs] == ["SENTENCE_1", "SENTENCE_2"]
    assert [each.name for each in message.outputs] == ["SIMILARITY"]
    binary = WIRES["http"].request("here:1", similarity, items[5])
    assert b"POST /v2/models/sts/infer" in binary
    for each in (message.raw_input_contents[1], binary):
        assert items[5][1].encode() in each


@pytest.mark.parametrize("spec", [each for _, each in contract.ensembles()], ids=lambda spec: spec.name)
def test_every_ensemble_of_the_contract_is_asked_for_its_required_texts_by_every_protocol(spec, tmp_path):
    content = {
        "name": spec.name,
        "input": [{"name": each.tensor, "optional": each.optional} for each in spec.inputs],
        "output": [{"name": each.tensor} for each in spec.outputs],
        "ensemble_scheduling": {"step": [{"model_name": "tokenizer"}]},
    }
    found = known(json_format.ParseDict(content, ModelConfig()))[spec.name]
    assert found.spec is spec
    tensors = [each.tensor for each in spec.required]
    item = found.items(1)[0]
    row, *_ = json.loads(perf_analyzer.write_data(found, tmp_path).read_text("utf-8"))["data"]
    assert list(row) == tensors
    message = ModelInferRequest.FromString(WIRES["grpc"].request("here:1", found, item))
    assert [each.name for each in message.inputs] == tensors
    for protocol in ("http", "facade"):
        request = WIRES[protocol].request("here:1", found, item)
        assert all(json.dumps(text, ensure_ascii=False)[1:-1].encode() in request for text in item)


def test_an_embeddings_request_names_the_set_and_a_korean_one_is_korean():
    main = ensemble("sts_ko", ["SENTENCE_1", "SENTENCE_2"], "SIMILARITY", "ko")
    korean = known(ensemble("sts_ko_embedding", ["TEXT"], "EMBEDDING"), main)["sts_ko_embedding"]
    body = korean.body(korean.items(20)[0])
    assert body["model"] == "sts_ko"
    assert all("가" <= character <= "힣" for character in body["sentences"][0] if character not in " .")


def test_the_repositorys_ensembles_are_all_known_with_their_steps_and_instances():
    found = ensembles(REPOSITORY)
    assert {"cola", "sts", "sts_embedding", "qa"} <= set(found)
    assert found["qa"].models == ("qa", "qa_tokenizer", "qa_reader", "qa_span_decoder")
    assert found["qa"].instances("qa_reader") == 1
    assert found["qa"].outputs == ("ANSWER", "SCORE", "START", "END")
    assert len(found["qa"].items(3)) == 3


def test_korean_sentences_have_the_lengths_that_are_promised():
    counted = Counter(len(text.split()) for text in texts.korean_sentences(2000))
    assert set(counted) == set(texts.KOREAN_WORDS)
    assert sum(words * count for words, count in counted.items()) / 2000 == pytest.approx(8, abs=0.5)


def test_an_ensemble_of_unknown_inputs_is_none_and_one_that_is_not_served_is_refused():
    served = known(
        ensemble("pictures", ["PIXELS"], "LABEL"),
        ensemble("cola", ["TEXT"], "PROBABILITY"),
        ensemble("qa", ["QUESTION", "CONTEXT"], "ANSWER"),
    )
    with pytest.raises(BenchError, match=r"no ensemble 'colla' \(there are: cola, qa\)"):
        choose(served, ["colla"])
    assert [each.name for each in choose(served, ["qa", "qa"])] == ["qa"]
    assert choose(served, []) == list(served.values())
    with pytest.raises(BenchError, match="no ensemble that is ready"):
        choose({}, [])


def counted(
    requests: int, executions: int, queue: int, batches: list[tuple[int, int]], items: int | None = None
) -> ModelStatistics:
    compute = sum(size * ns for size, ns in batches)
    zero = {"count": requests, "ns": 0}
    content = {
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
    return json_format.ParseDict(content, ModelStatistics())


def test_a_batchs_time_counts_once_for_the_instance_and_for_each_request_that_waited():
    before = counted(0, 0, 0, [(4, 0)])
    # Ten batches of four took 50 ms each, within a second, on one of two instances.
    after = counted(40, 10, int(40 * 20e6), [(4, int(500e6))])
    use = stage_usage(before, after, instances=2, seconds=1.0)
    assert (use.requests, use.executions, use.batch) == (40, 10, 4)
    assert (use.queue_ms, use.compute_ms, use.busy) == (20, 50, 0.25)


def test_a_request_of_several_items_makes_a_batch_of_as_many():
    before, after = counted(0, 0, 0, []), counted(10, 5, 0, [(32, int(1e6))], items=320)
    use = stage_usage(before, after, instances=1, seconds=1.0)
    assert (use.requests, use.items, use.batch) == (10, 320, 64)


def test_batches_that_overlap_in_one_instance_count_each():
    before, after = counted(0, 0, 0, [(4, 0)]), counted(40, 10, 0, [(4, int(1.9e9))])
    assert stage_usage(before, after, instances=1, seconds=1.0).busy == pytest.approx(1.9)


def test_an_idle_stage_is_not_busy():
    same = counted(7, 3, 100, [(2, 1000)])
    use = stage_usage(same, same, instances=1, seconds=1.0)
    assert (use.requests, use.queue_ms, use.compute_ms, use.busy, use.batch) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_perf_analyzer_is_asked_for_one_level_with_the_projects_data(tmp_path, protocol):
    closed = perf_analyzer.command("qa", protocol, "h:1", tmp_path / "d.json", Level("concurrency", 8), 6)
    opened = perf_analyzer.command("qa", protocol, "h:1", tmp_path / "d.json", Level("rate", 12.5), 6)
    assert closed[closed.index("--concurrency-range") + 1] == "8"
    assert opened[opened.index("--request-intervals") + 1] == "rate-12.5.intervals"
    for command in (closed, opened):
        assert command[command.index("--input-data") + 1] == str(tmp_path / "d.json")
        assert "--verbose-csv" in command
