"""The compose file is one of its schema, and its parts fit each other."""

import json
import re
from importlib import resources

import jsonschema
import pytest
import yaml
from image_context import DOCKER, instructions
from trident_api.settings import ApiSettings
from trident_server.settings import ServerSettings

COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
PROMETHEUS = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())


def test_the_file_fits_the_compose_specification():
    file = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(file.read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    validator.validate(COMPOSE)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(COMPOSE | {"services": {"api": {"image": "trident-api", "port": ["8000:8000"]}}})


def test_the_gpu_is_a_profile_that_differs_in_the_image_the_device_and_the_configurations_alone():
    cpu, gpu = (dict(SERVICES[name]) for name in ("triton", "triton-gpu"))
    assert (cpu.pop("profiles"), gpu.pop("profiles")) == (["cpu"], ["gpu"])
    assert cpu.pop("image").startswith("trident-embedded:")
    assert gpu.pop("image").startswith("trident-triton:")
    told = {name.removeprefix("TRIDENT_").lower(): value for name, value in cpu.pop("environment").items()}
    alone = ServerSettings(**told)
    assert alone.triton_only
    assert list(alone.triton_ports.values()) == [8000, 8001, 8002], "not where the other image has them"
    # The image's own asks the facade, which is not there.
    assert "http://127.0.0.1:8000/v2/health/ready" in cpu.pop("healthcheck")["test"][-1]
    assert gpu.pop("environment") == {"TRIDENT_CONFIG_NAME": "gpu"}
    (device,) = gpu.pop("deploy")["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert cpu == gpu
    assert cpu["shm_size"] == "1gb"


def test_without_a_profile_the_processors_triton_starts_and_no_other():
    lines = (DOCKER / ".env").read_text().splitlines()
    chosen = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert chosen.keys() == {"COMPOSE_PROFILES"}, "the rest is said by whoever starts it"
    started = {
        name for name, service in SERVICES.items() if chosen["COMPOSE_PROFILES"] in service.get("profiles", ["cpu"])
    }
    assert started == SERVICES.keys() - {"triton-gpu"}


def test_only_the_facade_can_be_opened_to_the_network():
    published = {name: service.get("ports", []) for name, service in SERVICES.items()}
    assert published.pop("api") == ["${TRIDENT_PUBLISH:-127.0.0.1}:8000:8000"]
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert not published["triton"] + published["triton-gpu"]
    assert COMPOSE["networks"]["models"] == {"internal": True}
    assert list(SERVICES["triton"]["networks"]) == list(SERVICES["triton-gpu"]["networks"]) == ["models"]


def test_services_set_only_what_is_a_setting_and_images_are_those_that_make_builds():
    known = {f"TRIDENT_{name.upper()}" for name in ApiSettings.model_fields}
    assert SERVICES["api"]["environment"].keys() <= known
    makefile = (DOCKER.parent / "Makefile").read_text()
    for name in ("triton", "triton-gpu", "api"):
        image = SERVICES[name]["image"].partition(":")[0]
        assert f"--tag {image}:" in makefile


@pytest.mark.parametrize("name", ["triton", "triton-gpu", "api"])
def test_a_container_has_the_time_to_end_what_it_has_begun(name):
    script = (DOCKER / "serve-triton.sh").read_text() + str(instructions("Dockerfile.api"))
    pattern = r"timeout-graceful-shutdown=(\d+)" if name == "api" else r"exit-timeout-secs=(\d+)"
    (seconds,) = re.findall(pattern, script)
    assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > int(seconds)


def test_prometheus_scrapes_services_on_the_ports_that_they_have():
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in PROMETHEUS["scrape_configs"]}
    assert targets == {"triton": ["triton:8002"], "facade": ["api:8000"]}
    assert "metrics-port=8002" in (DOCKER / "serve-triton.sh").read_text()
    assert ("EXPOSE", "8000") in instructions("Dockerfile.api")


def test_every_mounted_file_is_there():
    mounted = [each for service in SERVICES.values() for each in service.get("volumes", []) if each.startswith(".")]
    assert mounted
    for each in mounted:
        assert (DOCKER / each.partition(":")[0]).is_dir()
    for file in PROMETHEUS["rule_files"]:
        assert (DOCKER / "prometheus" / file.rpartition("/")[2]).is_file()
