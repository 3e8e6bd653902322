"""Paths: behind a proxy's prefix or not, with a slash at the end or not, and never a redirect of a body."""

import pytest

PASSAGE = {"passage": "a"}


@pytest.mark.parametrize("prefix", ["", "/nlp", "/team/nlp"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_proxy_may_take_its_prefix_off_or_leave_it(make_api, prefix, slash):
    api = make_api(root_path=prefix)
    for left in {"", prefix}:
        answer = api.post(f"{left}/generate{slash}", json=PASSAGE, follow_redirects=False)
        assert (answer.status_code, list(answer.json())) == (200, ["prob"])
        # Its errors are OpenAI's there too.
        answer = api.post(f"{left}/v1/embeddings{slash}", json={"input": 1}, follow_redirects=False)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert api.post("/nlpx/generate", json=PASSAGE).status_code == 404
    assert 'route="/generate",status="200"' in api.get("/metrics").text


@pytest.mark.parametrize("path", ["/qa", "/pred/sentences", "/similarity", "/acceptability", "/embed", "/pred/file"])
def test_no_body_is_redirected(api, path):
    for spelling in (path, f"{path}/"):
        assert api.post(spelling, json={}, follow_redirects=False).status_code == 422


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/docs/", "../docs"), ("/nlp/docs/", "../docs"), ("/nlp", "nlp/"), ("/models/", "../models"),
        ("/docs/?a=b%20c&d=%ED%95%9C", "../docs?a=b%20c&d=%ED%95%9C"), ("/nlp?lang=ko", "nlp/?lang=ko"),
    ],
)  # fmt: skip
def test_a_page_is_redirected_relative_to_itself(make_api, path, location):
    answer = make_api(root_path="/nlp").get(path, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, location)
    assert make_api(root_path="/nlp").get(path).status_code == 200


def test_the_document_names_the_prefix(make_api, api):
    assert make_api(root_path="/nlp").get("/nlp/openapi.json").json()["servers"] == [{"url": "/nlp"}]
    assert "servers" not in api.get("/openapi.json").json()


def test_keys_are_asked_for_behind_a_prefix_too(make_api, keys_file):
    api = make_api(root_path="/nlp", api_keys_file=keys_file)
    for path in ("/nlp/models", "/nlp/nlp/models", "/models", "/nlp/static", "/nlp/health"):
        assert api.get(path).status_code == 401, path
    for path in ("/nlp/", "/nlp/health/live", "/health/live", "/nlp/docs", "/nlp/static/main.js"):
        assert api.get(path).status_code == 200, path


@pytest.mark.parametrize("prefix", ["nlp", "/nlp/", "/", "//", "/a?b"])
def test_a_prefix_begins_with_a_slash_and_ends_without(make_api, prefix):
    with pytest.raises(ValueError, match="root_path"):
        make_api(root_path=prefix)


def test_health_answers_head(api, transport):
    assert [api.head(f"/health/{each}").status_code for each in ("live", "ready")] == [200, 200]
    transport.is_ready = False
    assert [api.head(f"/health/{each}").status_code for each in ("live", "ready")] == [200, 503]
