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
    words = (
        f"configuration expects {len(inputs + batch_inputs)} inputs, model provides {len(arguments)}: .* do not fill"
    )
    with pytest.raises(ConfigurationError, match=words):
        bind_inputs(inputs, batch_inputs, arguments)


@pytest.mark.parametrize(
    ("inputs", "states", "positions"),
    [
        (["x__0"], ["s__1"], [0, 2, 1]),
        # By name, the controls by their index all the same.
        (["x"], ["s"], [0, 2, 1]),
    ],
)
def test_controls_bind_by_index_and_states_as_inputs_do(inputs, states, positions):
    assert bind_inputs(inputs, [], ["x", "s", "start"], ["START__2"], states) == positions


def test_states_in_order_would_stand_where_inputs_do():
    with pytest.raises(ConfigurationError, match="do not fill"):
        bind_inputs(["INPUT"], [], ["x", "start", "s"], ["START__1"], ["STATE"])


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
