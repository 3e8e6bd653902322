"""What a running Triton reports: version, configurations, ensembles and statistics, over HTTP or gRPC."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import grpc
import httpx
from google.protobuf import json_format
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident_bench.ensembles import Ensemble, find_ensembles
from trident_bench.errors import BenchError

TIMEOUT_SECONDS = 10.0

Protocol: TypeAlias = Literal["http", "grpc"]


class TritonState:
    """Asks a Triton what it serves and its counters. A context manager.

    Args:
        url: ``host:port`` of its HTTP or gRPC service.
        protocol: which of the two it is.

    Raises:
        BenchError: from all methods: nobody answers there, or it is not Triton.
    """

    def __init__(self, url: str, protocol: Protocol = "http") -> None:
        self._url, self._protocol = url, protocol
        # Neither through a proxy that the environment names.
        self._http = httpx.Client(base_url=f"http://{url}", timeout=TIMEOUT_SECONDS, trust_env=False)
        self._channel = grpc.insecure_channel(url, options=[("grpc.enable_http_proxy", 0)])
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def __enter__(self) -> TritonState:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
        self._channel.close()

    def version(self) -> str:
        """Return the server's name and version."""
        answer = self._call("GET", "/v2", "ServerMetadata", service_pb2.ServerMetadataRequest())
        return f"{answer['name']} {answer['version']}"

    def configurations(self) -> dict[str, ModelConfig]:
        """Return the configurations of all models that are ready, by name."""
        index = self._call("POST", "/v2/repository/index", "RepositoryIndex", service_pb2.RepositoryIndexRequest())
        models = index if isinstance(index, list) else index.get("models", [])
        found = {}
        for name in sorted({each["name"] for each in models if each.get("state") == "READY"}):
            request = service_pb2.ModelConfigRequest(name=name)
            answer = self._call("GET", f"/v2/models/{name}/config", "ModelConfig", request)
            found[name] = _parse(answer.get("config", answer), ModelConfig())
        return found

    def ensembles(self) -> dict[str, Ensemble]:
        """Return all ensembles that are ready and of a known task, by name."""
        return find_ensembles(self.configurations())

    def statistics(self, names: Iterable[str]) -> dict[str, service_pb2.ModelStatistics]:
        """Return what Triton has counted for each of these models."""
        found = {}
        for name in names:
            request = service_pb2.ModelStatisticsRequest(name=name)
            answer = self._call("GET", f"/v2/models/{name}/stats", "ModelStatistics", request)
            found[name] = _parse(answer["model_stats"][0], service_pb2.ModelStatistics())
        return found

    def _call(self, method: str, path: str, call: str, request: Any) -> Any:
        try:
            if self._protocol == "grpc":
                message = getattr(self._stub, call)(request, timeout=TIMEOUT_SECONDS)
                return json_format.MessageToDict(message, preserving_proto_field_name=True)
            response = self._http.request(method, path)
            response.raise_for_status()
            return response.json()
        except grpc.RpcError as error:
            raise self._unreachable(error.details()) from error
        except (httpx.HTTPError, httpx.InvalidURL, json.JSONDecodeError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, reason: object) -> BenchError:
        return BenchError(
            f"No Triton answers over {self._protocol} at {self._url} ({reason}). Give the host:port of that service, "
            "or no address to measure a server of this command's own."
        )


def _parse(answer: dict[str, Any], message: Any) -> Any:
    return json_format.ParseDict(answer, message, ignore_unknown_fields=True)
