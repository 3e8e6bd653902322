"""What docker/ says of the servers, asked of the live ones: probes, metrics, and the script that starts Triton."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import httpx
import pytest
import yaml
from image_context import DOCKER, instructions, stage
from kustomization import render
from prometheus_queries import GPU_METRICS, OWN_LABELS, OWN_METRICS, named, queries, rules
from served_models import READY_SECONDS
from trident_server.errors import ServerStartError
from trident_server.facade import FacadeProcess
from trident_server.machine import gpus
from trident_server.ports import free_ports
from trident_server.supervised import new_shm_prefix
from trident_server.supervisor import remove_shared_memory
from trident_server.wheel import environment, find_embedded_triton

pytestmark = pytest.mark.serving

SECONDS = 60
OVERLAYS = [render(folder) for folder in sorted((DOCKER / "k8s" / "overlays").iterdir())]


@pytest.fixture(scope="module")
def facade(triton, tmp_path_factory):
    """A facade that has answered each task once, and failed once."""
    log_file = tmp_path_factory.mktemp("facade") / "facade.log"
    with FacadeProcess(
        triton_url=triton.http_url,
        triton_grpc_url=triton.grpc_url,
        log_file=log_file,
        ready_timeout=READY_SECONDS,
        settings={"deadline": 20},
    ) as process:
        for path, body in (
            ("/generate", {"passage": "I are a boy"}),
            ("/pred/sentences", {"sentence_1": "A man plays.", "sentence_2": "Someone plays."}),
            ("/qa", {"question": "Who plays?", "context": "A man plays."}),
        ):
            assert httpx.post(f"{process.url}{path}", json=body, timeout=SECONDS).status_code == 200
        yield process


@pytest.fixture(scope="module")
def scraped(triton, facade) -> dict[str, set[str]]:
    """Every metric of Triton and of the facade, with the labels that its samples have."""
    text = httpx.get(f"http://{triton.metrics_url}/metrics").text
    # The facade counts a request once it is answered: by the second scrape the first is.
    httpx.get(f"{facade.url}/metrics")
    text += httpx.get(f"{facade.url}/metrics").text
    # A counter that has not counted yet has a type and no sample.
    found: dict[str, set[str]] = {name: set() for name in re.findall(r"^# TYPE (\S+) counter$", text, re.MULTILINE)}
    for name, labels in re.findall(r"^([a-z]\w*)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


def missing(query: str, scraped: dict[str, set[str]]) -> list[str]:
    """Return what a query names and neither server, nor Prometheus itself, has."""
    recorded = {str(each["record"]) for each in rules() if "record" in each}
    found = []
    for metric, labels in named(query).items():
        if metric in OWN_METRICS | GPU_METRICS | recorded:
            continue
        if metric not in scraped:
            found.append(metric)
        # A counter that has not counted yet shows no labels.
        elif scraped[metric] and (unknown := labels - OWN_LABELS - scraped[metric]):
            found.append(f"{metric}{{{', '.join(sorted(unknown))}}}")
    return found


@pytest.mark.parametrize("query", queries(), ids=[each.place for each in queries()])
def test_every_metric_and_label_of_a_query_is_in_a_scrape(scraped, query):
    assert missing(query.text, scraped) == []


def test_a_metric_or_a_label_that_does_not_exist_is_found(scraped):
    assert missing("rate(nv_inference_queue_duration_ms[5m])", scraped) == ["nv_inference_queue_duration_ms"]
    assert missing("sum by (path) (trident_http_requests_total)", scraped) == ["trident_http_requests_total{path}"]


def probes(name: str) -> set[str]:
    """Return the paths that a deployment's probes ask for, in all overlays."""
    containers = [
        container
        for resources in OVERLAYS
        for each in resources
        if (each["kind"], each["metadata"]["name"]) == ("Deployment", name)
        for container in each["spec"]["template"]["spec"]["containers"]
    ]
    kinds = ("startupProbe", "readinessProbe", "livenessProbe")
    return {container[kind]["httpGet"]["path"] for container in containers for kind in kinds}


