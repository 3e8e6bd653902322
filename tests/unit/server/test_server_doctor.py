"""The doctor: what it makes of a machine's facts, and that it changes nothing."""

import json
import os
import re
import socket
from dataclasses import replace

import pytest
from trident_client.doctor import State
from trident_server import pidfile
from trident_server.backends import cores
from trident_server.cli import app
from trident_server.doctor import GIB, MIB, examine, for_environment
from trident_server.machine import Machine, free_memory, gpus, processor_flags, shared_memory
from trident_server.ports import free_ports
from trident_server.settings import ServerSettings
from trident_server.wheel import Platform
from typer.testing import CliRunner

GOOD = Machine(
    platform=Platform(system="Linux", machine="x86_64", glibc="2.36", python="3.11"),
    flags=frozenset({"avx2", "amx_bf16"}),
    cores=2,
    quota=None,
    memory=16 * GIB,
    shared_memory=(8 * GIB, 8 * GIB),
    gpus=(),
    uncompilable="",
    tcmalloc="libtcmalloc_minimal.so.4",
)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Settings of a built repository on free ports."""
    monkeypatch.chdir(tmp_path)
    for name in ServerSettings.model_fields:
        monkeypatch.delenv(f"TRIDENT_{name.upper()}", raising=False)
    version = tmp_path / "models" / "encoder" / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text('backend: "pytorch"')
    (version / "model.pt").write_bytes(b"")
    (version / "export.json").write_text(json.dumps({"dtype": "bfloat16"}))
    port, http_port, grpc_port, metrics_port = free_ports(4)
    return ServerSettings(
        repository=tmp_path / "models", port=port, http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port
    )


def found(settings, machine=GOOD):
    return {each.subject: each for each in examine(settings, machine)}


def test_nothing_is_wrong_with_a_good_machine(settings):
    findings = list(examine(settings, GOOD))
    assert {each.state for each in findings} == {State.OK}
    assert not any(each.advice for each in findings)
    subjects = ["Python", "glibc", "Triton", "models run", "processor", "allocator", "memory", "/dev/shm"]
    subjects += ["paths", "models", "GPU"]
    assert [each.subject for each in findings if not each.subject.startswith("port ")] == subjects


@pytest.mark.parametrize(
    ("subject", "facts", "state", "advice"),
    [
        ("Python", {"platform": replace(GOOD.platform, python="3.13")}, State.MISSING, r"PYTHON=/path/to/python3\.11"),
        ("glibc", {"platform": replace(GOOD.platform, glibc="2.31")}, State.MISSING, r"2\.35 or newer"),
        ("glibc", {"platform": replace(GOOD.platform, glibc="")}, State.MISSING, "container"),
        ("Triton", {"platform": replace(GOOD.platform, machine="aarch64")}, State.MISSING, "docker run"),
        ("models run", {"uncompilable": "there is no C compiler"}, State.SLOW, "sooner"),
        ("processor", {"flags": frozenset({"avx2"})}, State.SLOW, "AVX512-VNNI"),
        ("processor", {"flags": frozenset()}, State.SLOW, "float32"),
        ("processor", {"flags": frozenset({"avx512_bf16"})}, State.OK, "^$"),
        ("allocator", {"tcmalloc": None}, State.SLOW, "apt install libtcmalloc-minimal4"),
        ("memory", {"memory": 3 * GIB}, State.SLOW, "Free 4 GiB"),
        ("memory", {"memory": 0}, State.MISSING, "Free 4 GiB"),
        ("/dev/shm", {"shared_memory": (64 * MIB, 64 * MIB)}, State.SLOW, "--shm-size=1g"),
        ("/dev/shm", {"shared_memory": (8 * GIB, 1)}, State.MISSING, "remount"),
        ("/dev/shm", {"shared_memory": None}, State.MISSING, "--shm-size=1g"),
        ("GPU", {"gpus": ("NVIDIA L4", "NVIDIA L4")}, State.SLOW, "--profile gpu"),
    ],
)
def test_what_is_missing_or_slow_is_told_with_what_to_do(settings, subject, facts, state, advice):
    finding = found(settings, replace(GOOD, **facts))[subject]
    assert finding.state is state
    assert re.search(advice, finding.advice)


def test_models_in_processes_of_their_own_are_told(settings):
    assert found(settings)["models run"].found == "in Triton's process"
    assert found(settings, replace(GOOD, uncompilable="no Python.h"))["models run"].found.endswith("own: no Python.h")
    finding = found(settings.model_copy(update={"isolated": True}))["models run"]
    assert finding.state is State.SLOW
    assert "--isolated" in finding.advice


def test_a_taken_port_is_told_with_the_option_that_chooses_another(settings):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", settings.grpc_port))
        holder.listen()
        findings = found(settings)
    assert findings[f"port {settings.grpc_port}"].state is State.MISSING
    assert "--grpc-port" in findings[f"port {settings.grpc_port}"].advice
    assert findings[f"port {settings.port}"].state is State.OK


def test_ports_of_the_server_that_runs_here_are_as_they_should_be(settings):
    with socket.socket() as holder, pidfile.hold(settings.cache_dir):
        holder.bind(("127.0.0.1", settings.grpc_port))
        holder.listen()
        finding = found(settings)[f"port {settings.grpc_port}"]
    assert (finding.state, finding.found) == (State.OK, f"in use: trident-serve (process {os.getpid()}) runs")


def test_for_the_command_of_all_it_looks_at_what_the_environment_says(settings, monkeypatch):
    for name, port in settings.ports.items():
        monkeypatch.setenv(f"TRIDENT_{name.upper()}", str(port))
    monkeypatch.setenv("TRIDENT_REPOSITORY", str(settings.repository))
    monkeypatch.setattr("trident_server.doctor.Machine", lambda: GOOD)
    assert list(for_environment()) == list(examine(settings, GOOD))
    monkeypatch.setenv("TRIDENT_PORT", "0")
    (finding,) = for_environment()
    assert finding.state is State.MISSING
    assert "TRIDENT_PORT" in finding.advice


def test_models_of_a_dtype_that_this_processor_is_slow_with_are_told(settings):
    slow = found(settings, replace(GOOD, flags=frozenset()))["models"]
    assert slow.state is State.SLOW
    assert "float32. Run `make models`." in slow.advice
    slow = found(settings, replace(GOOD, flags=frozenset({"avx2"})))["models"]
    assert "int8. Run `make models`." in slow.advice


def test_a_model_that_int8_changes_too_much_is_not_called_slow(settings):
    for name, dtype in (("encoder", "int8"), ("reader", "float32")):
        version = settings.repository / name / "1"
        version.mkdir(parents=True, exist_ok=True)
        (version / "export.json").write_text(json.dumps({"dtype": dtype}))
    assert found(settings, replace(GOOD, flags=frozenset({"avx2"})))["models"].state is State.OK


@pytest.mark.parametrize("report", ["", "[]", "{", '{"dtype": null}', "고양이"])
def test_a_report_that_says_nothing_is_no_failure(settings, report):
    (settings.repository / "encoder" / "1" / "export.json").write_text(report, "utf-8")
    assert found(settings)["models"].subject == "models"


def test_models_that_are_not_built_are_told(settings):
    (settings.repository / "encoder" / "1" / "model.pt").unlink()
    assert "make models" in found(settings)["models"].advice
    assert found(settings)["models"].state is State.MISSING


def test_a_path_that_triton_cannot_work_in_is_told(settings, tmp_path):
    odd = tmp_path / "a b"
    settings.repository.rename(odd)
    finding = found(settings.model_copy(update={"repository": odd}))["paths"]
    assert finding.state is State.MISSING
    assert "--repository" in finding.advice


def test_a_containers_limit_bounds_the_memory(tmp_path):
    limit = tmp_path / "memory.max"
    assert free_memory(limit) > 0
    limit.write_text("max\n")
    assert free_memory(limit) > MIB
    limit.write_text(f"{3 * MIB}\n")
    assert free_memory(limit) == 3 * MIB
    (tmp_path / "memory.current").write_text(f"{MIB}\n")
    assert free_memory(limit) == 2 * MIB


def test_facts_that_cannot_be_read_are_none(tmp_path):
    assert processor_flags(tmp_path / "cpuinfo") == frozenset()
    (tmp_path / "cpuinfo").write_text("model name\t: x\n")
    assert processor_flags(tmp_path / "cpuinfo") == frozenset()
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx2\n\nflags\t\t: fpu\n")
    assert processor_flags(tmp_path / "cpuinfo") == {"fpu", "avx2"}
    assert shared_memory(tmp_path / "shm") is None
    assert gpus(tmp_path / "gpus") == ()
    (tmp_path / "gpus" / "0").mkdir(parents=True)
    (tmp_path / "gpus" / "0" / "information").write_text("Model: \t\t NVIDIA L4\nIRQ: 1\n")
    assert gpus(tmp_path / "gpus") == ("NVIDIA L4",)


def test_the_command_exits_with_1_when_something_is_missing_and_0_when_not(settings, monkeypatch):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.ports.items()]
    options.append(f"--repository={settings.repository}")
    monkeypatch.setattr("trident_server.cli.Machine", lambda: GOOD)
    told = CliRunner().invoke(app, [*options, "doctor"])
    assert told.exit_code == 0, told.output
    assert len(told.output.splitlines()) == 15
    assert not list(settings.repository.parent.glob(".trident")), "it writes nothing"
    monkeypatch.setattr("trident_server.cli.Machine", lambda: replace(GOOD, shared_memory=None))
    told = CliRunner().invoke(app, [*options, "doctor"])
    assert told.exit_code == 1
    assert "missing  /dev/shm     not there" in told.output


def test_a_wrong_option_is_told_before_anything_is_looked_at():
    assert CliRunner().invoke(app, ["--port=0", "doctor"]).exit_code == 2
    assert CliRunner().invoke(app, ["doctors"]).exit_code == 2


def test_a_limit_on_processor_time_is_told(settings):
    assert "a limit" not in found(settings)["processor"].found
    limited = found(settings, replace(GOOD, cores=8, quota=1.5))["processor"].found
    assert limited.startswith("8 cores, of which a limit on processor time allows 1.5, bfloat16")


@pytest.mark.parametrize(
    ("files", "membership", "quota"),
    [
        ({}, "", None),
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        # The least of a group and those above it, in version 2 without a namespace and in version 1.
        ({"a/cpu.max": "max 100000", "a/b/cpu.max": "400000 100000"}, "0::/a/b\n", 4.0),
        ({"a/cpu.max": "200000 100000", "a/b/cpu.max": "400000 100000"}, "0::/a/b\n", 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "3:cpu,cpuacct:/\n", None),
        ({"cpu/d/cpu.cfs_quota_us": "50000\n", "cpu/d/cpu.cfs_period_us": "100000\n"}, "3:cpu:/d\n1:name=x:/\n", 0.5),
        ({"cpu.max": "what is this"}, "nonsense\n0::/\n", None),
    ],
)
def test_a_containers_quota_is_read(tmp_path, monkeypatch, files, membership, quota):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "membership").write_text(membership)
    assert cores.cpu_quota(tmp_path, tmp_path / "membership") == quota
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    everything = len(os.sched_getaffinity(0))
    assert cores.usable_cores() == (everything if quota is None else max(1, min(everything, int(quota))))
