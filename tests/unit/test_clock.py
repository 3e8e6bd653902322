"""A clock that is set back while something is served changes nothing: no deadline and no pause is read off it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SET_BY_PEOPLE = re.compile(r"\btime\.time(_ns)?\(|\bdatetime\.(now|utcnow|today)\(|CLOCK_REALTIME|\bgettimeofday\b")


@pytest.mark.parametrize("folder", ["client", "api", "server", "model_repository"])
def test_what_serves_looks_at_clocks_that_never_go_back(folder):
    sources = [each for ending in ("py", "c", "h") for each in (ROOT / folder).rglob(f"*.{ending}")]
    assert len(sources) > 3
    assert [str(each) for each in sources if SET_BY_PEOPLE.search(each.read_text("utf-8"))] == []
