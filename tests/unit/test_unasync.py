"""The synchronous client is generated: what somebody changes in it by hand, or forgets to generate, is found."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "unasync.py"


@pytest.fixture
def client(tmp_path):
    """A copy of the client, which a test may change."""
    copy = tmp_path / "trident_client"
    shutil.copytree(ROOT / "client" / "trident_client", copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def run(client: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--client", str(client), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def change(path: Path, old: str, new: str) -> None:
    source = path.read_text("utf-8")
    assert source.count(old) == 1
    path.write_text(source.replace(old, new), "utf-8")


def test_the_committed_client_is_what_is_generated():
    checked = run(ROOT / "client" / "trident_client", "--check")
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("side", ["_async", "_sync"])
def test_a_change_to_one_of_the_twins_is_found_and_generating_ends_it(client, side):
    rule = "if not answers:"
    change(client / side / "sending.py", rule, "if errors:")
    checked = run(client, "--check")
    assert checked.returncode == 1
    assert "if errors:" in checked.stderr
    assert "scripts/unasync.py" in checked.stderr
    assert run(client).returncode == 0
    assert (rule in (client / "_sync" / "sending.py").read_text("utf-8")) == (side == "_sync")


def test_a_twin_that_is_missing_or_one_too_many_is_found(client):
    (client / "_sync" / "driving.py").rename(client / "_sync" / "other.py")
    checked = run(client, "--check")
    assert checked.returncode == 1
    assert re.search(r"^\+def drive\(", checked.stderr, re.MULTILINE)
    assert re.search(r"^-def drive\(", checked.stderr, re.MULTILINE)
    assert run(client).returncode == 0
    committed = ROOT / "client" / "trident_client" / "_sync"
    assert {file.name: file.read_text("utf-8") for file in (client / "_sync").glob("*.py")} == {
        file.name: file.read_text("utf-8") for file in committed.glob("*.py")
    }


def test_what_has_no_replacement_is_refused(client):
    change(
        client / "_async" / "driving.py",
        "import annotations\n",
        "import annotations\n\nimport asyncio\n\nasyncio.Lock()\n",
    )
    written = run(client)
    assert written.returncode != 0
    assert "driving.py: no replacement for 'import asyncio'" in written.stderr
