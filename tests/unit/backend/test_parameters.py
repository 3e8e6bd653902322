import pytest
from trident_server.backends.pytorch.errors import ConfigurationError
from trident_server.backends.pytorch.parameters import KNOWN, Parameters

BOOLEANS = {
    "INFERENCE_MODE": "inference_mode",
    "ENABLE_JIT_EXECUTOR": "jit_executor",
    "ENABLE_JIT_PROFILING": "jit_profiling",
    "ENABLE_TENSOR_FUSER": "tensor_fuser",
    "ENABLE_CACHE_CLEANING": "cache_cleaning",
    "ENABLE_WEIGHT_SHARING": "weight_sharing",
}
NEGATED = {
    "DISABLE_OPTIMIZED_EXECUTION": "optimized_execution",
    "DISABLE_CUDNN": "cudnn",
    "DISABLE_PREPACKING": "prepacking",
}
INTEGERS = {"INTRA_OP_THREAD_COUNT": "intra_op_threads", "INTER_OP_THREAD_COUNT": "inter_op_threads"}


def test_these_are_all_parameters():
    assert KNOWN.keys() == BOOLEANS.keys() | NEGATED.keys() | INTEGERS.keys()


@pytest.mark.parametrize(("key", "field"), BOOLEANS.items())
@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("TRUE", True), ("On", True), ("1", True), ("false", False), ("off", False), ("0", False)],
)
def test_booleans(key, field, text, value):
    assert getattr(Parameters.parse({key: text}), field) is value


@pytest.mark.parametrize(("key", "field"), NEGATED.items())
def test_what_disables_is_kept_as_what_is_enabled(key, field):
    assert getattr(Parameters.parse({}), field) is True
    assert getattr(Parameters.parse({key: "true"}), field) is False
    assert getattr(Parameters.parse({key: "false"}), field) is True


@pytest.mark.parametrize(("key", "field"), INTEGERS.items())
@pytest.mark.parametrize(("text", "value"), [("4", 4), (" 4 ", 4), ("+4", 4), ("-1", -1), ("0", 0)])
def test_integers(key, field, text, value):
    assert getattr(Parameters.parse({key: text}), field) == value


@pytest.mark.parametrize("key", [*BOOLEANS, *NEGATED])
@pytest.mark.parametrize("text", ["", "yes", "2", " true", "t"])
def test_a_boolean_that_does_not_parse_names_its_key_and_what_is_accepted(key, text):
    with pytest.raises(ConfigurationError, match=f"'{key}' must be one of true, on, 1, false, off, 0, got '{text}'"):
        Parameters.parse({key: text})


@pytest.mark.parametrize("key", INTEGERS)
@pytest.mark.parametrize("text", ["", "two", "2x", "2.0", "1_000", "٤", "2147483648", "-2147483649"])
def test_an_integer_that_does_not_parse_names_its_key_and_what_is_accepted(key, text):
    with pytest.raises(ConfigurationError, match=f"'{key}' must be an integer of at most 32 bits"):
        Parameters.parse({key: text})


def test_what_the_other_backend_logs_is_logged_in_its_words():
    silent = [
        "Optimized execution is enabled for model instance 'm'",
        "Cache Cleaning is disabled for model instance 'm'",
        "Inference Mode is enabled for model instance 'm'",
        "cuDNN is enabled for model instance 'm'",
    ]
    assert Parameters.parse({}).lines("m") == silent
    told = {
        "DISABLE_OPTIMIZED_EXECUTION": "true",
        "ENABLE_CACHE_CLEANING": "true",
        "INFERENCE_MODE": "false",
        "DISABLE_CUDNN": "true",
        "ENABLE_TENSOR_FUSER": "false",
        "ENABLE_WEIGHT_SHARING": "true",
        "ENABLE_JIT_PROFILING": "true",
        "ENABLE_JIT_EXECUTOR": "false",
        "INTRA_OP_THREAD_COUNT": "3",
        "INTER_OP_THREAD_COUNT": "2",
    }
    assert Parameters.parse(told).lines("m") == [
        f"{each} for model instance 'm'"
        for each in (
            "Optimized execution is disabled",
            "Cache Cleaning is enabled",
            "Inference Mode is disabled",
            "cuDNN is disabled",
            "Tensor fuser is disabled",
            "Weight sharing is enabled",
            "Jit profiling is enabled",
            "Jit executor is disabled",
            "Intra op thread count is set to 3",
            "Inter op thread count is set to 2",
        )
    ]


def test_unknown_keys_are_ignored_and_keys_are_upper_case():
    assert Parameters.parse({"inference_mode": "nonsense", "EXECUTION_ENV": "x"}) == Parameters()
