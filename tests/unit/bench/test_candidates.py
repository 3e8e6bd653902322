"""What ``trident-bench tune`` tries is derived from the machine, and written without touching anything else."""

from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from trident_bench.errors import BenchError
from trident_bench.repository import configuration
from trident_bench.tuning import named
from trident_bench.tuning.candidates import (
    Choice,
    apply,
    as_configured,
    candidates,
    choice,
    describe,
    layouts,
    most_instances,
)
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

REPOSITORY = Path(__file__).resolve().parents[3] / "model_repository"
GIGABYTE = 10**9


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        (1, [(1, 1)]),
        (2, [(1, 1), (1, 2), (2, 1)]),
        (8, [(1, 4), (1, 8), (2, 2), (2, 4), (4, 1), (4, 2), (8, 1)]),
    ],
)
def test_layouts_share_the_cores_out(cores, expected):
    assert layouts(cores, cores) == expected


@pytest.mark.parametrize("cores", [1, 2, 3, 6, 8, 64])
def test_no_layout_has_more_threads_than_there_are_cores(cores):
    found = layouts(cores, cores)
    assert all(instances * threads <= cores for instances, threads in found)
    assert (1, cores) in found
    assert max(instances for instances, _ in found) > cores // 2


def test_sixty_four_cores_are_not_filled_beyond_the_memory():
    most = most_instances(50_000_000, 16 * GIGABYTE)
    assert 1 < most < 64
    assert all(instances <= most for instances, _ in layouts(64, most))
    assert most_instances(50 * GIGABYTE, GIGABYTE) == 1


@pytest.mark.parametrize("cores", [1, 2, 8, 64])
@pytest.mark.parametrize("model", ["sts_tokenizer", "sts_encoder", "qa_reader", "qa_span_decoder"])
def test_the_repositorys_own_configuration_is_the_first_candidate(model, cores):
    found = candidates(configuration(REPOSITORY, model), cores, 50_000_000, 64 * GIGABYTE)
    own = as_configured(configuration(REPOSITORY, model), cores)
    assert choice({name: among[0] for name, among in found.items()}) == own
    assert all(len(set(among)) == len(among) for among in found.values())
    assert own.largest == min(found["largest"])
    assert all(instances * (threads or 1) <= cores for instances, threads in found["layout"])


def test_a_model_that_joins_no_requests_has_neither_delay_nor_batches_to_choose():
    found = candidates(configuration(REPOSITORY, "qa_span_decoder"), 8, 0, GIGABYTE)
    assert found == {
        "layout": ((1, None), (2, None), (4, None), (8, None)),
        "delay": (None,),
        "preferred": (None,),
        "largest": (1,),
    }


def test_a_model_on_a_gpu_is_refused():
    config = configuration(REPOSITORY, "sts_encoder")
    config.instance_group[0].kind = ModelInstanceGroup.KIND_GPU
    with pytest.raises(BenchError, match="KIND_CPU"):
        as_configured(config, 2)


def test_a_written_configuration_differs_only_where_it_is_meant_to():
    before = configuration(REPOSITORY, "sts_encoder")
    default = as_configured(before, 8)
    text = named.text(apply(before, Choice(4, 2, 500, 16, 128), default), ["a command", "a machine"])
    assert text.startswith(named.MARK)
    after = text_format.Parse(text, ModelConfig())
    assert after.instance_group[0].count == 4
    assert after.parameters["INTRA_OP_THREAD_COUNT"].string_value == "2"
    assert after.dynamic_batching.max_queue_delay_microseconds == 500
    assert list(after.dynamic_batching.preferred_batch_size) == [16]
    assert after.max_batch_size == 128
    assert after.input[0].allow_ragged_batch
    assert [each.name for each in after.model_warmup] == [each.name for each in before.model_warmup]
    # With those put back, it is the same.
    after.instance_group[0].count = before.instance_group[0].count
    del after.parameters["INTRA_OP_THREAD_COUNT"]
    assert after.dynamic_batching.default_queue_policy == before.dynamic_batching.default_queue_policy
    after.dynamic_batching.CopyFrom(before.dynamic_batching)
    after.max_batch_size = before.max_batch_size
    assert after == before


def test_the_default_choice_changes_nothing():
    for model in ("sts_tokenizer", "sts_encoder", "qa_span_decoder"):
        before = configuration(REPOSITORY, model)
        default = as_configured(before, 2)
        assert apply(before, default, default) == before
        assert describe({model: default}, {model: default}) == "as configured"
        longer = {model: replace(default, instances=4, delay=500)}
        assert describe(longer, {model: default}) == f"{model}: instances 4, delay 500"


@pytest.mark.parametrize("name", ["a/b", "../up", "", "two words", ".hidden"])
def test_a_name_that_is_no_file_is_refused(tmp_path, name):
    with pytest.raises(BenchError, match="letters, digits"):
        named.check(tmp_path, ["sts_encoder"], name)


def test_a_configuration_that_somebody_wrote_is_not_overwritten():
    with pytest.raises(BenchError, match=r"gpu\.pbtxt was not written by trident-bench tune"):
        named.check(REPOSITORY, ["sts_encoder"], "gpu")


def test_a_repository_that_cannot_be_written_is_refused_at_once(tmp_path):
    # The tests may run as root, whom no permission stops: a file stands where the folder should.
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "configs").write_text("")
    with pytest.raises(BenchError, match="cannot be written"):
        named.check(tmp_path, ["encoder"], "host")


def test_what_an_earlier_search_wrote_under_the_name_goes_and_nothing_else(tmp_path):
    for model in ("one", "two"):
        (tmp_path / model).mkdir()
    named.write(tmp_path, {"one": named.MARK, "two": named.MARK}, ["one", "two"], "host")
    (tmp_path / "one" / "configs" / "gpu.pbtxt").write_text("somebody's")
    assert named.write(tmp_path, {"two": named.MARK + "!"}, ["one", "two"], "host") == [
        tmp_path / "two" / "configs" / "host.pbtxt"
    ]
    assert [file.name for file in (tmp_path / "one" / "configs").iterdir()] == ["gpu.pbtxt"]
    assert (tmp_path / "two" / "configs" / "host.pbtxt").read_text() == named.MARK + "!"
