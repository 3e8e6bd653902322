"""What the facade makes again, and what it leaves to whoever asked."""

import functools

import pytest
from fastapi.testclient import TestClient
from trident_api import app as app_module
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import AsyncTridentClient, OverloadedError, TransportError

PASSAGE = {"passage": "I are a boy"}


@pytest.fixture
def ask(monkeypatch, transport, answer_by_length):
    """Asks a facade with the client that it makes itself, of a Triton that fails at first; tells how often it did."""
    monkeypatch.setattr(app_module, "AsyncTridentClient", functools.partial(AsyncTridentClient, transport=transport))

    def ask(failures, error, path="/generate", **settings):
        asked = 0

        def answer(request):
            nonlocal asked
            asked += 1
            if asked <= failures:
                raise error("it failed")
            return answer_by_length(request)

        transport._answer = answer
        with TestClient(create_app(ApiSettings(**settings))) as api:
            return api.post(path, json=PASSAGE), asked

    return ask


def test_a_request_is_made_again_until_triton_is_back(ask):
    answer, asked = ask(3, TransportError)
    assert (answer.status_code, asked) == (200, 4)


def test_no_retries_means_that_it_fails_at_once(ask):
    answer, asked = ask(1, TransportError, retries=0)
    assert (answer.status_code, asked, answer.headers["retry-after"]) == (503, 1, "1")


def test_what_triton_refuses_for_overload_is_left_to_whoever_asked(ask):
    answer, asked = ask(1, OverloadedError)
    assert (answer.status_code, asked) == (429, 1)


def test_the_deadline_holds_over_all_attempts(ask):
    answer, asked = ask(1000, TransportError, deadline=0.5)
    assert answer.status_code in {503, 504}
    assert 2 <= asked <= 5


def test_when_triton_stays_away_requests_fail_at_once(ask, transport):
    settings = {"retries": 2, "max_concurrent": 1}

    def away(request):
        transport.asked = getattr(transport, "asked", 0) + 1
        raise TransportError("away")

    transport._answer = away
    with TestClient(create_app(ApiSettings(**settings))) as api:
        for _ in range(2):
            assert api.post("/generate", json=PASSAGE).status_code == 503
        assert transport.asked == 6
        assert api.post("/generate", json=PASSAGE).status_code == 503
    assert transport.asked == 7
