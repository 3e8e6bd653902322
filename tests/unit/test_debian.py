"""What fetches Debian's programs for tests, with an apt that has nothing, and without one."""

import os

import debian
import pytest


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """The only folder that programs are looked for in, but for `id`."""
    monkeypatch.setattr(debian, "CACHE", tmp_path / "cache")
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "id").write_text("#!/bin/sh\necho somebody\n")
    (folder / "id").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_a_program_of_the_machine_is_taken_as_it_is(programs):
    assert debian.find("id", "coreutils") == programs / "id"
    assert debian.environment(programs / "id") == dict(os.environ)


def test_where_apt_has_no_such_package_the_test_is_skipped_and_says_why(programs):
    (programs / "apt-get").write_text('#!/bin/sh\necho "E: Unable to locate package nothing" >&2\nexit 100\n')
    (programs / "apt-get").chmod(0o755)
    with pytest.raises(pytest.skip.Exception, match=r"nothing is not installed .*: E: Unable to locate"):
        debian.find("no-such-program", "nothing")
    assert not (debian.CACHE / "nothing").exists()


def test_where_there_is_no_apt_the_test_is_skipped(programs):
    with pytest.raises(pytest.skip.Exception, match=r"cannot be fetched: .*apt-get"):
        debian.find("no-such-program", "nothing")
