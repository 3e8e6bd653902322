"""The images, as far as they can be judged without building them: Dockerfiles, what goes in, and how Triton starts."""

import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from image_context import DOCKER, ROOT, context_files, instructions, stage
from trident_api.settings import ApiSettings
from trident_server.process import RESTRICTED_APIS, TritonProcess
from trident_server.settings import ServerSettings
from trident_server.wheel import TUNING, EmbeddedTriton

DOCKERFILES = ["Dockerfile.triton", "Dockerfile.embedded", "Dockerfile.api"]
TOKENIZER = "model_repository/sts_tokenizer/1/tokenizer.json"


@pytest.fixture(scope="module")
def context() -> set[str]:
    return {str(file) for file in context_files()}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_has_nothing_to_say(name):
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DOCKER / name], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_run_as_a_user_that_is_not_root_and_tell_their_health(name):
    last = [each for each in instructions(name) if each[0] in {"FROM", "USER", "HEALTHCHECK", "CMD"}]
    last = dict(last[max(index for index, each in enumerate(last) if each[0] == "FROM") :])
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])
    assert " CMD " in last["HEALTHCHECK"]
    # As a list: a shell between would swallow the signal to stop.
    assert last["CMD"].startswith("[")


def test_everything_that_is_copied_is_in_the_context(context):
    for name in DOCKERFILES:
        for instruction, argument in instructions(name):
            sources = [each for each in argument.split()[:-1] if not each.startswith("--")]
            if instruction == "COPY" and "--from" not in argument:
                for source in sources:
                    assert any(file == source or file.startswith(f"{source}/") for file in context), source


def test_the_context_has_the_whole_repository_and_nothing_that_is_not_needed(context):
    models = {file for file in context if file.startswith("model_repository/")}
    assert {"model_repository/sts/config.pbtxt", "model_repository/sts/1/.gitkeep", TOKENIZER} <= models
    assert {"model_repository/sts_encoder/1/model.pt", "model_repository/sts_encoder/configs/gpu.pbtxt"} <= models
    assert not [file for file in context if "__pycache__" in file or file.endswith(".pyc")]
    tops = {file.split("/")[0] for file in context}
    assert tops <= {"LICENSE", "README.md", "api", "client", "docker", "model_repository", "server"} | {
        "pyproject.toml",
        "requirements.lock",
        "setup.py",
    }


def test_a_staged_repository_is_what_the_image_copies(tmp_path, context):
    staged = stage("model_repository", tmp_path / "models")
    copied = {f"model_repository/{file.relative_to(staged)}" for file in staged.rglob("*") if file.is_file()}
    assert copied == {file for file in context if file.startswith("model_repository/")}


def test_versions_of_the_images_packages_are_those_of_the_lock():
    wanted = re.findall(r"^[a-z-]+==.+$", (DOCKER / "requirements-triton.txt").read_text(), re.MULTILINE)
    assert {each.split("==")[0] for each in wanted} == {"numpy", "tokenizers"}
    assert set(wanted) <= set((ROOT / "requirements.lock").read_text().splitlines())


def test_the_image_has_the_embedded_servers_settings_of_memory_and_threads():
    given = dict(
        part.split("=") for name, text in instructions("Dockerfile.triton") if name == "ENV" for part in text.split()
    )
    assert given.items() >= TUNING.items()
    assert given["LD_PRELOAD"].startswith("libtcmalloc")


