"""What the facade's process is told by its environment."""

import pytest
from trident_server.errors import ServerError
from trident_server.facade import check_installed, without_proxy

PROXIES = ("no_proxy", "NO_PROXY", "no_grpc_proxy")


@pytest.mark.parametrize(
    ("given", "no_proxy", "no_grpc_proxy"),
    [
        ({}, "127.0.0.1", "127.0.0.1"),
        ({"no_proxy": "a,b"}, "a,b,127.0.0.1", "a,b,127.0.0.1"),
        ({"NO_PROXY": "a"}, "a,127.0.0.1", "a,127.0.0.1"),
        ({"no_proxy": "a", "no_grpc_proxy": "c"}, "a,127.0.0.1", "c,127.0.0.1"),
    ],
)
def test_triton_is_exempt_from_proxies_beside_what_is_already(monkeypatch, given, no_proxy, no_grpc_proxy):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = without_proxy(["127.0.0.1", "127.0.0.1"])
    assert found == {"no_proxy": no_proxy, "NO_PROXY": no_proxy, "no_grpc_proxy": no_grpc_proxy}


def test_without_the_facades_packages_it_is_said_which_extra_brings_them(monkeypatch):
    check_installed()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "orjson" else True)
    with pytest.raises(ServerError, match=r"needs the package orjson.*'trident-nlp\[server,api\]'.*--triton-only"):
        check_installed()
