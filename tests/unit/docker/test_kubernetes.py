"""The manifests: rendered, held to the published schemas, and one part to the other."""

import functools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from unittest import mock

import kubernetes_validate
import pytest
import yaml
from image_context import DOCKER, instructions
from kustomization import render
from prometheus_queries import ADAPTER
from trident_api.settings import ApiSettings
from trident_server.settings import ServerSettings

K8S = DOCKER / "k8s"
OVERLAYS = ["cpu", "gpu"]
COMPONENTS = ["", *sorted(folder.name for folder in (K8S / "components").iterdir())]
#: The oldest with image volumes as the project uses them, and the newest whose schemas are at hand.
VERSIONS = ["1.33", kubernetes_validate.latest_version()]
SCRIPT = (DOCKER / "serve-triton.sh").read_text()


@pytest.fixture(scope="module", autouse=True)
def schemas_are_read_once():
    """The library reads a file of megabytes for every resource, twice."""
    utils = kubernetes_validate.utils
    with mock.patch.object(utils, "schema_contents", functools.cache(utils.schema_contents)):
        yield


def of(resources, kind, name):
    (found,) = [each for each in resources if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pod(resources, name):
    return of(resources, "Deployment", name)["spec"]["template"]["spec"]


def variables(resources, name):
    return {each["name"]: each["value"] for each in pod(resources, name)["containers"][0]["env"]}


@pytest.fixture(params=OVERLAYS)
def overlay(request):
    return render(K8S / "overlays" / request.param)


@pytest.fixture
def with_component(tmp_path):
    """Writes a kustomization of an overlay and a component and returns its folder."""

    def write(overlay: str, component: str) -> Path:
        plan = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
        plan["resources"] = [os.path.relpath(K8S / "overlays" / overlay, tmp_path)]
        if component:
            plan["components"] = [os.path.relpath(K8S / "components" / component, tmp_path)]
        (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(plan))
        return tmp_path

    return write


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("name", OVERLAYS)
def test_what_is_rendered_fits_the_published_schemas(with_component, name, component, version):
    for resource in render(with_component(name, component)):
        kubernetes_validate.validate(resource, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_is_found(overlay):
    deployment = of(overlay, "Deployment", "triton")
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)


def kubectl_version() -> tuple[int, ...]:
    """Return kubectl's version; (0, 0) where there is none. Before 1.22 it does not know components."""
    if shutil.which("kubectl") is None:
        return (0, 0)
    told = subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"v(\d+)\.(\d+)", told.stdout)
    return tuple(map(int, found.groups())) if found else (0, 0)


@pytest.mark.skipif(kubectl_version() < (1, 22), reason="needs kubectl 1.22, which renders without a cluster")
@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("name", OVERLAYS)
def test_kubectl_renders_the_same(with_component, name, component):
    folder = with_component(name, component)
    told = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stderr
    theirs, ours = list(yaml.safe_load_all(told.stdout)), render(folder)
    assert sorted(map(json.dumps, map(sort_keys, theirs))) == sorted(map(json.dumps, map(sort_keys, ours)))


def sort_keys(value):
    return json.loads(json.dumps(value, sort_keys=True))


def test_an_unknown_part_of_a_kustomization_is_refused(tmp_path):
    (tmp_path / "kustomization.yaml").write_text("resources: []\nnamePrefix: a-\n")
    with pytest.raises(ValueError, match="unknown fields namePrefix"):
        render(tmp_path)


@pytest.mark.parametrize("name", ["triton", "facade"])
def test_every_selector_finds_its_pods_and_every_port_has_its_name(overlay, name):
    deployment = of(overlay, "Deployment", name)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        of(overlay, "Service", name)["spec"]["selector"],
        of(overlay, "PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"],
        of(overlay, "NetworkPolicy", name)["spec"]["podSelector"]["matchLabels"],
    ] + [each["labelSelector"]["matchLabels"] for each in pod(overlay, name)["topologySpreadConstraints"]]
    assert all(selector.items() <= labels.items() for selector in selectors)
    (container,) = pod(overlay, name)["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert {each["targetPort"] for each in of(overlay, "Service", name)["spec"]["ports"]} == ports.keys()
    probes = [container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "readiness", "liveness")]
    assert set(probes) <= ports.keys()


def test_containers_listen_where_the_manifests_say(overlay):
    ports = {each["name"]: each["containerPort"] for each in pod(overlay, "triton")["containers"][0]["ports"]}
    assert ports == {name: int(port) for name, port in re.findall(r"--(http|grpc|metrics)-port=(\d+)", SCRIPT)}
    told = {name.removeprefix("TRIDENT_").lower(): value for name, value in variables(overlay, "triton").items()}
    alone = ServerSettings(**told | {"config_name": None})
    assert (alone.triton_only, alone.triton_host) == (True, "0.0.0.0")
    assert list(ports.values()) == list(alone.triton_ports.values())
    assert {each["port"] for each in of(overlay, "Service", "triton")["spec"]["ports"]} == set(ports.values())
    (facade,) = pod(overlay, "facade")["containers"][0]["ports"]
    assert f"--port={facade['containerPort']}" in dict(instructions("Dockerfile.api"))["CMD"]
    assert variables(overlay, "facade")["TRIDENT_TRITON_URL"] == f"triton:{ports['http']}"
    assert variables(overlay, "facade")["TRIDENT_TRITON_GRPC_URL"] == f"triton:{ports['grpc']}"


