"""The embedded image and the facade's, built and run by Podman: user, root, health, answers, and how they stop.

``make test-image`` runs this, ``make test`` does not: it takes minutes, gigabytes, root, and three Debian packages.
No image registry is asked: the bases are made by debootstrap, and the wheels are downloaded by this machine's own pip.
``-s`` prints how large the images are, and how soon a container is ready.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.image, pytest.mark.timeout(3600)]

ROOT = Path(__file__).resolve().parents[2]
LOAD = Path(__file__).with_name("load.py")
PROGRAMS = ("podman", "runc", "debootstrap")
EMBEDDED, API, BASE = "localhost/trident-embedded", "localhost/trident-api", "localhost/trident-base"
#: What a Dockerfile calls the base that has Python; Debian's own stands in its place.
PYTHON = "docker.io/library/python:3.11-slim"
PYTHON_FILE = f"""FROM {BASE}
RUN apt-get update && apt-get install --yes --no-install-recommends python-is-python3 python3.11-venv
"""
#: What asks Triton alone, on its own port, as compose.yaml has it.
TRITON_HEALTH = "import urllib.request as r; r.urlopen('http://127.0.0.1:8010/v2/health/ready', timeout=4)"
#: Where Podman keeps its locks, which outlive it.
LOCKS = Path("/dev/shm/libpod_lock")
#: That a start may take beside other work, and a stop.
SECONDS_TO_START, SECONDS_TO_STOP = 600, 60
#: As docker/README.md runs it and the manifests do: nothing of the machine's but a processor and memory.
CONFINED = ["--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--shm-size=1g"]
# Podman alone would make more of it memory that may be written to than Docker does.
CONFINED += ["--read-only-tmpfs=false"]
CONFINED += ["--tmpfs=/tmp:size=1g,noexec"]
# Podman asks for more than a machine may give that is a container itself.
CONFINED += ["--ulimit=nofile=16384:16384", "--ulimit=nproc=4096:4096"]


class Podman:
    """Podman with images and containers of its own, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._command = ["podman", f"--root={folder}/storage", f"--runroot={folder}/run", "--runtime=runc"]
        self._command += ["--cgroup-manager=cgroupfs"]

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Begin a command."""
        return subprocess.Popen([*self._command, *map(str, arguments)], stdout=subprocess.PIPE, text=True)

    def run(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command; where it fails, say what it said."""
        done = subprocess.run([*self._command, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"podman {' '.join(map(str, arguments))}: {done.stderr[-2000:]}"
        return done


@pytest.fixture(scope="module")
def podman(tmp_path_factory) -> Iterator[Podman]:
    """Podman with the images; all of it goes at the end."""
    if os.getuid() != 0:
        pytest.skip("debootstrap and Podman with its storage need root")
    if lacking := [each for each in PROGRAMS if shutil.which(each) is None]:
        pytest.skip(f"not on this machine: {', '.join(lacking)}; apt-get install {' '.join(PROGRAMS)}")
    folder = tmp_path_factory.mktemp("podman")
    podman, others = Podman(folder), LOCKS.exists()
    try:
        podman.run("import", make_base(folder), BASE)
        (folder / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        mounted = [f"--volume={download_wheels(folder)}:/wheels:ro", f"--volume={folder}/pip.conf:/etc/pip.conf:ro"]
        (folder / "Dockerfile.python").write_text(PYTHON_FILE)
        # Health checks are Docker's.
        build = ["build", "--format=docker", "--isolation=chroot", "--pull=never", f"--build-arg=BASE={BASE}", *mounted]
        for tag, file in (
            (PYTHON, folder / "Dockerfile.python"),
            (API, ROOT / "docker" / "Dockerfile.api"),
            (EMBEDDED, ROOT / "docker" / "Dockerfile.embedded"),
        ):
            podman.run(*build, f"--file={file}", f"--tag={tag}", ROOT)
        for tag in (BASE, PYTHON, API, EMBEDDED):
            size = int(podman.run("image", "inspect", "--format={{.Size}}", tag).stdout)
            print(f"{tag}: {size / 1e6:,.0f} MB")
        yield podman
    finally:
        podman.run("rm", "--all", "--force", check=False)
        podman.run("rmi", "--all", "--force", check=False)
        # Podman leaves its storage mounted on itself.
        subprocess.run(["umount", folder / "storage" / "overlay"], capture_output=True, check=False)
        shutil.rmtree(folder)
        if not others:
            LOCKS.unlink(missing_ok=True)


def make_base(folder: Path) -> Path:
    """Return Debian 12 as an archive, from the mirror that this machine's apt has."""
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Codename: bookworm"]
    mirrors = subprocess.run(targets, capture_output=True, text=True, check=True).stdout.split()
    command = ["debootstrap", "--variant=minbase", "bookworm", folder / "base", *mirrors[:1]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    archive = folder / "base.tar"
    subprocess.run(["tar", "--create", f"--file={archive}", f"--directory={folder}/base", "."], check=True)
    shutil.rmtree(folder / "base")
    return archive


def download_wheels(folder: Path) -> Path:
    """Return a folder with all wheels that the image is built of."""
    index = os.environ.get("TORCH_INDEX_URL")
    found = [f"--extra-index-url={index}"] if index else []
    wanted = ["--constraint=requirements.lock", "./client", ".[server,api]", "setuptools>=77", "wheel"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", f"--dest={folder}/wheels", *found, *wanted]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "wheels"


@contextlib.contextmanager
def running(podman: Podman, image: str, *options: object) -> Iterator[str]:
    """Run a container, and give its name once its health check says so; it has no network but what is asked for."""
    begun = time.monotonic()
    name = podman.run("run", "--detach", *CONFINED, *options, image).stdout.strip()
    try:
        while podman.run("healthcheck", "run", name, check=False).returncode:
            assert state(podman, name)["Running"], podman.run("logs", name)
            assert time.monotonic() < begun + SECONDS_TO_START, podman.run("logs", name)
            time.sleep(0.5)
        print(f"{image} is ready after {time.monotonic() - begun:.1f} s")
        yield name
    finally:
        podman.run("rm", "--force", name)


@pytest.fixture(params=[EMBEDDED, API], ids=["embedded", "api"])
def container(podman: Podman, request: pytest.FixtureRequest) -> Iterator[str]:
    """A container whose facade serves: all in one, or before Triton in another one, whose loopback it shares."""
    if request.param == EMBEDDED:
        with running(podman, EMBEDDED, "--network=none") as name:
            yield name
        return
    alone = ["--network=none", "--env=TRIDENT_TRITON_ONLY=true", f'--health-cmd=python -c "{TRITON_HEALTH}"']
    asking = ["--env=TRIDENT_TRITON_URL=127.0.0.1:8010", "--env=TRIDENT_TRITON_GRPC_URL=127.0.0.1:8011"]
    with (
        running(podman, EMBEDDED, *alone) as triton,
        running(podman, API, f"--network=container:{triton}", *asking) as name,
    ):
        yield name


def state(podman: Podman, name: str) -> dict[str, object]:
    return json.loads(podman.run("inspect", name).stdout)[0]["State"]


def inside(podman: Podman, name: str, *command: object) -> list[str]:
    """Return the command that runs another one here, in the network of a container."""
    return ["nsenter", f"--net=/proc/{state(podman, name)['Pid']}/ns/net", *map(str, command)]


def ask(podman: Podman, name: str, path: str, **body: str) -> dict[str, object]:
    curl = ["curl", "--silent", "--fail", "--noproxy", "*", f"http://127.0.0.1:8000{path}"]
    curl += ["--header", "content-type: application/json", "--data", json.dumps(body)]
    done = subprocess.run(inside(podman, name, *curl), capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def test_it_answers_all_three_tasks_as_a_user_that_may_write_nowhere(podman, container):
    assert podman.run("exec", container, "id", "-u").stdout.strip() == "10001"
    status = Path(f"/proc/{state(podman, container)['Pid']}/status").read_text()
    assert dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)["CapEff"] == "0" * 16
    for folder in ("/", "/opt/trident", "/usr", "/var/tmp"):
        written = podman.run("exec", container, "touch", f"{folder}/written", check=False)
        assert "Read-only file system" in written.stderr, folder
    # The models are the embedded image's alone.
    if podman.run("exec", container, "test", "-d", "/models", check=False).returncode == 0:
        written = podman.run("exec", container, "touch", "/models/sts/1/written", check=False)
        assert "Read-only file system" in written.stderr
    assert ask(podman, container, "/generate", passage="I are a boy")["prob"] < 0.1
    pair = {"sentence_1": "A man is playing a guitar.", "sentence_2": "Someone plays an instrument."}
    assert 0.4 < ask(podman, container, "/pred/sentences", **pair)["score"] < 0.65
    question = {"question": "Where does the Danube rise?", "context": "The Danube rises in the Black Forest."}
    assert ask(podman, container, "/qa", **question)["answer"] == "Black Forest"


def test_sigterm_under_load_loses_nothing_and_ends_with_status_0(podman, container):
    process = state(podman, container)["Pid"]
    load = subprocess.Popen(inside(podman, container, sys.executable, LOAD), stdout=subprocess.PIPE, text=True)
    try:
        # Says so when it is under way.
        assert load.stdout.readline() == "under way\n"
        told_to_stop = time.monotonic()
        os.kill(process, signal.SIGTERM)
        ended = podman.start("wait", container)
        assert ended.communicate(timeout=SECONDS_TO_STOP)[0].strip() == "0"
        told = json.loads(load.communicate(timeout=SECONDS_TO_STOP)[0])
    finally:
        load.kill()
        load.wait()
    # What began later may come to a door that is just being closed.
    assert [error for begun, error in told["lost"] if begun < told_to_stop] == []
    assert any(begun < told_to_stop < ended for begun, ended in told["answered"])
