import pytest
from trident_server.backends.pytorch.errors import ConfigurationError
from trident_server.backends.pytorch.naming import bind_inputs, bind_outputs, index_of


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("x__0", 0),
        ("INPUT__12", 12),
        ("__3", 3),
        ("x_0", None),
        ("x", None),
        ("x__", None),
        ("x__y", None),
        ("a__b__0", None),
        ("x___0", None),
        ("x__-1", None),
        ("x__²", None),
        ("x__٣", None),
    ],
)
def test_the_index_is_all_digits_after_the_first_double_underscore(name, index):
    assert index_of(name) == index


@pytest.mark.parametrize(
    ("inputs", "batch_inputs", "arguments", "positions"),
    [
        (["b", "a"], [], ["a", "b"], [1, 0]),
        (["b"], ["c", "a"], ["a", "b", "c"], [1, 2, 0]),
        (["x__1", "y__0"], [], ["a", "b"], [1, 0]),
        (["x__2"], ["y__0", "z__1"], ["a", "b", "c"], [2, 0, 1]),
        (["IDS"], ["SHAPE"], ["ids", "shape"], [0, 1]),
        # One input that is no argument, or has no index, is enough for the order.
        (["b", "X"], [], ["a", "b"], [0, 1]),
        (["x__1", "y"], [], ["a", "b"], [0, 1]),
        # Names count before indices.
        (["x__1", "x__0"], [], ["x__1", "x__0"], [0, 1]),
        # In order, a batch input's own name does not matter.
        (["IDS"], ["ids__0"], ["ids", "shape"], [0, 1]),
        (["IDS"], ["ids"], ["ids", "shape"], [0, 1]),
    ],
)
def test_inputs_bind_by_name_else_by_index_else_in_order(inputs, batch_inputs, arguments, positions):
    assert bind_inputs(inputs, batch_inputs, arguments) == positions


@pytest.mark.parametrize(
    ("inputs", "batch_inputs", "arguments"),
    [
        (["a"], [], ["a", "b"]),
        (["X", "Y"], [], ["a"]),
        (["x__0", "y__0"], [], ["a", "b"]),
        (["x__1", "y__2"], [], ["a", "b"]),
        (["x__0", "y__99999999999999999999"], [], ["a", "b"]),
        # By name or by index, but the batch input has none.
        (["a"], ["SHAPE"], ["a", "b"]),
        (["x__0"], ["SHAPE"], ["a", "b"]),
        (["X"], [], []),
    ],
)
def test_names_that_do_not_fill_the_arguments_are_refused(inputs, batch_inputs, arguments):
    with pytest.raises(ConfigurationError, match="do not fill the arguments of forward"):
        bind_inputs(inputs, batch_inputs, arguments)


@pytest.mark.parametrize(
    ("outputs", "positions"),
    [
        (["y__1", "z__0"], [1, 0]),
        (["y__2"], [2]),
        (["y__1", "z"], [0, 1]),
        (["b", "a"], [0, 1]),
    ],
)
def test_outputs_bind_by_index_else_in_order(outputs, positions):
    assert bind_outputs(outputs) == positions
