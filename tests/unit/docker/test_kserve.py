"""KServe's manifest: its own fields are those of its interface, all else is Kubernetes', and the container is the plain
deployment's.

KServe publishes its schemas in its repository alone, one of them of a megabyte. So the fields that a manifest of ours
may have stand here, typed by hand as KServe's Python package 0.21.0 declares them. On 2026-11-30 its CRDs were read
beside them (``config/crd/full``, ServingRuntime at commit c33b380, InferenceService at 67bcf1a; a predictor's replicas
and metric in ``component.go``, which it is made of): the same names and types, but that a protocol may be any text
there. What KServe changes, no test sees.
"""

import copy

import kubernetes_validate
import pytest
import yaml
from image_context import DOCKER
from jsonschema import Draft202012Validator, ValidationError
from kustomization import render

MANIFEST = DOCKER / "k8s" / "kserve.yaml"


def an_object(required: str = "", **properties: dict) -> dict:
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


STRING, WHOLE, TRUTH, PART_OF_A_POD = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {}
FROM_ONE = {"type": "integer", "minimum": 1}
STRINGS = {"type": "object", "additionalProperties": STRING}
FORMAT = {"name": STRING, "version": STRING}
HEAD = {"apiVersion": STRING, "kind": STRING, "metadata": PART_OF_A_POD}
RUNTIME = an_object(
    "containers",
    annotations=STRINGS,
    labels=STRINGS,
    supportedModelFormats={"type": "array", "items": an_object("name", **FORMAT, autoSelect=TRUTH, priority=FROM_ONE)},
    protocolVersions={"type": "array", "items": {"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}},
    multiModel=TRUTH,
    disabled=TRUTH,
    **dict.fromkeys(["containers", "volumes", "nodeSelector", "affinity", "tolerations"], PART_OF_A_POD),
)
SERVICE = an_object(
    "predictor",
    predictor=an_object(
        minReplicas=WHOLE,
        maxReplicas=WHOLE,
        scaleMetric={"enum": ["cpu", "memory", "concurrency", "rps"]},
        scaleTarget=WHOLE,
        timeout=WHOLE,
        model=an_object(
            "modelFormat",
            modelFormat=an_object("name", **FORMAT),
            runtime=STRING,
            protocolVersion=STRING,
            storageUri=STRING,
            **dict.fromkeys(["env", "resources"], PART_OF_A_POD),
        ),
        **dict.fromkeys(["terminationGracePeriodSeconds", "automountServiceAccountToken"], PART_OF_A_POD),
    ),
)
SCHEMAS = {
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): an_object("spec", **HEAD, spec=RUNTIME),
    ("serving.kserve.io/v1beta1", "InferenceService"): an_object("spec", **HEAD, spec=SERVICE),
}


@pytest.fixture
def resources() -> list[dict]:
    return list(yaml.safe_load_all(MANIFEST.read_text()))


def check(resource: dict) -> None:
    Draft202012Validator(SCHEMAS[resource["apiVersion"], resource["kind"]]).validate(resource)


def test_each_resource_has_the_fields_of_its_kind_alone(resources):
    assert len(resources) == len(SCHEMAS)
    for each in resources:
        check(each)
    wrong = copy.deepcopy(resources[1])
    wrong["spec"]["predictor"]["model"]["modelFormats"] = []
    with pytest.raises(ValidationError, match="modelFormats"):
        check(wrong)


def test_what_becomes_a_pod_is_one_of_kubernetes(resources):
    runtime, service = (each["spec"] for each in resources)
    predictor = service["predictor"]
    pod = {name: runtime[name] for name in ("containers", "volumes")}
    pod |= {name: predictor[name] for name in ("terminationGracePeriodSeconds", "automountServiceAccountToken")}
    metadata = {"name": "trident", "labels": runtime["labels"], "annotations": runtime["annotations"]}
    resource = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}
    kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


def test_the_service_is_served_by_the_runtime(resources):
    runtime, service = resources
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"] in runtime["spec"]["supportedModelFormats"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]


def test_the_container_is_that_of_the_plain_deployment(resources):
    runtime, service = (each["spec"] for each in resources)
    (deployment,) = [
        each["spec"]["template"]
        for each in render(DOCKER / "k8s" / "overlays" / "cpu")
        if (each["kind"], each["metadata"]["name"]) == ("Deployment", "triton")
    ]
    pod = deployment["spec"]
    (ours,), (theirs,) = runtime["containers"], pod["containers"]
    # KServe takes what has this name for the server.
    assert (ours.pop("name"), theirs.pop("name")) == ("kserve-container", "triton")
    # The pod's own is not for a runtime to say.
    theirs["securityContext"] |= pod["securityContext"]
    ours["image"] = ours["image"].replace(":latest", "")
    theirs["image"] = theirs["image"].replace(":latest", "")
    assert ours == theirs
    assert ours["ports"][0]["name"] == "http"
    assert runtime["volumes"] == pod["volumes"]
    # By these the network policy finds its pods, and Prometheus their metrics.
    assert runtime["labels"] == deployment["metadata"]["labels"]
    assert runtime["annotations"] == deployment["metadata"]["annotations"]
    predictor = service["predictor"]
    assert predictor["terminationGracePeriodSeconds"] == pod["terminationGracePeriodSeconds"]
    assert predictor["automountServiceAccountToken"] is pod["automountServiceAccountToken"] is False
