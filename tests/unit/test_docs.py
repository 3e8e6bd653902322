"""The pages: short enough to read, without a link to nowhere, and true to the code where a test can tell."""

import os
import re
import runpy
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import simulate_hosts
from trident_api.settings import ApiSettings
from trident_server.backends.pytorch.batch import DESCRIPTIONS
from trident_server.backends.pytorch.parameters import KNOWN
from trident_server.backends.pytorch.tensors import ELEMENT_TYPES, STRING
from trident_server.settings import ServerSettings
from trident_training.checkpoints.precision import Precision, resolve, weight_steps
from trident_training.checkpoints.wheels import CacheSettings
from trident_training.commands.models import RepositoryOptions

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
READMES = [ROOT / folder / "README.md" for folder in ("client", "bench", "docker")]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", *READMES, *DOCS]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def test_the_front_page_has_150_lines_at_most_and_every_other_300():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
    counts = {name: len(page.read_text("utf-8").splitlines()) for name, page in zip(NAMES, PAGES, strict=True)}
    assert {name: lines for name, lines in counts.items() if lines > 300} == {}


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_to_a_file(name):
    page = ROOT / name
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" not in link:
            assert (page.parent / link.partition("#")[0]).exists(), link


def test_the_table_of_clients_is_of_the_pinned_ones_and_all_of_them_work():
    rows = (ROOT / "docs" / "clients.md").read_text("utf-8").splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows if row.startswith("| ")][1:]
    # An interpreter may be lacking where the table was made.
    assert {row[-1] for row in cells if not (row[0] == "trident-client" and row[-1] == "not had here")} == {"yes"}
    ours = [row[1] for row in cells if row[0] == "trident-client"]
    for each in (ROOT / "tests" / "clients" / "trident-client").glob("requirements-python*.txt"):
        release, pins = (
            each.stem.rpartition("python")[2],
            dict(re.findall(r"^(\w+)\S*?==(\S+)", each.read_text(), re.M)),
        )
        shown = (
            rf"with Python {release}\.\d+, numpy {pins['numpy']}, tritonclient {pins['tritonclient']}|python{release}"
        )
        assert any(re.fullmatch(shown, version) for version in ours), each.name
    told = {(client.lower().replace("-", "_"), version) for client, version, *_ in cells}
    lists = sorted((ROOT / "tests" / "clients").glob("*/requirements.txt"))
    pinned = [line.partition("==") for each in lists for line in each.read_text().split()]
    # What clients need beside themselves is none.
    beside = {"httpx", "numpy", "tiktoken", "torch"}
    wanted = {
        (name.partition("[")[0].lower().replace("-", "_"), version) for name, _, version in pinned if name not in beside
    }
    assert lists
    assert wanted <= told


def test_an_interpreter_that_is_not_here_is_told_and_no_yes(monkeypatch):
    clients = runpy.run_path(str(ROOT / "tests" / "clients" / "__main__.py"))
    monkeypatch.setenv("PATH", "")
    lists = sorted((ROOT / "tests" / "clients" / "trident-client").glob("requirements-*.txt"))
    asked = clients["environments"]("trident-client", sys.executable)
    assert [(each.wanted, each.python) for each in asked] == [(each, None) for each in lists]
    names = [f"python3.{release}" for release in (10, 11, 12, 13)]
    rows = [clients["line"](row) for each in asked for row in clients["read"](each)]
    assert rows == [f"| trident-client | {name} |  | not had here |\n" for name in names]
    # All others are of one interpreter.
    assert [each.python for each in clients["environments"]("openai", sys.executable)] == [sys.executable]


def test_every_setting_that_a_page_names_is_one():
    known = {
        f"TRIDENT_{name.upper()}"
        for settings in (ApiSettings, ServerSettings, CacheSettings)
        for name in settings.model_fields
    } | {f"TRIDENT_{name.upper()}" for name in RepositoryOptions.__dataclass_fields__}
    # What containers and a test read that is no setting of a server.
    readers = ("docker/compose.yaml", "tests/unit/model_repository/test_oldest_libtorch.py")
    name = re.compile(r"TRIDENT_[A-Z_]*[A-Z]")
    known |= {each for file in readers for each in name.findall((ROOT / file).read_text("utf-8"))}
    for page in PAGES:
        assert set(name.findall(page.read_text("utf-8"))) <= known, page


