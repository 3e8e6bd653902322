"""``trident doctor``: what it says of packages and of a server, and whom it asks for the rest."""

import importlib
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from trident_client import FakeTransport, Retry, TridentClient, doctor
from trident_client.cli.app import app
from trident_client.doctor import Finding, Part, State
from trident_client.errors import ReadTimeoutError, TransportError
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[3]
NOWHERE = "127.0.0.1:9"


@pytest.fixture
def installed(monkeypatch):
    """What is installed, by name: the version, and what it wants."""
    there = {
        "trident-client": ("0.2.0", ["numpy>=1.26", "typer>=0.29; extra == 'cli'"]),
        "trident-nlp": ("0.2.0", ["trident-client[cli]==0.2.0; extra == 'server'", "torch==2.13.0; extra == 'server'"]),
        "numpy": ("1.26.4", ["nothing-that-matters"]),
        "typer": ("0.30", []),
        "torch": ("2.13.0+cpu", []),
    }

    def version(name):
        if name not in there:
            raise metadata.PackageNotFoundError(name)
        return there[name][0]

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "requires", lambda name: there[name][1])
    return there


def test_packages_are_looked_for_through_this_projects_own_and_no_further(installed):
    assert doctor.packages("trident-nlp[server]").state is State.OK
    del installed["typer"]
    assert doctor.packages("trident-nlp").state is State.OK
    finding = doctor.packages("trident-nlp[server]")
    assert finding == Finding("packages", State.MISSING, "no typer", "pip install 'trident-nlp[server]'")


def test_a_package_of_another_version_is_told(installed):
    installed["numpy"] = ("1.20", [])
    installed["torch"] = ("2.12.0", [])
    found = doctor.packages("trident-nlp[server]").found
    assert "torch 2.12.0, and not ==2.13.0" in found
    assert doctor.packages("trident-client").found == "numpy 1.20, and not >=1.26"


def test_of_many_packages_some_are_named(installed):
    installed["trident-client"] = ("0.2.0", [f"package-{number}" for number in range(9)])
    assert doctor.packages("trident-client").found.endswith("no package-4 and 4 more")


def asked(transport, *, named=True):
    with TridentClient(transport=transport, retry=Retry(attempts=1)) as client:
        return list(doctor.ask_server(client, "server:8010", named=named))


class Away(FakeTransport):
    """A server that does not answer."""

    def __init__(self, error):
        super().__init__(lambda request: {})
        self.error = error

    def index(self):
        raise self.error


def serving(*, ready=True):
    cola = {"parameters": {"task": {"string_value": "cola"}}}
    return FakeTransport(lambda request: {}, is_ready=ready, configurations={"cola": cola})


def test_a_server_that_answers_is_told_with_what_it_serves(monkeypatch):
    (finding,) = asked(serving())
    assert finding.state is State.OK
    assert finding.found.endswith("serving cola")
    monkeypatch.setattr(doctor, "SLOW_SECONDS", 0.0)
    (finding,) = asked(serving())
    assert finding.state is State.SLOW
    assert "--concurrency" in finding.advice


def test_models_that_do_not_answer_are_told():
    assert [each.state for each in asked(serving(ready=False))] == [State.OK, State.MISSING]


@pytest.mark.parametrize("error", [TransportError("away"), ReadTimeoutError("late")])
def test_a_server_is_missed_where_somebody_named_it(error):
    (finding,) = asked(Away(error))
    assert finding.state is State.MISSING
    assert "trident-serve" in finding.advice
    (finding,) = asked(Away(error), named=False)
    assert finding.state is State.ABSENT


@pytest.fixture
def parts(monkeypatch):
    """Packages that all are there, and what serving and training say for themselves."""
    told = {"serving": [Finding("ports", State.SLOW, "busy", "wait")], "training": []}
    lacking = set()

    class Entry:
        def __init__(self, name):
            self.name = name

        def load(self):
            return lambda: iter(told[self.name])

    def look(requirement, *, named):
        state = State.OK if requirement not in lacking else State.MISSING if named else State.ABSENT
        return Finding("packages", state, "", f"pip install '{requirement}'")

    monkeypatch.setattr(doctor, "packages", look)
    monkeypatch.setattr(metadata, "entry_points", lambda group, name: [Entry(name)] if name in told else [])
    return told, lacking


def run(*arguments):
    done = CliRunner().invoke(app, ["doctor", *arguments])
    return done.exit_code, done.output


def test_who_serves_and_trains_is_asked_for_what_is_theirs(parts):
    code, said = run()
    assert code == 0
    assert [line for line in said.splitlines() if line.endswith(":")] == ["client:", "serving:", "training:"]
    assert "slow     ports        busy\n" + " " * 22 + "wait" in said
    parts[0]["training"].append(Finding("memory", State.MISSING, "none"))
    assert run()[0] == 1
    assert run("serving")[0] == 0


def test_what_is_not_installed_is_a_failure_where_it_was_named(parts):
    parts[1].add("trident-nlp[training]")
    code, said = run()
    assert code == 0
    assert "absent   packages" in said
    assert "pip install 'trident-nlp[training]'" in said
    assert run("training")[0] == 1


def test_a_server_that_is_named_and_away_is_a_failure(parts):
    code, said = run("client", "--url", NOWHERE)
    assert code == 1
    assert "missing  server       none answers at 127.0.0.1:9" in said
    assert run("client", "--url", "no port")[0] == 2
    assert run("cooking")[0] == 2


def test_the_distribution_names_functions_that_there_are():
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][doctor.GROUP]
    assert set(named) == {part.value for part in Part} - {"client"}
    for place in named.values():
        module, _, function = place.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_the_doctor_imports_nothing_of_those_that_it_asks_and_nothing_that_serving_does_not_bring():
    code = (
        "import sys; from trident_client.cli.app import app; import trident_client.doctor\n"
        "theirs = ('prometheus_client', 'pyarrow', 'torch', 'trident_server', 'trident_training')\n"
        "sys.exit(', '.join(each for each in sys.modules if each.startswith(theirs)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=120, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
