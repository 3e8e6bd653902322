"""Keys, and other origins' pages."""

import os

import pytest
from trident_api.access import Keys

PASSAGE = {"passage": "a"}


def ask(api, key=None, path="/generate"):
    return api.post(path, json=PASSAGE, headers={} if key is None else {"authorization": key})


def replace(file, text):
    draft = file.with_suffix(".new")
    draft.write_text(text, "utf-8")
    os.replace(draft, file)


@pytest.fixture
def guarded(make_api, keys_file):
    return make_api(api_keys_file=keys_file, max_body_bytes=1000)


def test_without_a_file_everyone_may_ask(api):
    assert ask(api).status_code == 200
    assert ask(api, "Bearer whatever").status_code == 200


@pytest.mark.parametrize("key", ["Bearer first-key", "bearer second-key", "BEARER  second-key "])
def test_each_key_of_the_file_is_accepted(guarded, key):
    assert ask(guarded, key).status_code == 200


def test_a_byte_order_mark_is_no_part_of_a_key(make_api, keys_file):
    replace(keys_file, "\ufefffirst-key\n")
    assert ask(make_api(api_keys_file=keys_file), "Bearer first-key").status_code == 200


@pytest.mark.parametrize(
    "key",
    [None, "", "Bearer", "Bearer ", "first-key", "Basic first-key", "Bearer first-ke", "Bearer first-keyy",
     "Bearer # of the first team", "Bearer first-key second-key", "Bearer \xff".encode("latin-1")],
)  # fmt: skip
def test_anything_else_is_a_401_that_says_what_is_needed(guarded, transport, key):
    answer = ask(guarded, key)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    assert transport.requests == []


def test_a_body_is_not_read_before_the_key_is_known(guarded):
    assert guarded.post("/generate", content=b"x" * 5000).status_code == 401
    headers = {"authorization": "Bearer first-key"}
    assert guarded.post("/generate", content=b"x" * 5000, headers=headers).status_code == 413


def test_health_and_pages_are_open_and_nothing_else(guarded):
    for path in ("/", "/docs", "/openapi.json", "/health/live", "/health/ready", "/static/swagger/swagger-ui.css"):
        assert guarded.get(path).status_code == 200, path
    for path in ("/models", "/metrics", "/v1/models", "/nothing", "/docs/../models", "/health", "/Health/live"):
        assert guarded.get(path).status_code == 401, path


def test_keys_come_and_go_without_a_restart(guarded, keys_file):
    replace(keys_file, "second-key\nthird-key-고양이\n")
    assert ask(guarded, "Bearer first-key").status_code == 401
    assert ask(guarded, "Bearer second-key").status_code == 200
    assert ask(guarded, "Bearer third-key-고양이".encode()).status_code == 200


@pytest.mark.parametrize("broken", [lambda file: file.unlink(), lambda file: file.write_bytes(b"\xff\n")])
def test_a_file_that_cannot_be_read_lets_nobody_in_until_it_can(guarded, keys_file, broken):
    broken(keys_file)
    assert ask(guarded, "Bearer first-key").status_code == 401
    replace(keys_file, "first-key\n")
    assert ask(guarded, "Bearer first-key").status_code == 200


@pytest.mark.parametrize("content", [None, b"", b"# nobody\n\n", b"\xff"])
def test_a_file_without_keys_is_refused_at_the_start(tmp_path, content):
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match="at least one key"):
        Keys(file)


def test_the_document_says_that_keys_are_needed(guarded, api):
    document = guarded.get("/openapi.json").json()
    assert document["paths"]["/generate"]["post"]["security"] == [{"key": []}]
    assert "401" in document["paths"]["/generate"]["post"]["responses"]
    assert "security" not in document["paths"]["/health/live"]["get"]
    assert "401" not in api.get("/openapi.json").json()["paths"]["/generate"]["post"]["responses"]


ORIGIN = {"origin": "https://example.org"}
PREFLIGHT = ORIGIN | {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}


def test_pages_of_other_origins_may_not_ask(api):
    answer = api.post("/generate", json=PASSAGE, headers=ORIGIN)
    assert "access-control-allow-origin" not in answer.headers
    assert api.options("/generate", headers=PREFLIGHT).status_code == 405


def test_pages_of_named_origins_may(make_api, keys_file, monkeypatch):
    monkeypatch.setenv("TRIDENT_CORS_ORIGINS", "https://example.org, https://example.com")
    api = make_api(api_keys_file=keys_file)
    assert api.options("/generate", headers=PREFLIGHT).status_code == 200
    answer = api.post("/generate", json=PASSAGE, headers=ORIGIN | {"authorization": "Bearer first-key"})
    assert answer.headers["access-control-allow-origin"] == "https://example.org"
    # So that a page can read why it was refused.
    assert api.post("/generate", json=PASSAGE, headers=ORIGIN).headers["access-control-allow-origin"]
    answer = api.post("/generate", json=PASSAGE, headers={"origin": "https://example.net"})
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_may_send_what_packages_add_and_read_a_failure(make_api, transport):
    api = make_api(cors_origins=("https://example.org",))
    asked = "authorization, content-type, x-stainless-lang, x-stainless-retry-count"
    answer = api.options("/v1/embeddings", headers=PREFLIGHT | {"access-control-request-headers": asked})
    assert answer.status_code == 200
    assert set(asked.split(", ")) <= set(answer.headers["access-control-allow-headers"].split(", "))

    def break_down(request):
        raise RuntimeError

    transport._answer = break_down
    answer = api.post("/generate", json=PASSAGE, headers=ORIGIN)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (500, "https://example.org")