def test_every_extra_is_in_the_table_of_what_is_installed():
    page = (ROOT / "docs" / "start.md").read_text("utf-8")
    named = {
        (name, extra)
        for name, extras in re.findall(r"`(trident-\w+)\[([\w,]+)\]`", page)
        for extra in extras.split(",")
    }
    there = {
        (project["name"], extra)
        for project in (
            tomllib.loads((ROOT / each / "pyproject.toml").read_text())["project"] for each in (".", "client")
        )
        for extra in project["optional-dependencies"]
    }
    # Of a checkout.
    assert named == there - {("trident-nlp", "dev"), ("trident-nlp", "docs")}


def test_the_page_of_licences_says_of_each_image_what_it_holds():
    page = (ROOT / "docs" / "licences.md").read_text("utf-8")
    images = set(re.findall(r"--tag (trident-\w+):", (ROOT / "Makefile").read_text("utf-8")))
    assert images == {"trident-api", "trident-embedded", "trident-models", "trident-triton"}
    assert not [each for each in images if f"`{each}`" not in page]


def test_no_hint_installs_the_other_trident_of_the_package_index():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    wrong = [
        name
        for name in listed.split("\0")
        if name.endswith((".py", ".md", ".toml", ".txt", ".yaml", ".sh"))
        and re.search(r"(?<![-_.\w])trident\[|pip install '?trident\b(?!-)", (ROOT / name).read_text("utf-8"))
        and name != str(Path(__file__).relative_to(ROOT))
    ]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_reference_is_what_the_code_says():
    command = [sys.executable, ROOT / "scripts" / "generate_reference.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed")
