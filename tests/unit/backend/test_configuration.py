import os

import pytest
from trident_server.backends.pytorch.configuration import ELEMENT_TYPES
from trident_server.backends.pytorch.errors import ConfigurationError
from trident_server.backends.pytorch.parameters import Parameters


def tensor(name, data_type="TYPE_FP32", dims=(-1,), **more):
    return {"name": name, "data_type": data_type, "dims": list(dims), **more}


def group(count=1, gpus=()):
    return {"count": count, "gpus": list(gpus)}


def scatter(name="Y", source="X"):
    return [{"kind": "BATCH_SCATTER_WITH_INPUT_SHAPE", "target_name": [name], "source_input": [source]}]


def test_the_file_is_model_pt_unless_named(configure):
    assert configure().file_name == "model.pt"
    assert configure(default_model_filename="encoder.pt").file_name == "encoder.pt"


def test_reshaped_dims_are_what_the_model_sees(configure):
    configuration = configure(input=[tensor("X", dims=[4], reshape={"shape": [2, 2]})])
    assert configuration.inputs[0].dims == (2, 2)


@pytest.mark.parametrize("data_type", ["TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64", "TYPE_BF16", "TYPE_INVALID"])
@pytest.mark.parametrize("field", ["input", "output"])
def test_types_that_cannot_be_configured(configure, field, data_type):
    with pytest.raises(ConfigurationError, match=f"'T' has data type {data_type}, which .* TYPE_BOOL, .* TYPE_STRING"):
        configure(**{field: [tensor("T", data_type)]})


@pytest.mark.parametrize("data_type", [*ELEMENT_TYPES])
def test_types_that_can_be_configured(configure, data_type):
    assert configure(output=[tensor("Y", data_type)]).outputs[0].data_type == data_type


@pytest.mark.parametrize(
    ("max_batch_size", "dims", "more", "served"),
    [
        (0, [-1], {}, True),
        (0, [], {}, True),
        (0, [-1, 2], {}, False),
        (4, [1], {}, False),
        (4, [1], {"reshape": {"shape": []}}, True),
        (0, [2, 2], {"reshape": {"shape": [4]}}, True),
    ],
)
@pytest.mark.parametrize("field", ["input", "output"])
def test_text_has_one_dimension_the_batch_included(configure, field, max_batch_size, dims, more, served):
    changes = {"max_batch_size": max_batch_size, field: [tensor("T", "TYPE_STRING", dims, **more)]}
    if served:
        configure(**changes)
    else:
        with pytest.raises(ConfigurationError, match=r"'T' is text of more than one dimension.*reshape \{"):
            configure(**changes)


@pytest.mark.parametrize("field", ["input", "output"])
def test_nothing_is_completed(configure, field):
    with pytest.raises(ConfigurationError, match="cannot complete a configuration"):
        configure(**{field: []})


def test_sequence_batching_is_refused(configure):
    with pytest.raises(ConfigurationError, match="use dynamic_batching"):
        configure(sequence_batching={})


def test_each_target_of_a_batch_input_is_an_argument(configure):
    configuration = configure(
        batch_input=[
            {"kind": "BATCH_ITEM_SHAPE", "target_name": ["a", "b"], "data_type": "TYPE_INT32", "source_input": ["X"]}
        ]
    )
    assert [(each.name, each.source) for each in configuration.batch_inputs] == [("a", "X"), ("b", "X")]


def test_a_scattered_output_takes_its_variable_dimensions_from_the_input(configure):
    assert configure(batch_output=scatter()).scattered == {"Y": "X"}
    with pytest.raises(ConfigurationError, match="variable dimension past the 1 of input 'X'"):
        configure(batch_output=scatter(), output=[tensor("Y", dims=[2, -1])])
    with pytest.raises(ConfigurationError, match="'Y' is text"):
        configure(batch_output=scatter(), output=[tensor("Y", "TYPE_STRING", dims=[1], reshape={"shape": []})])


@pytest.mark.parametrize(
    ("cores", "groups", "threads"),
    [
        (8, [group()], 8),
        (8, [group(2)], 4),
        (8, [group(2), group(1)], 2),
        (8, [group(1, gpus=[0, 1])], 4),
        (2, [group(4)], 1),
        (8, [], 8),
    ],
)
def test_threads_are_the_cores_shared_among_instances(configure, monkeypatch, cores, groups, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    assert configure(instance_group=groups).threads() == threads


@pytest.mark.parametrize(("text", "threads"), [("3", 3), ("0", 8), ("-1", 8)])
def test_configured_threads_count_where_there_are_any(configure, monkeypatch, text, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert configure(parameters={"INTRA_OP_THREAD_COUNT": {"string_value": text}}).threads() == threads


def test_parameters_are_their_string_values(configure):
    given = configure(parameters={"INFERENCE_MODE": {"string_value": "off"}}).parameters
    assert given == Parameters(inference_mode=False)
    with pytest.raises(ConfigurationError, match="'INFERENCE_MODE' must be"):
        configure(parameters={"INFERENCE_MODE": {}})
