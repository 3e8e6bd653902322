"""The served OpenAPI document holds: what it calls accepted is, and no status comes that it does not name."""

import re
from collections import Counter

import pytest
import schemathesis
from chaos.questions import EVERYTHING
from fuzzing import looking
from hypothesis import given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from trident_api.app import create_app
from trident_api.problems import NOT_SERVED
from trident_api.settings import ApiSettings
from trident_client import AsyncFakeTransport, AsyncTridentClient

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
TOO_LARGE = 413
# A schema can say neither what a file holds, nor that fields of another shape are refused, nor which models take pairs,
# nor which columns a task has.
BEYOND_A_SCHEMA = ("/pred/file", "/pred/multi", "/pred/file/multi", "/generate", "/predict", "/predict/{task}")


TRANSPORT = AsyncFakeTransport(lambda request: {})
SCHEMA = schemathesis.openapi.from_asgi(
    "/openapi.json", create_app(ApiSettings(), lambda settings: AsyncTridentClient(transport=TRANSPORT))
)
OPERATIONS = {each.ok().label: each.ok() for each in SCHEMA.get_all_operations()}


@pytest.fixture(autouse=True)
def answers(answer_by_length, configurations):
    TRANSPORT._answer, TRANSPORT.configurations = answer_by_length, configurations


def test_all_endpoints_are_tried_here_and_in_a_soak():
    assert len(OPERATIONS) >= 15
    asked = {f"{each.method} {each.path}" for each in EVERYTHING if each.status == 200}
    templates = {re.compile(re.sub(r"\{\w+\}", r"\\w+", label)): label for label in OPERATIONS}
    never = {label for form, label in templates.items() if not any(form.fullmatch(each) for each in asked)}
    # Those of others' paths that say why nothing is served there.
    refused = {f"POST {path}" for path in NOT_SERVED}
    assert never == refused
    assert {label for label, each in OPERATIONS.items() if "200" not in each.definition.raw["responses"]} == refused


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("label", OPERATIONS)
def test_an_endpoint_keeps_to_the_document(label, mode):
    @looking(12)
    @given(case=OPERATIONS[label].as_strategy(generation_mode=mode))
    def keeps(case):
        described = mode is GenerationMode.POSITIVE and case.path not in BEYOND_A_SCHEMA
        if described and case.query:
            case.query.pop("model", None)
        if described and isinstance(case.body, dict):
            # Which models are served, how long their vectors are, and what prompts they have, no schema knows.
            served = {"model", "dimensions", "prompt_name"}
            case.body = {name: value for name, value in case.body.items() if name not in served}
        response = case.call()
        # Of what is visible, a schema's expressions know no more than that it is no space.
        blank = "must hold at least one visible character" in response.text
        # Nor does it know which token ids a model has, and how many of them it takes.
        others = re.search(r"the token id -?\d+; the vocabulary has|token ids; 1 to \d+ are accepted", response.text)
        checks = [*CHECKS, positive_data_acceptance] if described and not blank and not others else CHECKS
        if response.status_code == TOO_LARGE:
            # Refused before it was read, whatever it would have been.
            checks = [check for check in checks if check is not negative_data_rejection]
        case.validate_response(response, checks=checks)

    try:
        keeps()
    except Unsatisfiable:
        pytest.skip("there is nothing that this endpoint does not accept")


def test_in_any_order_endpoints_keep_to_the_document_and_know_what_others_list():
    # Nothing is kept between requests, so that there is one link, which schemathesis finds by itself.
    answered = Counter()

    class Machine(SCHEMA.as_state_machine()):
        def validate_response(self, response, case, additional_checks=(), **kwargs):
            case.validate_response(response, checks=CHECKS)
            answered[case.operation.label, response.status_code] += 1

    Machine.run(settings=settings(looking(12), stateful_step_count=5))
    assert answered["GET /v1/models", 200] > 0
    assert answered["GET /v1/models/{model}", 200] > 0
