"""The stages of a request, from made statistics, add up to the whole of it."""

import asyncio
from types import SimpleNamespace

import pytest
from google.protobuf import json_format
from trident_bench.asking import through
from trident_bench.ensembles import Ensemble
from trident_bench.generator.loop import closed_loop
from trident_bench.profiling.stages import cut
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
    found = cut(ENSEMBLE, MEAN, models())
    spent = {(each.part, each.name): each.microseconds for each in found}
    assert spent["client", "client, network and front end"] == pytest.approx(350)
    assert spent["Triton", "ensemble scheduling"] == pytest.approx(800 - 160 - 590)
    assert spent["toy_tokenizer", "compute infer"] == pytest.approx(100)
    assert spent["toy_network", "queue"] == pytest.approx(40)
    assert sum(spent.values()) == pytest.approx(MEAN)


def test_overlapping_statistics_leave_no_negative_stage():
    found = cut(ENSEMBLE, MEAN, models(toy=(10, 10, 700, 0, 0, 0, 0)))
    assert min(each.microseconds for each in found) == 0
    assert sum(each.microseconds for each in found) == pytest.approx(MEAN + 50)


def test_batches_are_counted_by_execution():
    tokenizer, network = (models()[name] for name in ENSEMBLE.steps)
    assert (tokenizer.requests, tokenizer.batch) == (10, 1.0)
    assert (network.requests, network.batch) == (10, 2.0)


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