def test_tokenizers_needs_no_other_package_to_load_a_model():
    script = (
        "import importlib.metadata, sys\n"
        "for name in importlib.metadata.packages_distributions():\n"
        "    if name not in {'numpy', 'tokenizers'}: sys.modules.setdefault(name, None)\n"
        "from tokenizers import Tokenizer\n"
        f"print(len(Tokenizer.from_file({str(ROOT / TOKENIZER)!r}).encode('a man').ids))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().isdigit(), done.stderr


def arguments(commands: list[str]) -> dict[str, str]:
    return dict(re.fullmatch(r"--([a-z-]+)=?(.*)", each).groups() for each in commands)


@pytest.fixture
def run_script(tmp_path):
    """Runs the script that starts Triton, with a tritonserver that only tells its arguments."""
    fake = tmp_path / "bin" / "tritonserver"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)

    def run(*extra: str, **settings: str) -> dict[str, str]:
        environment = {"PATH": f"{fake.parent}:{os.environ['PATH']}", "TRIDENT_WATCH_SECONDS": "0.1"} | settings
        done = subprocess.run(
            [DOCKER / "serve-triton.sh", *extra],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return arguments(done.stdout.splitlines())

    return run


def test_triton_gets_the_same_arguments_in_its_container_as_without(run_script, tmp_path):
    embedded = TritonProcess(
        repository=tmp_path, http_port=8000, grpc_port=8001, metrics_port=8002, cache_dir=tmp_path, log_file=tmp_path
    )
    triton = EmbeddedTriton(*[tmp_path] * 5)
    ours = arguments(embedded._arguments(triton, tmp_path, "prefix"))
    theirs = run_script()
    for key in ("http-restricted-api", "grpc-restricted-protocol"):
        for each in (ours, theirs):
            closed, _, secret = each.pop(key).partition(":trident-admin=")
            assert closed == ",".join(RESTRICTED_APIS)
            assert re.fullmatch("[0-9a-f]{32}", secret)
    # Where things are differs, and a container's ports are open to its network.
    for key in ("model-repository", "backend-directory", "cache-directory", "backend-config"):
        ours.pop(key)
    for key in ("http-address", "grpc-address", "metrics-address"):
        ours.pop(key)
        assert theirs.pop(key) == "0.0.0.0"
    assert theirs.pop("model-repository") == "/models"
    # Where a model has a configuration of that name; the C++ backend answers one batch of an instance at a time.
    assert theirs.pop("model-config-name") == "container"
    assert int(theirs.pop("grpc-max-connection-age")) > 0
    assert int(theirs.pop("grpc-max-connection-age-grace")) > 0
    assert theirs == ours


def test_the_repository_the_configurations_name_and_further_arguments_are_settings(run_script):
    told = run_script("--log-verbose=1", TRIDENT_CONFIG_NAME="gpu", TRIDENT_REPOSITORY="s3://bucket/models")
    assert told["model-config-name"] == "gpu"
    assert told["model-repository"] == "s3://bucket/models"
    assert told["log-verbose"] == "1"


def test_make_images_says_clearly_that_there_is_no_docker(tmp_path):
    command = ["make", "--dry-run", "--no-print-directory", "check-docker"]
    # As from a shell, though this test itself may be a child of make.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    recipe = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=60, check=True).stdout
    environment = {"PATH": str(tmp_path)}
    done = subprocess.run(
        ["/bin/sh", "-c", recipe], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "need a Docker engine" in done.stderr
    assert "'make serve' needs none" in done.stderr


def test_triton_is_stopped_in_its_container_when_a_python_models_process_ends(tmp_path):
    stub = tmp_path / "triton_python_backend_stub"
    stub.write_text("#!/bin/sh\nexit 0\n")
    # As Triton: it waits for none of its models' processes.
    server = (
        f"#!{sys.executable}\nimport os, time\nif os.fork() == 0: os.execv({str(stub)!r}, ['stub'])\ntime.sleep(60)\n"
    )
    (tmp_path / "tritonserver").write_text(server)
    for each in (stub, tmp_path / "tritonserver"):
        each.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TRIDENT_WATCH_SECONDS": "0.1"}
    done = subprocess.run(
        [DOCKER / "serve-triton.sh"], env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == -signal.SIGTERM
    assert "The process of a Python model has ended: Triton is stopped." in done.stderr


def test_no_proxy_is_asked_for_the_health_of_an_image():
    checks = {name: dict(instructions(name))["HEALTHCHECK"] for name in DOCKERFILES}
    assert '"--noproxy", "*"' in checks["Dockerfile.triton"]
    assert "ProxyHandler({})" in checks["Dockerfile.api"]
    assert checks["Dockerfile.embedded"].endswith(checks["Dockerfile.api"].partition(" CMD ")[2])


def test_the_embedded_image_sets_what_are_settings_and_takes_away_only_what_builds_models():
    steps = instructions("Dockerfile.embedded")
    given = dict(part.split("=") for name, text in steps if name == "ENV" for part in text.split())
    settings = ServerSettings.model_fields.keys() | ApiSettings.model_fields.keys()
    assert {name for name in given if name.startswith("TRIDENT_")} <= {f"TRIDENT_{name.upper()}" for name in settings}
    # What cannot be compiled there, and would be copied to memory.
    assert f"trident-serve backends {given['TRIDENT_BACKENDS']}" in str(steps)
    assert given["TRIDENT_FIXED"] == "true"
    (copied,) = [text for name, text in steps if name == "COPY" and "model_repository" in text]
    assert copied.split()[-1] == given["TRIDENT_REPOSITORY"]
    (gone,) = re.findall(r"pip uninstall --yes ([a-z0-9 -]+?) &&", str(steps))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = (ROOT / "pyproject.toml").read_text()
    builds = text[text.index("# What builds the models") :].partition("]")[0]
    assert set(re.findall(r'"([a-z0-9-]+)[=>]', builds)) == set(gone.split())
    assert set(gone.split()) <= {re.match(r"[a-z0-9-]+", each)[0] for each in project["server"]}