def test_the_site_is_built_without_a_warning_and_asks_no_other_host_for_anything(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    loads = re.compile(r"<(?:script|img|link)\b[^>]*?\b(?:src|href)=\"?https?://")
    assert not [page for page in tmp_path.rglob("*.html") if loads.search(page.read_text("utf-8"))]


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed")
@pytest.mark.parametrize(
    ("page", "link", "led"),
    [
        ("use.md", "../docker/README.md#a-cluster", "containers.md#a-cluster"),
        ("use.md", "serve.md", "serve.md"),
        ("use.md", "#prompts", "#prompts"),
        ("use.md", "https://example.org/../a.md", "https://example.org/../a.md"),
        ("containers.md", "../docs/serve.md#who-may-ask", "serve.md#who-may-ask"),
        ("contributing.md", "docs/add-a-task.md", "add-a-task.md"),
        ("reference/index.md", "../../client/README.md", "../client.md"),
        ("reference/index.md", "http.md", "http.md"),
    ],
)
def test_a_link_to_a_file_leads_to_a_page_of_the_site(page, link, led):
    linked = runpy.run_path(str(ROOT / "scripts" / "site_pages.py"))["linked"]
    assert linked(f"[there]({link}) and on", page) == f"[there]({led}) and on"


@pytest.mark.parametrize(
    ("processor", "flags"),
    [
        ("AVX512-VNNI", "avx2 avx512_vnni avx512_bf16 amx_bf16"),
        ("AMX or AVX512-BF16, and no AVX512-VNNI", "avx2 amx_bf16"),
        ("AMX or AVX512-BF16, and no AVX512-VNNI", "avx2 avx512_bf16"),
        ("AVX2 alone", "avx2"),
        ("none of these", "sse4_2"),
    ],
)
def test_what_models_are_built_in_is_what_the_page_says(processor, flags, tmp_path):
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    chosen = resolve(Precision.AUTO, tmp_path / "cpuinfo")
    told = {"int8": f"int8, weights of {weight_steps(tmp_path / 'cpuinfo').bit_length() + 1} bits"}.get(chosen, chosen)
    assert f"\n| {processor} | {told} |\n" in (ROOT / "docs" / "serve.md").read_text("utf-8")


def test_the_contract_of_the_pytorch_backend_names_all_that_it_knows():
    page = (ROOT / "docs" / "pytorch-backend.md").read_text("utf-8")
    assert re.findall(r"^\| `([A-Z_]+)` \| .* \| .* \|$", page.partition("## Parameters")[2], re.MULTILINE) == list(
        KNOWN
    )
    assert re.findall(r"^\| `(BATCH_[A-Z_]+)` \|", page, re.MULTILINE) == list(DESCRIPTIONS)
    assert {*ELEMENT_TYPES, STRING} == set(
        re.findall(r"`(TYPE_[A-Z0-9]+)`", page.partition("- **Names of inputs**")[0])
    )


def test_what_is_full_first_is_what_the_simulation_says():
    page = (ROOT / "docs" / "capacity.md").read_text("utf-8")
    assert [
        row
        for hosts in simulate_hosts.HOSTS
        for facades in simulate_hosts.FACADES
        if (row := simulate_hosts.row(hosts, facades)) not in page
    ] == []
    measured = (ROOT / "docs" / "measured.md").read_text("utf-8")
    speeds = {f"{2 / each:,.0f}" for each in (simulate_hosts.TRITON, simulate_hosts.TRITON + simulate_hosts.FACADE)}
    assert all(each in measured for each in speeds)
    told = re.search(
        r"takes ([\d.]+) ms of a core in Triton and ([\d.]+) ms in the facade .*? and ([\d.]+) ms\s", page, re.DOTALL
    )
    costs = (simulate_hosts.TRITON, simulate_hosts.FACADE, simulate_hosts.BALANCER)
    assert told
    assert [float(each) for each in told.groups()] == pytest.approx([1000 * each for each in costs], abs=0.005)


def test_what_a_million_costs_follows_from_what_was_measured():
    page = (ROOT / "docs" / "capacity.md").read_text("utf-8")
    measured = "".join((ROOT / "docs" / f"{name}.md").read_text("utf-8") for name in ("measured", "bulk"))
    rows = re.findall(r"^\| (.*) \| .* \| ([\d,.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    named = {name: speed for name, speed, _ in rows}
    assert len(rows) == 14
    for _, speed, hours in rows:
        # As many digits as the speed has.
        digits = len(hours.partition(".")[2])
        expected = 1_000_000 * 2 / float(speed.replace(",", "")) / 3600
        assert float(hours) == pytest.approx(expected, abs=0.5 * 10**-digits + 1e-9)
    sts, _, pairs = (float(speed.replace(",", "")) for _, speed, _ in rows[:3])
    # A pair is two sentences, and a lone question's speed follows from its time; all else stands on the pages.
    assert pairs == round(sts / 2)
    (lone,) = (float(speed) for name, speed, _ in rows if "one at a time" in name)
    (seconds,) = (float(each) / 1000 for each in re.findall(r"`qa` takes ([\d.]+) ms", measured))
    assert lone == pytest.approx(1 / seconds, abs=0.05)
    assert f"takes `qa` {1000 * seconds:.0f} ms" in page
    told = [speed for name, speed, _ in rows[:2] + rows[3:] if "one at a time" not in name]
    assert not [speed for speed in told if not re.search(rf"(?<![\d,.]){speed}(?!,?\d)", measured)]
    windows = {
        name: int(next(speed for row, speed in named.items() if f"`{name}`" in row and "384" in row))
        for name in ("qa_small", "qa")
    }
    assert all(
        re.search(rf"^\| `{name}` .* {speed} windows \|$", measured, re.MULTILINE) for name, speed in windows.items()
    )
    table = re.findall(r"^\| .*? \| ([\d,.]+)[^|]* \| ([\d,.]+)", page.partition("## What is full")[0], re.MULTILINE)[
        -5:
    ]
    hosts, seconds, small, base, gigabits = ([float(each.replace(",", "")) for each in row] for row in table)
    assert hosts == [sts * 8, sts * 80]
    assert seconds == pytest.approx([1_000_000 / each for each in hosts], rel=0.01)
    for minutes, name in ((small, "qa_small"), (base, "qa")):
        assert minutes == pytest.approx([1_000_000 / windows[name] / 8 / 60 / count for count in (1, 10)], rel=0.02)
    assert gigabits == pytest.approx([each * 384 * 4 * 8 / 1e9 for each in hosts], rel=0.02)
