"""Keys, and other origins' pages."""

import hashlib
import math
import os

import pytest
from pydantic import ValidationError
from trident_api.access import Keys
from trident_api.admission import RefusedError
from trident_api.allowance import Allowance
from trident_api.settings import ApiSettings
from trident_server.keys import append_line, new_key

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


def test_a_file_of_digests_lets_in_who_has_the_keys_and_gives_none_away(make_api, tmp_path):
    file = tmp_path / "keys"
    (first, first_line), (second, second_line) = new_key(), new_key()
    file.write_text("an-older-key")
    append_line(file, first_line)
    append_line(file, f"{second_line} of the second team")
    assert first not in file.read_text()
    assert file.read_text().splitlines()[0] == "an-older-key"
    api = make_api(api_keys_file=file)
    for key in (first, second, "an-older-key"):
        assert ask(api, f"Bearer {key}").status_code == 200
    for key in (first_line, first_line.removeprefix("sha256:"), f"{second_line} of the second team"):
        assert ask(api, f"Bearer {key}").status_code == 401, "who reads the file has no key"
    assert len({new_key()[0] for _ in range(10)}) == 10
    assert len(first) >= 43


def test_a_file_of_keys_that_is_made_is_its_owners(tmp_path):
    append_line(tmp_path / "keys", "sha256:" + "0" * 64)
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600


def test_digests_are_compared_in_constant_time(tmp_path, monkeypatch):
    digests = [hashlib.sha256(key).digest() for key in (b"first", b"second", b"third")]
    (tmp_path / "keys").write_text("first\nsecond\n")
    compared = []

    def compare(left, right):
        compared.append((left, right))
        return left == right

    monkeypatch.setattr("hmac.compare_digest", compare)
    keys = Keys(tmp_path / "keys")
    assert keys.find(b"first") == digests[0]
    assert keys.find(b"third") is None
    assert compared == [(wanted, each) for wanted in (digests[0], digests[2]) for each in digests[:2]], "all, always"


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_an_allowance_comes_back_evenly_and_says_when():
    clock = Clock()
    allowance = Allowance(60, "requests", clock)
    for _ in range(60):
        allowance.take(b"a", 1.0)
    with pytest.raises(RefusedError, match=r"60 requests a minute, .* try again in 1 s") as refused:
        allowance.take(b"a", 1.0)
    clock.now += refused.value.retry_after - 0.01
    with pytest.raises(RefusedError):
        allowance.take(b"a", 1.0)
    clock.now += 0.01
    allowance.take(b"a", 1.0)
    # Others', and nobody's, are their own.
    for key in (b"b", None):
        allowance.take(key, 60.0)
    clock.now += 3600
    allowance.take(b"a", 60.0)
    with pytest.raises(RefusedError):
        allowance.take(b"a", 1.0)


def test_more_than_a_minutes_worth_is_owed_and_what_was_not_used_given_back():
    clock = Clock()
    allowance = Allowance(600, "tokens", clock)
    allowance.take(b"a", 1200.0)
    with pytest.raises(RefusedError) as refused:
        allowance.take(b"a", 10.0)
    assert refused.value.retry_after == pytest.approx(61.0)
    allowance.give_back(b"a", 1200.0)
    allowance.take(b"a", 600.0)
    allowance.give_back(b"stranger", 1.0)


def test_each_key_has_so_many_requests_and_the_others_theirs(make_api, keys_file, transport):
    api = make_api(api_keys_file=keys_file, key_requests_per_minute=3)
    answers = [ask(api, "Bearer first-key") for _ in range(5)]
    assert [each.status_code for each in answers] == [200, 200, 200, 429, 429]
    assert len(transport.requests) == 3
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
    assert "3 requests a minute" in answers[-1].json()["detail"]
    assert ask(api, "Bearer second-key").status_code == 200
    assert api.get("/health/live").status_code == 200
    openai = api.post("/v1/embeddings", json={}, headers={"authorization": "Bearer first-key"})
    assert openai.json()["error"]["code"] == "rate_limit_exceeded"


def test_each_key_has_so_many_tokens_whatever_it_asks(make_api, keys_file, transport):
    api = make_api(api_keys_file=keys_file, key_tokens_per_minute=100)
    headers = {"authorization": "Bearer first-key"}
    long = {"sentences": ["x" * 400] * 3}
    assert api.post("/acceptability", json=long, headers=headers).status_code == 200, "none of it was taken"
    refused = api.post("/acceptability", json={"sentences": ["a"]}, headers=headers)
    assert refused.status_code == 429
    # What was owed: 3 * (400 / 4 + 2) tokens at 100 a minute, but for the minute's worth that was there; and one text.
    owed = 3 * 102 - 100 + 0.25 + 2
    assert int(refused.headers["retry-after"]) == pytest.approx(math.ceil(owed * 60 / 100), abs=1)
    file = {"file": ("a.csv", b"sentence1,sentence2\na,b\n")}
    assert api.post("/pred/file", files=file, headers=headers).status_code == 429
    assert api.post("/pred/file", files=file, headers={"authorization": "Bearer second-key"}).status_code == 200


def test_tokens_of_what_the_queue_refuses_are_given_back(make_api, keys_file, monkeypatch):
    api = make_api(api_keys_file=keys_file, key_tokens_per_minute=10)

    def refuse(*arguments):
        raise RefusedError("full", 7.0)

    with monkeypatch.context() as patched:
        patched.setattr("trident_api.admission.Admission._refuse_what_comes_too_late", refuse)
        for _ in range(9):
            assert "full" in ask(api, "Bearer first-key").text
    assert ask(api, "Bearer first-key").status_code == 200


def test_limits_without_keys_are_refused_at_the_start():
    with pytest.raises(ValidationError, match="TRIDENT_API_KEYS_FILE"):
        ApiSettings(key_requests_per_minute=3)


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
