"""The stages of a request, from made statistics and a made trace, add up to the whole of it."""

import asyncio
from types import SimpleNamespace

import pytest
from google.protobuf import json_format
from trident_bench.ensembles import Ensemble
from trident_bench.generator.loop import closed_loop
from trident_bench.profiling.measure import through
from trident_bench.profiling.stages import by_statistics, by_trace
from trident_bench.profiling.trace import between, collect
from trident_bench.usage import usage
from trident_client.contract import COLA
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.grpc.service_pb2 import ModelStatistics


def ensemble(name, *models):
    """Return an ensemble of these models."""
    content = {"ensemble_scheduling": {"step": [{"model_name": each} for each in models]}}
    return Ensemble(name, COLA.main, {name: json_format.ParseDict(content, ModelConfig())})


ENSEMBLE = ensemble("toy", "toy_tokenizer", "toy_network")
#: Microseconds from the client's call to its return.
MEAN = 1_150.0


def counted(name, requests, executions, *durations, before=None):
    """Return statistics of so many requests more, each of which took so many microseconds."""
    made = ModelStatistics(name=name)
    if before is not None:
        made.CopyFrom(before)
    made.inference_count += requests
    made.execution_count += executions
    names = ("success", "queue", "compute_input", "compute_infer", "compute_output")
    for duration, spent in zip(names, durations, strict=True):
        each = getattr(made.inference_stats, duration)
        each.count += requests
        each.ns += int(spent * requests * 1000)
    return made


DID = {
    "toy": (10, 10, 800, 0, 0, 0, 0),
    "toy_tokenizer": (10, 10, 190, 10, 20, 100, 30),
    "toy_network": (10, 5, 590, 40, 10, 500, 40),
}


def models(**changes):
    """Return what each model did between two readings; before the first, there was other traffic."""
    before = {name: counted(name, 7, 7, 9e3, 1, 1, 1, 1) for name in DID}
    after = {name: counted(name, *did, before=before[name]) for name, did in (DID | changes).items()}
    return {name: usage(before[name], after[name]) for name in DID}


def test_stages_from_statistics_add_up_to_the_request():
    found = by_statistics(ENSEMBLE, MEAN, models())
    spent = {(each.part, each.name): each.microseconds for each in found}
    assert spent["client", "client, network and front end"] == pytest.approx(350)
    assert spent["Triton", "ensemble scheduling"] == pytest.approx(800 - 160 - 590)
    assert spent["toy_tokenizer", "compute infer"] == pytest.approx(100)
    assert spent["toy_network", "queue"] == pytest.approx(40)
    assert sum(spent.values()) == pytest.approx(MEAN)


def test_overlapping_statistics_leave_no_negative_stage():
    found = by_statistics(ENSEMBLE, MEAN, models(toy=(10, 10, 700, 0, 0, 0, 0)))
    assert min(each.microseconds for each in found) == 0
    assert sum(each.microseconds for each in found) == pytest.approx(MEAN + 50)


def test_batches_are_counted_by_execution():
    tokenizer, network = (models()[name] for name in ENSEMBLE.steps)
    assert (tokenizer.requests, tokenizer.batch) == (10, 1.0)
    assert (network.requests, network.batch) == (10, 2.0)


def trace(start, front="GRPC_WAITREAD_END", send="GRPC_SEND_START", number=1):
    """Return a request's entries as Triton writes them, the steps' before the ensemble's; times in microseconds."""

    def entries(entry, name, parent, marks):
        facts = {"id": entry, "model_name": name, "model_version": 1}
        yield facts | ({"parent_id": parent} if parent else {})
        for mark, at in marks.items():
            yield {"id": entry, "timestamps": [{"name": mark, "ns": (start + at) * 1000}]}

    names = (
        "REQUEST_START",
        "QUEUE_START",
        "COMPUTE_START",
        "COMPUTE_INPUT_END",
        "COMPUTE_OUTPUT_START",
        "COMPUTE_END",
    )
    # The tokenizer tidies up until 260, when the network is at work since 250; the network until 900, when the answer
    # has been on its way since 810.
    tokenizer = dict(zip(names, (30, 31, 60, 80, 230, 260), strict=True))
    network = dict(zip(names, (250, 251, 300, 310, 780, 900), strict=True))
    whole = {"REQUEST_START": 20, "QUEUE_START": 21, front: 0, send: 810, "REQUEST_END": 910}
    yield from entries(number + 2, "toy_network", number, network)
    yield from entries(number + 1, "toy_tokenizer", number, tokenizer)
    yield from entries(number, "toy", 0, whole)


@pytest.mark.parametrize("marks", [{}, {"front": "HTTP_RECV_START", "send": "HTTP_SEND_START"}])
def test_stages_from_the_trace_follow_one_another_and_add_up(marks):
    (traced,) = collect([*trace(1_000, **marks)])
    found = by_trace(ENSEMBLE, MEAN, [traced])
    spent = {(each.part, each.name): each.microseconds for each in found}
    assert spent["Triton", "front end"] == 20
    # Ten before the tokenizer; it hands on at 250, before it is done, and the network before it is done, too.
    assert spent["Triton", "ensemble scheduling"] == 10
    assert [each.microseconds for each in found if each.part == "toy_tokenizer"] == [30, 20, 150, 20]
    assert [each.microseconds for each in found if each.part == "toy_network"] == [50, 10, 470, 30]
    assert spent["client", "client and network"] == MEAN - 810
    assert sum(spent.values()) == pytest.approx(MEAN)


def test_a_measurement_takes_its_own_requests_of_the_trace_alone():
    others = [{"id": 90, "model_name": "toy_network", "model_version": 1}]
    traced = collect([*trace(1_000), *trace(5_000, number=10), *others])
    assert len(traced) == 2
    assert len(between(traced, ENSEMBLE, 4_000_000, 6_000_000)) == 1
    other = ensemble("other", "toy_network")
    assert not between(traced, other, 0, 10_000_000)


async def test_the_generator_asks_through_a_function_too():
    now = SimpleNamespace(here=0, most=0, sent=[])

    async def ask(item):
        now.sent.append(item)
        now.here += 1
        now.most = max(now.most, now.here)
        await asyncio.sleep(0.001)
        now.here -= 1

    found = await closed_loop(through(ask), ["a", "b", "c"], 5, seconds=0.2, turns=1, warm_up=0)
    assert (now.most, now.here) == (5, 0)
    # The first opens the measurement, and those under way at its end are no part of it.
    assert len(now.sent) - 6 <= len(found.times) < len(now.sent)
    assert now.sent[:6] == ["a", "b", "c", "a", "b", "c"]
    assert found.rate > 0
