import os

import pytest
from trident_server.backends.pytorch.errors import ConfigurationError
from trident_server.backends.pytorch.parameters import Parameters
from trident_server.backends.pytorch.tensors import ELEMENT_TYPES


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
    with pytest.raises(
        ConfigurationError, match=f"^unsupported datatype {data_type} for {field} 'T' for model 'small'"
    ):
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
        words = rf"^Triton only supports 1 dimensional List of String as {field} for 'T' for model 'small'.*reshape \{{"
        with pytest.raises(ConfigurationError, match=words):
            configure(**changes)


@pytest.mark.parametrize("field", ["input", "output"])
def test_nothing_is_completed(configure, field):
    with pytest.raises(ConfigurationError, match=f"must contain at least one {field}, none were specified"):
        configure(**{field: []})


def test_an_optional_input_is_refused_in_the_other_backends_words(configure):
    words = "'optional' is set to true for input 'X' while the backend model doesn't support optional input"
    with pytest.raises(ConfigurationError, match=words):
        configure(input=[tensor("X", optional=True)])
    assert configure(input=[tensor("X", optional=False)]).inputs[0].name == "X"


def shape_of(*names):
    return {"kind": "BATCH_ITEM_SHAPE", "target_name": [*names], "data_type": "TYPE_INT32", "source_input": ["X"]}


def test_a_batch_input_has_one_target_name(configure):
    configuration = configure(batch_input=[shape_of("a"), shape_of("b")])
    assert [(each.name, each.source) for each in configuration.batch_inputs] == [("a", "X"), ("b", "X")]
    with pytest.raises(ConfigurationError, match=r"^unable to load model 'small'.*a, b.*an entry for each name"):
        configure(batch_input=[shape_of("a", "b")])


def test_a_batch_output_has_one_target_name(configure):
    outputs = [tensor("Y"), tensor("Z")]
    assert configure(output=outputs, batch_output=scatter("Y") + scatter("Z")).scattered == {"Y": "X", "Z": "X"}
    both = [scatter()[0] | {"target_name": ["Y", "Z"]}]
    with pytest.raises(ConfigurationError, match=r"Y, Z.*under the first name.*an entry for each name"):
        configure(output=outputs, batch_output=both)


@pytest.mark.parametrize("scheduler", ["dynamic_batching", "sequence_batching"])
def test_text_is_no_output_where_requests_join(configure, scheduler):
    text = [tensor("T", "TYPE_STRING", [1], reshape={"shape": []})]
    with pytest.raises(ConfigurationError, match=r"output 'T' is text, and requests join.*the first texts"):
        configure(output=text, **{scheduler: {}})
    assert configure(output=text).outputs[0].data_type == "TYPE_STRING"
    assert configure(output=text, max_batch_size=1, **{scheduler: {}}).max_batch_size == 1


def control(name, kind="CONTROL_SEQUENCE_START", **more):
    return {"name": name, "control": [{"kind": kind, **more}]}


def test_controls_have_the_type_of_their_values(configure):
    controls = [
        control("START__1", int32_false_true=[0, 1], fp32_false_true=[]),
        control("END__2", fp32_false_true=[0, 1]),
        control("READY__3", bool_false_true=[False, True]),
        control("ID__4", "CONTROL_SEQUENCE_CORRID", data_type="TYPE_INT64"),
    ]
    configuration = configure(sequence_batching={"control_input": controls})
    assert [(each.name, each.data_type) for each in configuration.controls] == [
        ("START__1", "TYPE_INT32"),
        ("END__2", "TYPE_FP32"),
        ("READY__3", "TYPE_BOOL"),
        ("ID__4", "TYPE_INT64"),
    ]
    assert configuration.is_of_sequences
    assert not configure().is_of_sequences


def kept(output="S__1", data_type="TYPE_FP32"):
    return {"state": [{"input_name": "S__1", "output_name": output, "data_type": data_type, "dims": [2]}]}


@pytest.mark.parametrize(
    ("batching", "says"),
    [
        (
            {"control_input": [control("START", int32_false_true=[0, 1])]},
            "input 'START' does not follow <name>__<index>",
        ),
        (
            {"control_input": [control("ID__1", "CONTROL_SEQUENCE_CORRID", data_type="TYPE_UINT64")]},
            "input 'ID__1' type 'TYPE_UINT64' is not supported by PyTorch.",
        ),
        (kept("S"), "state 'S' does not follow <name>__<index>"),
        (kept(data_type="TYPE_BF16"), "unsupported datatype TYPE_BF16 for input state 'S__1' for model 'small'"),
    ],
)
def test_sequences_that_the_other_backend_refuses(configure, batching, says):
    with pytest.raises(ConfigurationError, match=says):
        configure(sequence_batching=batching)


def test_a_state_goes_in_and_comes_out(configure):
    (state,) = configure(sequence_batching=kept()).states
    assert (state.input.name, state.output.name, state.output.dims) == ("S__1", "S__1", (2,))


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
