"""Sequences: what Triton says of a request's place in one, and what is kept from one request to the next.

What Triton's own tests ask of a TorchScript model, after their names in its repository, and the test that asks it here:

``L0_sequence_batcher``
    ``simple_sequence``, ``length1_sequence``: a module may keep a sequence's sum itself.
    ``no_sequence_end``: a start ends the sequence before it.
    ``batch_size``, ``no_correlation_id``, ``no_sequence_start``, ``no_sequence_start2``: what is no request of a
    sequence is refused.
    ``half_batch``, ``skip_batch``, ``queue_delay_half_min_util``: slots of a batch that have no request are not ready.
    ``backlog``, several instances, no batches: Triton keeps a state for each of the sequences that are under way.
    Controls as numbers and as booleans, of the oldest sequences too (``libtorch_dyna_sequence``): controls say where a
    request stands. What a control may not be is in the unit tests of the configuration.
``L0_implicit_state``
    An initial state, ``request_output``, ``request_output_not_allowed``.
``L0_warmup``
    Zeros, random numbers and files, for sequences too: see the tests of loading.

Left out, because a backend has no part in it: when the scheduler waits, times out and orders a backlog; ensembles; and
models that fail their warm-up, of which several at once end Triton 2.51 itself, whatever their backend.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from .client import Arrays, Client, row
from .repository import IN_PROCESS

pytestmark = pytest.mark.serving


def test_a_module_may_keep_a_sequences_sum_itself(client):
    sums = client.infer_sequence("running", 7, [{"X__0": row(n)} for n in (1, 2, 3)])
    assert [answer["Y__0"].item() for answer in sums] == [1, 3, 6]
    (again,) = client.infer_sequence("running", 8, [{"X__0": row(5)}])
    assert again["Y__0"].item() == 5


def test_a_start_ends_the_sequence_before_it(client):
    def send(number: float, **place: bool) -> float:
        return client.infer_of_sequence("running", 4566, {"X__0": row(number)}, **place)["Y__0"].item()

    assert [send(1, start=True), send(2), send(42, start=True), send(9, end=True)] == [1, 3, 42, 51]


@IN_PROCESS
@pytest.mark.parametrize(
    ("sequence", "rows", "start", "says"),
    [
        (27, 2, True, "must specify batch-size 1 due to requirements of sequence batcher"),
        (0, 1, True, "must specify a non-zero or non-empty correlation ID"),
        (37469245, 1, False, "must specify the START flag on the first request of the sequence"),
    ],
    ids=["two items", "no correlation id", "no start"],
)
def test_what_is_no_request_of_a_sequence_is_refused(client, sequence, rows, start, says):
    with pytest.raises(InferenceServerException, match=says) as caught:
        client.infer_of_sequence("controls", sequence, {"X__0": np.ones((rows, 1), np.float32)}, start=start)
    assert caught.value.status() == "400"


def test_a_sequence_that_has_ended_needs_a_start_again(client):
    client.infer_sequence("running", 3, [{"X__0": row(n)} for n in (1, 2)])
    with pytest.raises(InferenceServerException, match="must specify the START flag"):
        client.infer_of_sequence("running", 3, {"X__0": row(55)})


@IN_PROCESS
def test_controls_say_where_a_request_stands_and_of_which_sequence(client):
    # The last says that each is of the type that is configured.
    answers = client.infer_sequence("controls", 42, [{"X__0": row(n)} for n in (1, 2, 3)])
    assert [answer["Y__0"].tolist() for answer in answers] == [
        [[1, 1, 0, 1, 42, 1]],
        [[2, 0, 0, 1, 42, 1]],
        [[3, 0, 1, 1, 42, 1]],
    ]


@IN_PROCESS
def test_slots_of_a_batch_that_have_no_request_are_not_ready(client):
    with ThreadPoolExecutor(2) as pool:

        def send(numbers: dict[int, float], **place: bool) -> list[list[float]]:
            pending = [
                pool.submit(client.infer_of_sequence, "slots", sequence, {"X__0": row(number)}, **place)
                for sequence, number in numbers.items()
            ]
            return [each.result()["Y__0"][0].tolist() for each in pending]

        # The sum, how many slots are ready, how many there are.
        assert send({987: 1, 988: 10}, start=True) == [[1, 2, 2], [10, 2, 2]]
        assert send({987: 2, 988: 20}) == [[3, 2, 2], [30, 2, 2]]
        # The one in the second slot has the other's beside it, which must not be told.
        alone = [send({987: 3})[0], send({988: 30})[0]]
        assert sorted(alone[place][1:] for place in (0, 1)) == [[1, 1], [1, 2]]
        assert [each[0] for each in alone] == [6, 60]
        assert [each[0] for each in send({987: 4, 988: 40}, end=True)] == [10, 100]


def sums_of(client: Client, model: str, sequences: Sequence[int]) -> dict[int, list[float]]:
    """Send eight numbers to each of the sequences, all at once; return what they were answered."""

    def request(number: float) -> Arrays:
        return {"X__0": row(number)}

    with ThreadPoolExecutor(len(sequences)) as pool:
        asked = {
            sequence: pool.submit(client.infer_sequence, model, sequence, [request(sequence * n) for n in range(1, 9)])
            for sequence in sequences
        }
        return {sequence: [answer["Y__0"].item() for answer in each.result()] for sequence, each in asked.items()}


def test_a_state_needs_tritons_own_process(client, isolated):
    entry = client.index()["kept"]
    assert entry["state"] == ("UNAVAILABLE" if isolated else "READY")
    assert ("a state of sequence_batching needs Triton's own process" in entry.get("reason", "")) is isolated


# Four of the six are under way at a time.
@IN_PROCESS
@pytest.mark.parametrize(("model", "initial"), [("kept", 0), ("kept_in_slots", 100)])
def test_triton_keeps_a_state_for_each_of_the_sequences_that_are_under_way(client, model, initial):
    assert sums_of(client, model, range(1, 7)) == {
        sequence: [initial + sequence * sum(range(1, n + 1)) for n in range(1, 9)] for sequence in range(1, 7)
    }


@IN_PROCESS
def test_a_state_is_answered_only_where_it_is_an_output_too(client):
    outputs, three = ("Y__0", "SUM__1"), {"X__0": np.array([3], np.float32)}
    first = client.infer_of_sequence("kept_and_told", 1, three, start=True, outputs=outputs)
    second = client.infer_of_sequence("kept_and_told", 1, three, end=True, outputs=outputs)
    assert [(each["Y__0"].tolist(), each["SUM__1"].tolist()) for each in (first, second)] == [([3], [3]), ([6], [6])]
    with pytest.raises(InferenceServerException, match="unexpected inference output 'SUM__1' for model 'kept'"):
        client.infer_of_sequence("kept", 1, {"X__0": row(3)}, start=True, end=True, outputs=outputs)