def test_only_the_facade_reaches_triton_and_prometheus_its_metrics(overlay):
    policy = of(overlay, "NetworkPolicy", "triton")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    facade, prometheus = policy["ingress"]
    assert facade["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "facade"}}}]
    assert {each["port"] for each in facade["ports"]} == {"http", "grpc"}
    assert [each.keys() for each in prometheus["from"]] == [{"namespaceSelector"}]
    assert [each["port"] for each in prometheus["ports"]] == ["metrics"]
    assert not [each for each in overlay if each["kind"] == "Ingress"]


@pytest.mark.parametrize(
    ("name", "told", "pattern"),
    [
        ("triton", SCRIPT, r"exit-timeout-secs=(\d+)"),
        ("facade", str(instructions("Dockerfile.api")), r"timeout-graceful-shutdown=(\d+)"),
    ],
)
def test_a_pod_drains_and_then_has_the_time_to_end_what_it_has_begun(overlay, name, told, pattern):
    (container,) = pod(overlay, name)["containers"]
    sleep, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert sleep == "sleep"
    (own,) = re.findall(pattern, told)
    assert int(seconds) >= 5
    assert int(seconds) + int(own) < pod(overlay, name)["terminationGracePeriodSeconds"]


IMAGES = {
    "trident-triton": "Dockerfile.triton",
    "trident-embedded": "Dockerfile.embedded",
    "trident-api": "Dockerfile.api",
}


@pytest.mark.parametrize("name", ["triton", "facade"])
def test_pods_run_as_the_images_user_with_nothing_that_they_can_write_but_what_is_mounted(overlay, name):
    security = pod(overlay, name)["securityContext"]
    (image,) = [each["image"].partition(":")[0] for each in pod(overlay, name)["containers"]]
    dockerfile = IMAGES[image]
    assert security["runAsNonRoot"]
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == dict(instructions(dockerfile))["USER"]
    (container,) = pod(overlay, name)["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    volumes = {each["name"] for each in pod(overlay, name)["volumes"]}
    assert {each["name"] for each in container["volumeMounts"]} <= volumes


def test_keys_come_from_a_secret_that_is_no_part_of_the_project(overlay):
    (keys,) = [each for each in pod(overlay, "facade")["volumes"] if "secret" in each]
    (mount,) = [
        each for each in pod(overlay, "facade")["containers"][0]["volumeMounts"] if each["name"] == keys["name"]
    ]
    assert Path(variables(overlay, "facade")["TRIDENT_API_KEYS_FILE"]).parent == Path(mount["mountPath"])
    assert variables(overlay, "facade").keys() <= {f"TRIDENT_{name.upper()}" for name in ApiSettings.model_fields}
    assert not [each for each in overlay if each["kind"] == "Secret"]


def test_the_autoscaler_asks_for_what_the_adapter_offers_and_alone_says_how_many_there_are(overlay):
    scaler = of(overlay, "HorizontalPodAutoscaler", "triton")["spec"]
    assert scaler["scaleTargetRef"]["name"] == "triton"
    offered = {each["name"]["as"] for each in yaml.safe_load(ADAPTER.read_text())["rules"]["custom"]}
    assert {each["pods"]["metric"]["name"] for each in scaler["metrics"]} == offered
    assert "replicas" not in of(overlay, "Deployment", "triton")["spec"]
    assert scaler["minReplicas"] >= 2


def test_the_overlay_for_a_gpu_asks_for_one_and_for_the_configurations_for_it():
    cpu, gpu = (render(K8S / "overlays" / name) for name in OVERLAYS)
    images = [pod(each, "triton")["containers"][0]["image"] for each in (cpu, gpu)]
    assert images == ["trident-embedded:latest", "trident-triton:latest"]
    assert "TRIDENT_CONFIG_NAME" not in variables(cpu, "triton")
    assert variables(gpu, "triton")["TRIDENT_CONFIG_NAME"] == "gpu"
    assert pod(gpu, "triton")["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert [each for each in cpu if each["metadata"]["name"] != "triton"] == [
        each for each in gpu if each["metadata"]["name"] != "triton"
    ]


@pytest.mark.parametrize("component", COMPONENTS[1:])
def test_each_source_of_models_is_one_that_triton_is_told_of(with_component, component):
    resources = render(with_component("cpu", component))
    told = variables(resources, "triton")
    (container,) = pod(resources, "triton")["containers"]
    embedded = container["image"].startswith("trident-embedded")
    user = dict(instructions(IMAGES[container["image"].partition(":")[0]]))["USER"]
    assert user == "{runAsUser}:{runAsGroup}".format(**pod(resources, "triton")["securityContext"])
    mounts = {each["name"]: each for each in container["volumeMounts"]}
    if "models" in mounts:
        assert told["TRIDENT_REPOSITORY"].startswith(mounts["models"]["mountPath"])
        assert mounts["models"]["readOnly"]
    else:
        # Which the embedded Triton is not built for.
        assert not embedded
        assert told["TRIDENT_REPOSITORY"].startswith("s3://")
        assert container["envFrom"]
