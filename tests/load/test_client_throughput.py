"""How much of Triton's throughput a file of pairs through ``trident sts`` reaches, and how much memory it takes.

Measures only when asked to, on a machine that does nothing else: ``TRIDENT_TEST_PAIRS=100000 pytest -s tests/load``.
"""

import csv
import json
import os
import random
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from trident_server.ports import free_ports
from trident_server.process import TritonProcess

PAIRS = int(os.environ.get("TRIDENT_TEST_PAIRS", "0"))
LEAST_SHARE = 0.9
BATCH, CONCURRENCY = 64, 4
# The first of a file's rows warm everything up.
SHORT = 0.1
MOST_GROWTH = 1.2
SECONDS = 3600
ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.serving,
    pytest.mark.slow,
    pytest.mark.timeout(2 * SECONDS),
    pytest.mark.skipif(PAIRS == 0, reason="measures with TRIDENT_TEST_PAIRS=100000 only"),
]

WORDS = "a man plays the guitar while somebody sings and children run through old gardens near quiet rivers"


def sentences(count: int) -> list[str]:
    """Return sentences of 4 to 24 words, the same each time."""
    rng = random.Random(7)
    return [" ".join(rng.choices(WORDS.split(), k=rng.randint(4, 24))) + "." for _ in range(count)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("load")
    http_port, grpc_port, metrics_port = free_ports(3)
    with TritonProcess(
        repository=ROOT / "model_repository",
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        cache_dir=folder,
        log_file=folder / "triton.log",
        ready_timeout=240,
    ) as triton:
        yield triton


def write_pairs(path: Path, count: int) -> None:
    texts = sentences(2 * count)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sentence_1", "sentence_2"])
        writer.writerows(zip(texts[::2], texts[1::2], strict=True))


def run_trident(url: str, source: Path) -> tuple[float, float]:
    """Return pairs a second and peak memory in MB, as the command itself says."""
    output = source.with_suffix(".jsonl")
    command = [sys.executable, "-m", "trident_client", "sts", "-i", str(source), "-o", str(output), "--url", url]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "client")}
    done = subprocess.run(
        [*command, "--concurrency", str(CONCURRENCY)], capture_output=True, text=True, timeout=SECONDS, env=environment
    )
    assert done.returncode == 0, done.stderr
    rate, peak = re.search(r"([\d,]+) rows/s; peak memory ([\d,]+) MB", done.stderr).groups()
    return float(rate.replace(",", "")), float(peak.replace(",", ""))


def run_perf_analyzer(url: str, folder: Path) -> float:
    """Return pairs a second that perf_analyzer reaches on the same ensemble with the same sentences."""
    libraries = folder / "libraries"
    libraries.mkdir()
    for library in Path(find_spec("pytriton").origin).parents[1].joinpath("nvidia_pytriton.libs").iterdir():
        for name, wanted in (("libb64-", "libb64.so.0d"), ("libcudart-", "libcudart.so.12")):
            if library.name.startswith(name):
                (libraries / wanted).symlink_to(library)
    texts = sentences(2000)
    rows = [{"SENTENCE_1": [one], "SENTENCE_2": [two]} for one, two in zip(texts[::2], texts[1::2], strict=True)]
    (folder / "data.json").write_text(json.dumps({"data": rows}))
    command = [
        str(Path(sys.executable).with_name("perf_analyzer")), "-m", "sts", "-u", url, "-i", "http", "-b", str(BATCH),
        "--input-data", str(folder / "data.json"), "--concurrency-range", str(CONCURRENCY), "-p", "10000",
    ]  # fmt: skip
    environment = os.environ | {"LD_LIBRARY_PATH": str(libraries)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return float(re.search(r"Throughput: ([\d.]+) infer/sec", done.stdout)[1])


def test_a_file_of_pairs_reaches_perf_analyzers_throughput_with_flat_memory(server, tmp_path):
    write_pairs(tmp_path / "short.csv", max(int(PAIRS * SHORT), BATCH))
    write_pairs(tmp_path / "long.csv", PAIRS)
    _, short_peak = run_trident(server.http_url, tmp_path / "short.csv")
    reached = run_perf_analyzer(server.http_url, tmp_path)
    rate, peak = run_trident(server.http_url, tmp_path / "long.csv")
    print(f"\n{PAIRS:,} pairs: trident sts {rate:,.0f} pairs/s, perf_analyzer {reached:,.0f}: {rate / reached:.1%}")
    print(f"peak memory {peak:,.0f} MB; {short_peak:,.0f} MB for a tenth of the file")
    assert peak < MOST_GROWTH * short_peak
    assert rate >= LEAST_SHARE * reached
