"""The ``pytorch`` backend inside Triton's own process: what ``inprocess.c`` calls, with Triton's memory as it lies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from trident_server.backends import tensors
from trident_server.backends.pytorch.errors import RequestError
from trident_server.backends.pytorch.served import Failure, Outputs, ServedModel
from trident_server.backends.tensors import Array, Error, Output, State, Tensor
from trident_server.backends.triton_log import Level, log

#: The products of a batch keep all cores busy, what surrounds them keeps one: two batches fill each other's gaps.
MOST_WORKERS = 2
#: Elements of one item above which a request is long: a passage of 20,000 characters in its windows. Whoever was joined
#: with it would wait for all of it.
LONG_ABOVE = 8192
#: After so many batches in a row that began alone, no company is expected.
ALONE = 4


class Company:
    """How many batches the cores are shared out to.

    While requests overlap, a batch that happens to begin alone has company before it ends: with threads for all cores,
    it and the next one would be in each other's way.
    """

    def __init__(self) -> None:
        self._last = 1
        self._alone = 0

    def expect(self, company: int) -> int:
        """Return how many batches one that begins now shares the cores with, itself among them.

        Args:
            company: how many are under way, this one among them.
        """
        if company > 1:
            self._last, self._alone = company, 0
        else:
            self._alone += 1
        return self._last if self._alone <= ALONE else 1


#: All models' that Triton's process computes.
_company = Company()


class InProcessModel:
    """One instance of one TorchScript model.

    Args:
        config: Triton's JSON form of the configuration.
        folder: the version's folder.
        kind: Triton's instance kind.
        device_id: which GPU.
    """

    def __init__(self, config: str, folder: str, kind: str, device_id: int) -> None:
        self._model = ServedModel(json.loads(config), Path(folder), kind, device_id)
        configuration = self._model.configuration
        answered = [*configuration.outputs, *(each.output for each in configuration.states)]
        self._data_types = {each.name: tensors.data_type(each.data_type) for each in answered}
        for line in self._model.lines:
            log(Level.INFO, line)

    @property
    def is_batching(self) -> bool:
        """Whether tensors have a batch dimension."""
        return self._model.configuration.max_batch_size > 0

    @property
    def workers(self) -> int:
        """How many batches may be answered at a time."""
        # A sequence's next request must find the state that this one leaves.
        one_after_another = self._model.configuration.is_of_sequences or not self._model.is_stateless
        return 1 if one_after_another else MOST_WORKERS

    @property
    def long_above(self) -> int:
        """Elements of an input's item above which a request is answered beside the workers, alone; 0 where none is."""
        joins = self.workers > 1 and any(each.ragged for each in self._model.configuration.given)
        return LONG_ABOVE if joins else 0

    def __str__(self) -> str:
        return f"{self._model}, in Triton's process, {self.workers} at a time"

    def execute(self, requests: Sequence[Mapping[str, Tensor]], company: int) -> list[list[Output | State] | Error]:
        """Answer all requests.

        Args:
            requests: each one's inputs by name. Their memory is Triton's, and no longer valid after this call.
            company: how many batches, this one among them, are being answered in Triton's process.

        Returns:
            Of each request its outputs, and as such, marked, what is to be kept for its sequence; or its error.
        """
        share = _company.expect(company)
        answers = self._model.answer([partial(_input, request) for request in requests], share)
        return [self._outputs(answer) for answer in answers]

    def _outputs(self, answer: Outputs | Failure) -> list[Output | State] | Error:
        if isinstance(answer, Failure):
            log(Level.ERROR, answer.logged)
            return answer.code, answer.message
        outputs = [tensors.write(name, self._data_types[name], array) for name, array in answer.arrays.items()]
        states = [tensors.write(name, self._data_types[name], array) for name, array in answer.states.items()]
        return [*outputs, *((*each, True) for each in states)]


def _input(request: Mapping[str, Tensor], name: str) -> Array | None:
    """Return an input; None where the request lacks it.

    Raises:
        RequestError: the content does not fill the shape.
    """
    try:
        return tensors.read(name, request[name]) if name in request else None
    except ValueError as error:
        raise RequestError(str(error)) from error
