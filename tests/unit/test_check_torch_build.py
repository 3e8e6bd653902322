"""`make` says before it installs whether pip would fetch a CUDA build of torch."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "check_torch_build.py"
VERSION = re.search(r"^torch==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE).group(1)


def run(index: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": os.devnull}
    command = [sys.executable, str(SCRIPT), "", "serve"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def write_wheel(index: Path, requires: list[str]) -> None:
    info = f"torch-{VERSION}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: torch\nVersion: {VERSION}", *(f"Requires-Dist: {r}" for r in requires)]
    with zipfile.ZipFile(index / f"torch-{VERSION}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "\n".join(metadata) + "\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


@pytest.mark.parametrize(
    ("requires", "packages"),
    [
        (["filelock", "nvidia-cublas==13; platform_system == 'Linux'", "cuda-bindings==13"], 2),
        (["filelock", "nvidia-cublas==13; extra == 'cuda'"], 0),
        ([], 0),
    ],
    ids=["CUDA build", "CUDA as an extra", "CPU build"],
)
def test_a_cuda_build_is_announced_with_the_way_out(tmp_path, requires, packages):
    write_wheel(tmp_path, requires)
    result = run(tmp_path)
    assert result.returncode == 0, result.stderr
    assert (f"{packages} CUDA packages" in result.stderr) == bool(packages)
    assert ("make serve TORCH_INDEX_URL=" in result.stderr) == bool(packages)


def test_no_torch_at_all_stops_with_pips_reason(tmp_path):
    result = run(tmp_path)
    assert result.returncode != 0
    assert f"cannot find torch=={VERSION}" in result.stderr