def health_checks(name: str) -> set[str]:
    """Return the path that an image's health check asks for."""
    return set(re.findall(r"http://127\.0\.0\.1:8000(/[\w/]+)", dict(instructions(name))["HEALTHCHECK"]))


def test_every_probe_of_triton_is_answered(triton):
    paths = probes("triton") | health_checks("Dockerfile.triton")
    assert paths == {"/v2/health/ready", "/v2/health/live"}
    for path in paths:
        assert httpx.get(f"http://{triton.http_url}{path}").status_code == 200


def test_every_probe_of_the_facade_is_answered(facade):
    paths = probes("facade") | health_checks("Dockerfile.api")
    assert paths == {"/health/ready", "/health/live"}
    for path in paths:
        assert httpx.get(f"{facade.url}{path}").status_code == 200


@pytest.mark.parametrize("name", ["triton", "facade"])
def test_metrics_are_where_annotations_and_prometheus_look_for_them(name, triton, facade):
    url = {"triton": f"http://{triton.metrics_url}", "facade": facade.url}[name]
    paths = {
        each["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"]
        for resources in OVERLAYS
        for each in resources
        if (each["kind"], each["metadata"]["name"]) == ("Deployment", name)
    }
    jobs = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    paths |= {job.get("metrics_path", "/metrics") for job in jobs}
    for path in paths:
        assert httpx.get(f"{url}{path}").text.startswith("# HELP")


@pytest.fixture
def container(tmp_path, identity_repository):
    """The image's script before the embedded tritonserver, on free ports."""
    triton, prefix = find_embedded_triton(), new_shm_prefix()
    ports = dict(zip(("http", "grpc", "metrics"), free_ports(3), strict=True))
    backends = tmp_path / "backends"
    shutil.copytree(triton.python_backend, backends / "python", symlinks=True)
    shutil.copy(triton.python_stub, backends / "python" / triton.python_stub.name)
    wrapper = tmp_path / "bin" / "tritonserver"
    wrapper.parent.mkdir()
    wrapper.write_text(
        f"#!{sys.executable}\nimport os, re, sys\n"
        f"ports = {ports!r}\n"
        "arguments = [re.sub(r'^--(http|grpc|metrics)-(port=.*|address=.*)',"
        " lambda found: f'--{found[1]}-port={ports[found[1]]}' if found[2].startswith('port')"
        " else f'--{found[1]}-address=127.0.0.1', each) for each in sys.argv[1:]]\n"
        f"os.execv({str(triton.binary)!r}, ['tritonserver', *arguments])\n"
    )
    wrapper.chmod(0o755)
    variables = environment(triton) | {"TRIDENT_REPOSITORY": str(identity_repository)}
    variables["PATH"] = f"{wrapper.parent}:{variables['PATH']}"
    extra = [f"--backend-directory={backends}", f"--backend-config=python,shm-region-prefix-name={prefix}"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [DOCKER / "serve-triton.sh", *extra], env=variables, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process, f"127.0.0.1:{ports['http']}", tmp_path / "log"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        remove_shared_memory(prefix)


def test_the_images_script_starts_triton_which_stops_when_told(container):
    process, url, log = container
    deadline = time.monotonic() + SECONDS
    while not is_ready(url):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    closed = httpx.get(f"http://{url}/v2/systemsharedmemory/status")
    assert closed.status_code >= 400
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 0, log.read_text()


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"http://{url}/v2/health/ready").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.skipif(bool(gpus()), reason="this machine has a GPU")
def test_triton_reads_the_configurations_for_a_gpu_and_where_there_is_none_names_each_network(new_triton, tmp_path):
    repository = stage("model_repository", tmp_path / "models")
    # What the configurations are not of need not be loaded.
    for folder in {*repository.iterdir()} - {file.parents[1] for file in repository.glob("*/configs/gpu.pbtxt")}:
        shutil.rmtree(folder)
    with pytest.raises(ServerStartError) as refused:
        new_triton(repository, config_name="gpu").start()
    named = set(re.findall(r"^ *(\w+): .*KIND_GPU but no GPUs", str(refused.value), re.MULTILINE))
    assert named == {file.parents[1].name for file in repository.glob("*/configs/gpu.pbtxt")}
