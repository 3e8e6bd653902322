"""Which argument an input is, and which output of ``forward`` an output is."""

import numpy as np
import pytest

from .client import row
from .repository import IN_PROCESS

pytestmark = pytest.mark.serving


def test_inputs_that_are_argument_names_bind_by_name(client):
    answer = client.infer("by_name", {"subtrahend": row(1, 2), "minuend": row(10, 20)})
    assert answer["DIFFERENCE"].tolist() == [[9, 18]]


def test_inputs_that_all_end_in_an_index_bind_by_it(client):
    answer = client.infer("by_index", {"b__1": row(1), "a__0": row(10)})
    assert answer["difference__0"].tolist() == [[9]]


def test_other_inputs_bind_in_configuration_order(client):
    answer = client.infer("by_order", {"second__0": row(1), "first": row(10)})
    assert answer["DIFFERENCE"].tolist() == [[9]]


def test_outputs_that_all_end_in_an_index_bind_by_it(client):
    # Configured as difference, rows, inference; INFERENCE_MODE is off in this model.
    answer = client.infer("by_index", {"b__1": np.zeros((3, 1), np.float32), "a__0": np.zeros((3, 1), np.float32)})
    assert answer["rows__2"].tolist() == [[3]] * 3
    assert answer["inference__1"].tolist() == [[0]] * 3


def test_other_outputs_bind_in_configuration_order(client):
    answer = client.infer("by_order", {"second__0": np.zeros((3, 1), np.float32), "first": np.ones((3, 1), np.float32)})
    assert answer["DIFFERENCE"].tolist() == [[1]] * 3
    assert answer["INFERENCE"].tolist() == [[1]] * 3
    assert answer["ROWS"].tolist() == [[3]] * 3


@IN_PROCESS
def test_a_dictionary_of_tensors_has_the_names_of_the_inputs(client):
    before = client.executions("dictionary")
    requests = [{"subtrahend": row(n), "minuend": row(10 * n)} for n in (1, 2)]
    answers = client.infer_together("dictionary", requests)
    assert [answer["DIFFERENCE"].tolist() for answer in answers] == [[[9]], [[18]]]
    assert client.executions("dictionary") - before <= 2


def test_only_requested_outputs_are_answered(client):
    answer = client.infer("by_order", {"second__0": row(1), "first": row(10)}, outputs=["ROWS"])
    assert answer.keys() == {"ROWS"}
