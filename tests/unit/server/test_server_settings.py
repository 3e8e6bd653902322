from pathlib import Path

import pytest
from pydantic import ValidationError
from trident_server.settings import ServerSettings, reachable
from trident_server.stack import facade_settings


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ServerSettings.model_fields:
        monkeypatch.delenv(f"TRIDENT_{name.upper()}", raising=False)


def test_defaults_are_the_agreed_ports_on_this_machine_alone():
    settings = ServerSettings()
    assert settings.host == "127.0.0.1"
    assert settings.ports == {"port": 8000, "http_port": 8010, "grpc_port": 8011, "metrics_port": 8012}
    assert (settings.repository, settings.cache_dir) == (Path("model_repository"), Path(".trident"))


def test_the_environment_is_read_and_arguments_override_it(monkeypatch):
    monkeypatch.setenv("TRIDENT_PORT", "9000")
    monkeypatch.setenv("TRIDENT_HTTP_PORT", "9010")
    monkeypatch.setenv("TRIDENT_TRITON_ONLY", "true")
    settings = ServerSettings(http_port=9999)
    assert settings.ports == {"http_port": 9999, "grpc_port": 8011, "metrics_port": 8012}
    assert settings.port == 9000


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 0},
        {"port": 65536},
        {"ready_timeout": 0},
        {"log_verbose": 10},
        {"host": "::1"},
        {"host": "example.org"},
        {"triton_host": "example.org"},
        {"otlp_endpoint": "localhost:4318"},
        {"config_name": "a b"},
        {"config_name": "../up"},
    ],
)
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ValidationError):
        ServerSettings(**wrong)


def test_localhost_is_an_address():
    assert ServerSettings(host="localhost").host == "127.0.0.1"


def test_triton_is_open_to_this_machine_alone_unless_it_is_told_otherwise():
    for given in ({}, {"host": "0.0.0.0"}, {"host": "0.0.0.0", "triton_only": True}, {"api_keys_file": "keys"}):
        assert ServerSettings(**given).triton_host == "127.0.0.1"
    assert ServerSettings(host="0.0.0.0", triton_host="localhost").triton_host == "127.0.0.1"
    assert ServerSettings(triton_host="10.0.0.1").triton_host == "10.0.0.1"


def test_a_server_on_every_address_is_reached_on_the_local_one():
    assert reachable("0.0.0.0") == "127.0.0.1"
    assert reachable("10.1.2.3") == "10.1.2.3"


def test_tls_is_wanted_whole(tmp_path):
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.touch()
    with pytest.raises(ValidationError, match="given together"):
        ServerSettings(tls_certificate=certificate)
    with pytest.raises(ValidationError, match=r"k\.pem is no file"):
        ServerSettings(tls_certificate=certificate, tls_key=key)
    with pytest.raises(ValidationError, match="in TLS alone"):
        ServerSettings(triton_client_authorities=certificate)
    key.touch()
    assert ServerSettings(tls_certificate=certificate, tls_key=key).tls == (certificate, key, None)
    assert ServerSettings().tls is None


def test_the_facade_asks_over_http_where_traces_are_collected():
    assert facade_settings(ServerSettings())["triton_protocol"] is None
    told = facade_settings(ServerSettings(otlp_endpoint="http://127.0.0.1:4318"))
    assert (told["triton_protocol"], told["otlp_endpoint"]) == ("http", "http://127.0.0.1:4318")
