"""Sequences: what Triton says of a request's place in one, and what is kept from one request to the next."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from .client import row

pytestmark = pytest.mark.serving


def test_a_module_may_keep_a_sequences_sum_itself(client):
    sums = client.infer_sequence("running", 7, [{"X__0": row(n)} for n in (1, 2, 3)])
    assert [answer["Y__0"].item() for answer in sums] == [1, 3, 6]
    (again,) = client.infer_sequence("running", 8, [{"X__0": row(5)}])
    assert again["Y__0"].item() == 5


def test_controls_say_where_a_request_stands_and_of_which_sequence(client):
    answers = client.infer_sequence("controls", 42, [{"X__0": row(n)} for n in (1, 2, 3)])
    assert [answer["Y__0"].tolist() for answer in answers] == [
        [[1, 1, 0, 1, 42]],
        [[2, 0, 0, 1, 42]],
        [[3, 0, 1, 1, 42]],
    ]


def test_triton_keeps_a_state_for_each_of_the_sequences_that_are_under_way(client, isolated):
    if isolated:
        entry = client.index()["kept"]
        assert entry["state"] == "UNAVAILABLE"
        assert "a state of sequence_batching needs Triton's own process" in entry["reason"]
        return
    with ThreadPoolExecutor(4) as pool:
        numbers = {sequence: [sequence * n for n in range(1, 9)] for sequence in range(1, 5)}
        asked = {
            sequence: pool.submit(client.infer_sequence, "kept", sequence, [{"X__0": row(n)} for n in each])
            for sequence, each in numbers.items()
        }
        for sequence, each in asked.items():
            sums = [answer["Y__0"].item() for answer in each.result()]
            assert sums == [sum(numbers[sequence][: n + 1]) for n in range(8)]
