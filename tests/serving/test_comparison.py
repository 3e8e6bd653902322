"""``trident-bench compare`` on the built models, with our own contenders, which need no other environment."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from trident_bench.compare.ratios import RATIOS
from trident_bench.compare.report import PICTURE
from trident_bench.report import JSON_FILE
from typer.testing import CliRunner

OURS = ("engine-64", "engine-1", "ensemble-http-1", "ensemble-http-64", "facade-64", "qa-engine-32", "qa-grpc-32")
COMMAND = [sys.executable, "-c", "from trident_bench.cli import main; main()", "compare"]

#: A guard against what never ends, on a machine that has much else to do.
MOST_SECONDS = 1200

pytestmark = [
    pytest.mark.serving,
    pytest.mark.slow,
    pytest.mark.bench,
    pytest.mark.timeout(2 * MOST_SECONDS),
]


@pytest.fixture
def start(tmp_path: Path, nothing_is_left: None) -> Callable[..., subprocess.Popen[str]]:
    """Starts the command with these arguments; its results go to ``tmp_path / "out"``."""

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [*COMMAND, "--output", str(tmp_path / "out"), "--peers", str(tmp_path / "peers"), *arguments]
        environment = {**os.environ, "COLUMNS": "200"}
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
        )

    return start


def test_our_contenders_are_measured_in_every_round(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = start("--quick", *(part for name in OURS for part in ("--only", name)))
    output, _ = process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 0, output
    found = json.loads((tmp_path / "out" / JSON_FILE).read_text())
    assert found["not_measured"] == {}
    assert {row["name"] for row in found["rows"]} == set(OURS)
    for row in found["rows"]:
        assert all(rate > 0 for rate in row["rates"]), row
        assert len(row["rates"]) == 2
        # A process with torch or Triton in it holds more than a hundred megabytes, and these hold no gigabytes.
        assert 1e8 < row["memory_bytes"] < 8e9
    # Served and bare, all embed as the plain model does.
    assert set(found["least_cosines"]) == {"engine", "ensemble", "facade"}
    assert min(found["least_cosines"].values()) > 0.99
    assert (tmp_path / "out" / PICTURE).stat().st_size > 10_000
    assert "our ensemble, HTTP" in output


def test_ctrl_c_stops_every_server_and_keeps_what_was_measured(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = start("--only", "engine-64", "--only", "ensemble-grpc-64", "--seconds", "0.5", "--rounds", "50")
    assert process.stdout is not None
    lines = list(itertools.takewhile(lambda line: "round 2 of 50" not in line, process.stdout))
    assert any("round 1 of 50" in line for line in lines), lines
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    found = json.loads((tmp_path / "out" / JSON_FILE).read_text())
    assert found["interrupted"]
    assert found["rows"][0]["rates"][0] > 0
    assert len(found["rows"][0]["rates"]) < 50
    # What is left of processes is looked for at the end of the session.
    assert "Interrupted" in output


def test_a_name_that_nobody_has_is_refused_with_those_that_are(tmp_path: Path) -> None:
    from trident_bench.cli import app

    result = CliRunner().invoke(app, ["compare", "--out", str(tmp_path), "--only", "bert"], env={"COLUMNS": "400"})
    assert result.exit_code == 2
    assert "there is no bert" in result.output
    accepted = set(re.split(r"[\s,│]+", result.output))
    assert {name for ratio in RATIOS for name in (ratio.above, *ratio.below)} <= accepted
