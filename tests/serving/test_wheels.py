"""The wheels: what is in them, what they say of themselves, and that they serve where there is no checkout."""

import configparser
import contextlib
import email.parser
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from trident_client import contract
from trident_server.ports import free_ports
from trident_training.checkpoints.adapters import PLANES, read_adapter

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 900


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> dict[str, Path]:
    """Both wheels by the distribution's name, built as `make wheels` builds them."""
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, ROOT / "scripts" / "release.py", "--unreleased", "--output", folder]
    subprocess.run(command, check=True, timeout=SECONDS)
    return {file.name.partition("-")[0].replace("_", "-"): file for file in folder.glob("*.whl")}


def member(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (found,) = [each for each in archive.namelist() if each.endswith(f".dist-info/{name}")]
        return archive.read(found).decode()


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {each for each in archive.namelist() if ".dist-info/" not in each}


def tracked(folder: str) -> set[str]:
    done = subprocess.run(["git", "ls-files", "-z", folder], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.removeprefix(f"{folder}/") for name in done.stdout.split("\0") if name}


def test_no_file_is_in_both_and_every_package_is_typed(wheels):
    assert set(wheels) == {"trident-client", "trident-nlp"}
    assert not names(wheels["trident-client"]) & names(wheels["trident-nlp"])
    tops = {name: {each.partition("/")[0] for each in names(wheel)} for name, wheel in wheels.items()}
    assert tops["trident-client"] == {"trident_client"}
    assert tops["trident-nlp"] == {"trident_api", "trident_bench", "trident_server", "trident_training"}
    for name, wheel in wheels.items():
        assert {f"{package}/py.typed" for package in tops[name]} <= names(wheel)


def test_the_repository_and_the_weights_are_there_as_they_are_in_the_source_and_nothing_that_was_built(wheels):
    packed = "trident_server/shipped/"
    inside = {each.removeprefix(packed) for each in names(wheels["trident-nlp"]) if each.startswith(packed)}
    weights = {f"adapters/{folder.name}/adapter.safetensors" for folder in (ROOT / "training" / "adapters").iterdir()}
    planes = {f"{each}.planes" for each in weights}
    assert inside - planes == {f"model_repository/{each}" for each in tracked("model_repository")} | (
        {f"adapters/{each}" for each in tracked("training/adapters")} - weights
    )
    # Weights of others come as packages of their own, under their own licences.
    assert {each for each in inside if ".safetensors" in each} == planes


def test_the_weights_in_the_wheel_are_those_of_the_source(wheels, tmp_path):
    with zipfile.ZipFile(wheels["trident-nlp"]) as archive:
        for folder in (ROOT / "training" / "adapters").iterdir():
            place = f"trident_server/shipped/adapters/{folder.name}/{PLANES}"
            (tmp_path / PLANES).write_bytes(archive.read(place))
            packed, source = read_adapter(tmp_path), read_adapter(folder)
            assert packed.keys() == source.keys()
            assert all(packed[name].equal(source[name]) for name in source)


def test_what_they_say_of_themselves(wheels):
    for name, wheel in wheels.items():
        told = email.parser.Parser().parsestr(member(wheel, "METADATA"))
        licences = {"trident-client": "Apache-2.0", "trident-nlp": "Apache-2.0 AND MIT"}
        assert (told["Name"], told["License-Expression"]) == (name, licences[name])
        assert told["Author"] == "The Trident authors"
        assert told["Description-Content-Type"] == "text/markdown"
        assert told.get_payload().startswith("# ")
        assert "Typing :: Typed" in told.get_all("Classifier")
        assert "Apache License" in member(wheel, "licenses/LICENSE")
    client = email.parser.Parser().parsestr(member(wheels["trident-client"], "METADATA"))
    whole = email.parser.Parser().parsestr(member(wheels["trident-nlp"], "METADATA"))
    assert client["Version"] == whole["Version"]
    assert client["Requires-Python"] == ">=3.10"
    needed = [each for each in client.get_all("Requires-Dist") if "extra ==" not in each]
    assert {re.match(r"[\w-]+", each)[0] for each in needed} == {"httpx", "numpy", "tritonclient"}
    assert f"trident-client=={client['Version']}" in whole.get_all("Requires-Dist")
    assert set(whole.get_all("Provides-Extra")) >= {"api", "cli", "server", "tracing", "training"}


def test_the_client_alone_brings_no_command(wheels):
    with pytest.raises(ValueError, match="not enough values"):
        member(wheels["trident-client"], "entry_points.txt")
    commands = configparser.ConfigParser()
    commands.read_string(member(wheels["trident-nlp"], "entry_points.txt"))
    assert set(commands["console_scripts"]) == {"trident", "trident-bench", "trident-serve", "trident-train"}


# What others' packages are is lint's to check, which reads them all.
OLDEST = """[mypy]
python_version = 3.10
follow_imports = skip
disable_error_code = import-untyped
ignore_missing_imports = true
[mypy-numpy.*,trident_client.*]
follow_imports = silent
"""


def test_the_client_is_written_for_its_oldest_python(tmp_path):
    (tmp_path / "mypy.ini").write_text(OLDEST)
    options = [f"--config-file={tmp_path / 'mypy.ini'}", f"--cache-dir={tmp_path}", "--package", "trident_client"]
    environment = os.environ | {"MYPYPATH": str(ROOT / "client")}
    command = [sys.executable, "-m", "mypy", *options]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """Variables of somebody who has just come: an empty home, and no folder of sources on any path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRIDENT_", "PYTHON"))}
    return kept | {"HOME": str(tmp_path_factory.mktemp("home")), "HF_HUB_OFFLINE": "1"}


def wants(wheels: dict[str, Path], distribution: str) -> list[Requirement]:
    """What a distribution says that it needs; this project's own as their wheels say it."""
    if distribution in wheels:
        told = email.parser.Parser().parsestr(member(wheels[distribution], "METADATA")).get_all("Requires-Dist")
    else:
        told = metadata.requires(distribution) or []
    return [Requirement(text) for text in told]


def closure(wheels: dict[str, Path], *extras: str) -> set[str]:
    """Names of what pip would install beside the wheels: what they and some of their extras need, and that in turn."""
    needed: set[tuple[str, str]] = set()
    waiting = [("trident-nlp", extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in needed:
            continue
        needed.add((name, extra))
        for wanted in wants(wheels, name):
            if not wanted.marker or wanted.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(wanted.name), each) for each in ("", *wanted.extras)]
    return {name for name, _ in needed} - set(wheels)


def install(wheels: dict[str, Path], environment: dict[str, str], folder: Path, *extras: str) -> Path:
    """Make an environment of the wheels and what some of their extras need; returns the folder of its commands.

    What is needed are links to the running environment's own.
    """
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    # Compiled is what is run.
    command += ["--no-compile", *wheels.values()]
    subprocess.run(command, env=environment, check=True, timeout=SECONDS)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in closure(wheels, *extras):
        found = metadata.distribution(name)
        for top in {file.parts[0] for file in found.files if file.parts[0] not in {"..", "__pycache__"}}:
            # Packages may share a folder.
            with contextlib.suppress(FileExistsError):
                (packages / top).symlink_to(found.locate_file(top))
    return python.parent


@pytest.fixture(scope="module")
def bare(wheels, environment, tmp_path_factory) -> Path:
    """The commands of an environment without any extra."""
    return install(wheels, environment, tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def serving(wheels, environment, tmp_path_factory) -> Path:
    """The commands of an environment that serves, and has nothing that serving does not need."""
    commands = install(wheels, environment, tmp_path_factory.mktemp("serving"), "server", "api")
    # An export is compared with the plain model in batches of every size, which takes most of a minute.
    (parity,) = commands.parent.glob("lib/python*/site-packages/trident_training/export/parity.py")
    text = parity.read_text("utf-8")
    assert "LARGEST_BATCH = 64" in text
    parity.write_text(text.replace("LARGEST_BATCH = 64", "LARGEST_BATCH = 12"), "utf-8")
    return commands


@pytest.fixture(scope="module")
def whole(wheels, environment, tmp_path_factory) -> Path:
    """The commands of an environment that asks, serves and trains."""
    return install(wheels, environment, tmp_path_factory.mktemp("whole"), "server", "api", "cli", "training")


def test_the_checkout_is_out_of_reach(whole, environment, tmp_path):
    code = (
        "import json, trident_api, trident_bench, trident_client, trident_server, trident_training\n"
        "print(json.dumps([each.__file__ for name, each in globals().items() if name.startswith('trident')]))"
    )
    done = subprocess.run(
        [whole / "python", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    files = json.loads(done.stdout)
    assert len(files) == 5
    assert all(Path(each).is_relative_to(whole.parent) for each in files)


@pytest.mark.parametrize(
    ("command", "requirement"),
    [
        ("trident", "trident-nlp[cli]"),
        ("trident-bench", "trident-nlp[bench]"),
        ("trident-serve", "trident-nlp[server,api]"),
        ("trident-train", "trident-nlp[training]"),
    ],
)
def test_without_its_extra_a_command_says_which_one_brings_what_is_missing(
    bare, environment, tmp_path, command, requirement
):
    done = subprocess.run(
        [bare / command, "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    said = re.escape(f"which is not installed: pip install '{requirement}'")
    assert re.fullmatch(rf"{command} needs the package \w+, {said}\n", done.stderr)
    assert done.returncode == 1


def test_the_client_asks_without_any_extra(bare, environment, tmp_path):
    code = "from trident_client import TridentClient; TridentClient('127.0.0.1:9', timeout=None).close(); print('made')"
    done = subprocess.run(
        [bare / "python", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.stderr) == ("made\n", "")


def test_the_doctor_finds_those_who_serve_and_train(whole, environment, tmp_path):
    done = subprocess.run(
        [whole / "trident", "doctor"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    client, serving, training = re.split(r"^(?:serving|training):\n", done.stdout, flags=re.MULTILINE)
    for part, requirement in (
        (client, "trident-nlp[cli]"),
        (serving, "trident-nlp[server,api]"),
        (training, "trident-nlp[training]"),
    ):
        assert f"ok       packages     all of {requirement}\n" in part
    # No model was built yet.
    assert "missing  models" in serving
    assert "`trident-serve` builds them" in serving
    assert "encoders" in training
    assert done.returncode == 1


def test_where_one_only_serves_the_doctor_looks_at_that_and_says_what_asks(serving, environment, tmp_path):
    done = subprocess.run(
        [serving / "trident", "doctor"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.stderr == ""
    client, served, training = re.split(r"^(?:serving|training):\n", done.stdout, flags=re.MULTILINE)
    assert "absent   packages     no pyarrow\n" in client
    assert "pip install 'trident-nlp[cli]'\n" in client
    assert "ok       packages     all of trident-nlp[server,api]\n" in served
    assert "absent   packages" in training


@pytest.mark.serving
def test_it_serves_from_an_empty_folder_and_builds_its_models_when_it_is_first_started(serving, environment, tmp_path):
    ports = dict(zip(["port", "http-port", "grpc-port", "metrics-port"], free_ports(4), strict=True))
    command = [
        serving / "trident-serve",
        "--models=cola_small",
        *(f"--{name}={port}" for name, port in ports.items()),
    ]
    with subprocess.Popen(
        [*command, f"--ready-timeout={SECONDS}"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            said = ""
            for line in process.stdout:
                said += line
                if "Ctrl-C stops it." in line:
                    break
            assert "Ctrl-C stops it." in said, said
            assert "cola_small: built from" in said
            request = urllib.request.Request(
                f"http://127.0.0.1:{ports['port']}/generate",
                json.dumps({"passage": "I am a boy.", "model": "cola_small"}).encode(),
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert json.load(answer)["prob"] > 0.9
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=120)
    assert process.returncode == 0
    # The checkout's of this folder, if anybody's, would have been served in its place.
    assert {each.name for each in tmp_path.iterdir()} == {".trident"}
    (repository,) = Path(environment["HOME"]).glob(".cache/trident/model_repository-*")
    assert {each.parents[1].name for each in repository.glob("*/1/model.pt")} == {
        f"cola_small_{contract.TASKS['cola'].network}"
    }
    # Training finds the same one, and that nothing is left to do.
    train = [serving / "trident-train", "models", "--models", "cola_small"]
    done = subprocess.run(train, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (0, "✓ cola_small: fresh\n")
