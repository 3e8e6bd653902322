"""One trace from the client's request through the facade into Triton's models."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_server.process import trace_arguments
from trident_server.repository import chosen_models, link_models

pytestmark = pytest.mark.serving

MODEL_REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
TRACE = "ab" * 16
CALLER = "cd" * 8
# Triton sends what it has every few seconds.
SECONDS_TO_ARRIVE = 60


@pytest.fixture
def collector():
    """An OpenTelemetry collector: its address, and the spans that arrived, each with its service."""
    spans = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            content = json.loads(self.rfile.read(int(self.headers["content-length"])))
            for resource in content["resourceSpans"]:
                facts = {each["key"]: each["value"] for each in resource["resource"]["attributes"]}
                found = [span for scope in resource["scopeSpans"] for span in scope["spans"]]
                spans.extend({**span, "service": facts["service.name"]["stringValue"]} for span in found)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", spans
    server.shutdown()
    thread.join()
    server.server_close()


def wait_for(spans, name):
    deadline = time.monotonic() + SECONDS_TO_ARRIVE
    while not any(span["name"] == name for span in list(spans)):
        assert time.monotonic() < deadline, f"no span {name} among {[span['name'] for span in spans]}"
        time.sleep(0.05)


def test_a_request_is_one_trace_over_either_protocol(new_triton, collector, tmp_path):
    endpoint, spans = collector
    repository = link_models(MODEL_REPOSITORY, chosen_models(MODEL_REPOSITORY, ["cola"]), tmp_path / "models")
    with new_triton(repository, extra_args=trace_arguments(endpoint), ready_timeout=240) as triton:
        for protocol in ("grpc", "http"):
            spans.clear()
            settings = ApiSettings(
                triton_url=triton.http_url,
                triton_grpc_url=triton.grpc_url,
                triton_protocol=protocol,
                otlp_endpoint=endpoint,
            )
            headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
            with TestClient(create_app(settings)) as api:
                answer = api.post("/generate", json={"passage": "my secret diary"}, headers=headers)
            assert answer.status_code == 200
            wait_for(spans, "cola_classifier")
            wait_for(spans, "POST /generate")
            assert {span["traceId"] for span in spans} == {TRACE}
            by_id = {span["spanId"]: span for span in spans}
            span = next(span for span in spans if span["name"] == "cola_tokenizer")
            assert span["service"] == "triton"
            # From Triton's tokenizer up to whoever asked the facade, every span has its parent.
            while (parent := span["parentSpanId"]) != CALLER:
                span = by_id[parent]
            assert (span["service"], span["name"]) == ("trident-api", "POST /generate")
            assert "secret" not in json.dumps(spans)
