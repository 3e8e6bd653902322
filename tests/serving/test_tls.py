"""TLS by option: the facade, Triton's gRPC, and the client's own settings against both."""

import ssl
import subprocess
from pathlib import Path

import httpx
import psutil
import pytest
from chaos.server import OwnServer
from toy_acceptability import write_toy_acceptability
from trident_client import (
    AsyncTridentClient,
    Retry,
    Timeout,
    Tls,
    TransportError,
    TridentClient,
    TridentError,
    UsageError,
)
from trident_client.cli import failures
from trident_client.cli.app import app
from typer.testing import CliRunner

pytestmark = pytest.mark.serving

ONCE = {"retry": Retry(attempts=1), "timeout": Timeout(connect=5, read=10)}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Makes a certificate that is its own authority, and returns its file and its key's."""
    folder = tmp_path_factory.mktemp("certificates")

    def make(name: str) -> tuple[Path, Path]:
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        options = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
        command = ["openssl", *options, *names, "-keyout", key, "-out", certificate]
        subprocess.run(command, check=True, capture_output=True)
        return certificate, key

    return {name: make(name) for name in ("server", "client", "stranger")}


@pytest.fixture(scope="module")
def server(tmp_path_factory, share_backends, certificates):
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = certificates["server"]
    options = [f"--tls-certificate={certificate}", f"--tls-key={key}", "--triton-host=0.0.0.0", "--models=cola"]
    options += [f"--triton-client-authorities={certificates['client'][0]}"]
    repository = write_toy_acceptability(folder / "models", divisor=100)
    with OwnServer(repository, share_backends(folder / "run"), options) as server:
        yield server


def test_the_facade_takes_tls_alone(server, certificates):
    url = server.url.replace("http://", "https://")
    assert any(url in line for line in server.said)
    (authorities, _), (stranger, _) = certificates["server"], certificates["stranger"]
    answer = httpx.post(
        f"{url}/generate",
        json={"passage": "x" * 50},
        verify=ssl.create_default_context(cafile=authorities),
        trust_env=False,
    )
    assert answer.json() == {"prob": pytest.approx(0.5)}
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(url, verify=ssl.create_default_context(cafile=stranger), trust_env=False)
    with pytest.raises(httpx.HTTPError):
        httpx.get(server.url, trust_env=False)


async def test_tritons_grpc_takes_clients_with_a_certificate_alone(server, certificates):
    url, (authorities, _) = f"127.0.0.1:{server.ports['grpc-port']}", certificates["server"]
    known = Tls(authorities, *certificates["client"])
    with TridentClient(url, protocol="grpc", tls=known, **ONCE) as client:
        assert client.acceptability(["x" * 50]) == pytest.approx([0.5])
    async with AsyncTridentClient(url, protocol="grpc", tls=known, **ONCE) as client:
        assert await client.acceptability(["x" * 50]) == pytest.approx([0.5])
    others = [None, Tls(authorities), Tls(authorities, *certificates["stranger"]), Tls(certificates["stranger"][0])]
    for other in others:
        with TridentClient(url, protocol="grpc", tls=other, **ONCE) as client, pytest.raises(TridentError):
            client.acceptability(["x"])


def test_the_clients_http_verifies_too(server, certificates):
    """Triton's own has no TLS; a proxy in front has, and here the facade, which says that it is another server."""
    url = f"127.0.0.1:{server.ports['port']}"
    with TridentClient(url, tls=Tls(certificates["server"][0]), **ONCE) as client, pytest.raises(UsageError) as said:
        client.ready()
    assert "port of Trident's facade" in str(said.value)
    with (
        TridentClient(url, tls=Tls(certificates["stranger"][0]), **ONCE) as client,
        pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.acceptability(["x"])


def test_what_tritons_http_cannot_encrypt_is_this_machines_alone(server):
    listening = {
        each.laddr.port: each.laddr.ip
        for each in psutil.Process(server.triton.pid).net_connections("tcp")
        if each.status == psutil.CONN_LISTEN
    }
    assert listening[server.ports["http-port"]] == "127.0.0.1"
    # gRPC writes it as an address of IPv6.
    assert listening[server.ports["grpc-port"]].endswith(("0.0.0.0", "::"))


def test_the_command_line_takes_the_same_files(server, certificates):
    certificate, key = certificates["client"]
    files = ["--tls-authorities", certificates["server"][0], "--tls-certificate", certificate, "--tls-key", key]
    command = ["cola", "x" * 50, "--protocol", "grpc", "--url", server.grpc_url, "--attempts", 1]
    done = CliRunner().invoke(app, [*map(str, [*files, *command])])
    assert done.exit_code == 0, done.output
    assert "0.5" in done.output
    for wrong in (files[:2], ["--tls"]):
        assert CliRunner().invoke(app, [*map(str, [*wrong, *command])]).exit_code == failures.NOT_SERVING
    half = CliRunner().invoke(app, [*map(str, [*files[:4], *command])])
    assert half.exit_code == failures.USAGE
    assert "are given together" in half.output


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere is no file"):
        Tls(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="given together"):
        Tls(certificate=__file__)
