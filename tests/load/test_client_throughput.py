"""How much of Triton's throughput a file of pairs through ``trident sts`` reaches, and how much memory it takes.

Measures only when asked to, on a machine that does nothing else: ``TRIDENT_TEST_PAIRS=100000 pytest -s tests/load``.
"""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from trident_bench import texts
from trident_bench.ensembles import choose
from trident_bench.load import perf_analyzer
from trident_bench.load.plan import Level
from trident_bench.load.window import Probe
from trident_bench.triton import TritonState
from trident_server.process import TritonProcess

PAIRS = int(os.environ.get("TRIDENT_TEST_PAIRS", "0"))
LEAST_SHARE = 0.9
BATCH, CONCURRENCY = 64, 4
# The first of a file's rows warm everything up.
SHORT = 0.1
MOST_GROWTH = 1.2
SECONDS = 3600
MEASURE_SECONDS = 30
ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.serving,
    pytest.mark.slow,
    pytest.mark.timeout(2 * SECONDS),
    pytest.mark.skipif(PAIRS == 0, reason="measures with TRIDENT_TEST_PAIRS=100000 only"),
]


def write_pairs(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sentence_1", "sentence_2"])
        writer.writerows(texts.pairs(count))


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


def run_perf_analyzer(triton: TritonProcess, folder: Path) -> float:
    """Return pairs a second that perf_analyzer reaches on the same ensemble with pairs of the same kind."""
    level = Level("concurrency", CONCURRENCY)
    with TritonState(triton.http_url) as state, perf_analyzer.environment() as environment:
        (ensemble,) = choose(state.ensembles(), ["sts"])
        data = perf_analyzer.write_data(ensemble, folder)
        command = perf_analyzer.command("sts", "http", triton.http_url, data, level, MEASURE_SECONDS)
        command += ["-b", str(BATCH)]
        load, _ = perf_analyzer.measure(command, level, MEASURE_SECONDS, folder, environment, Probe(state, ensemble))
    assert load.failures == 0
    return load.throughput


def test_a_file_of_pairs_reaches_perf_analyzers_throughput_with_flat_memory(triton, tmp_path):
    write_pairs(tmp_path / "short.csv", max(int(PAIRS * SHORT), BATCH))
    write_pairs(tmp_path / "long.csv", PAIRS)
    _, short_peak = run_trident(triton.http_url, tmp_path / "short.csv")
    reached = run_perf_analyzer(triton, tmp_path)
    rate, peak = run_trident(triton.http_url, tmp_path / "long.csv")
    print(f"\n{PAIRS:,} pairs: trident sts {rate:,.0f} pairs/s, perf_analyzer {reached:,.0f}: {rate / reached:.1%}")
    print(f"peak memory {peak:,.0f} MB; {short_peak:,.0f} MB for a tenth of the file")
    assert peak < MOST_GROWTH * short_peak
    assert rate >= LEAST_SHARE * reached
