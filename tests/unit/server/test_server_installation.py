"""Files of a set come into a repository all or none: what is left where a process ends, and who may read it."""

import contextlib
import errno
import multiprocessing
import os
import re
import stat

import pytest
from interruptions import contents, interrupt
from rich.console import Console
from trident_server import installation, stack
from trident_server.errors import FileError, RepositoryError
from trident_server.repository import check_repository
from trident_server.settings import ServerSettings

OLD = {
    "sts/config.pbtxt": "old",
    "sts_encoder/1/model.pt": "old",
    "sts_encoder/1/export.json": "{}",
    "sts/same": "same",
}
NEW = {name: text if text == "same" else f"new {text}" for name, text in OLD.items()} | {"sts_new/1/more": "new"}


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def install(repository):
    with installation.installing(repository, "sts") as draft:
        write(draft, NEW)


@pytest.fixture
def repository(tmp_path):
    write(tmp_path / "models", OLD)
    return tmp_path / "models"


@pytest.mark.parametrize("how", ["killed", "full"])
@pytest.mark.parametrize("before", [OLD, {}])
def test_wherever_it_ends_all_files_are_the_old_or_the_new_ones(tmp_path, monkeypatch, how, before):
    # Another process reads what was written, wherever it is. A busy disk takes its time.
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    seen = set()
    for step in range(1000):
        repository = tmp_path / str(step)
        repository.mkdir()
        write(repository, before)
        ended = interrupt(lambda repository=repository: install(repository), repository, step, how)
        cut_off = installation.unfinished(repository)
        if not cut_off:
            # As they are, before anybody has looked.
            assert contents(repository) in (before, NEW)
        installation.finish(repository)
        assert contents(repository) == (NEW if cut_off else contents(repository))
        assert not list(repository.glob("*/.*"))
        seen.add((bool(cut_off), contents(repository) == NEW))
        install(repository)
        assert contents(repository) == NEW
        if not ended:
            break
    assert step > 30
    assert seen == {(False, False), (True, True), (False, True)}


def test_all_of_it_is_on_the_disk_before_it_counts_and_in_its_place_before_the_draft_goes(repository, monkeypatch):
    events, fsync = [], os.fsync

    def synced(handle):
        events.append(os.path.relpath(os.readlink(f"/proc/self/fd/{handle}"), repository))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", synced)
    rmtree = installation.shutil.rmtree
    monkeypatch.setattr(installation.shutil, "rmtree", lambda *a, **b: (events.append("rmtree"), rmtree(*a, **b)))
    rename = type(repository).rename
    monkeypatch.setattr(type(repository), "rename", lambda *files: (events.append("rename"), rename(*files)))
    install(repository)
    draft, rest = events[: events.index("rename")], events[events.index("rename") + 1 :]
    written = {name for name, text in NEW.items() if text != "same"}
    assert {"/".join(each.split("/")[2:]) for each in draft} >= {*written, "sts_encoder/1", "sts_new/1"}
    assert rest[0] == "sts"
    assert {"sts", "sts_encoder/1", "sts_new/1"} <= set(rest[: len(rest) - rest[::-1].index("rmtree") - 1])


def test_while_it_lasts_the_old_report_is_not_there(repository, monkeypatch):
    report, place = repository / "sts_encoder" / "1" / "export.json", repository / "sts" / "config.pbtxt"
    found = []
    replace = type(place).replace
    monkeypatch.setattr(type(place), "replace", lambda *files: (found.append(report.exists()), replace(*files)))
    install(repository)
    assert found == [False] * 4
    assert report.read_text() == NEW["sts_encoder/1/export.json"]


def test_what_is_there_already_stays_as_it_is(repository):
    install(repository)

    def found():
        return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in repository.rglob("*") if file.is_file()}

    before = found()
    install(repository)
    assert found() == before
    # Of what is another, the rest stays.
    with installation.installing(repository, "sts") as draft:
        write(draft, NEW | {"sts/config.pbtxt": "newer"})
    assert [file.name for file, each in found().items() if before[file] != each] == ["config.pbtxt"]


def test_everybody_may_read_it(tmp_path):
    before = os.umask(0o077)
    try:
        with installation.installing(tmp_path, "sts") as draft:
            write(draft, {"sts/config.pbtxt": ""})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "sts" / "config.pbtxt").stat().st_mode) == 0o644


def test_an_exception_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="refused"), installation.installing(tmp_path, "sts") as draft:  # noqa: PT012
        write(draft, NEW)
        raise ValueError("refused")
    assert not list(tmp_path.iterdir())


def test_two_at_a_time_are_one_after_the_other(tmp_path):
    def run(text):
        for _ in range(50):
            with installation.installing(tmp_path, "sts") as draft:
                write(draft, {"sts/a": text, "sts/1/b": text})

    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=run, args=(text,)) for text in ("one", "two", "three")]
    for each in processes:
        each.start()
    for each in processes:
        each.join(60)
    assert [each.exitcode for each in processes] == [0, 0, 0]
    first, second = contents(tmp_path).values()
    assert first == second


def test_where_folders_cannot_be_locked_it_works_for_one(repository, monkeypatch):
    def refuses(*arguments):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(installation.fcntl, "flock", refuses)
    install(repository)
    assert contents(repository) == NEW


def test_a_repository_that_is_partly_of_before_is_not_served(repository):
    with contextlib.suppress(RepositoryError):
        check_repository(repository)
    write(repository / "sts" / ".export", NEW)
    with pytest.raises(RepositoryError, match=r"was interrupted, of sts\. Run `make models`\."):
        check_repository(repository)
    # Of others, it says nothing.
    write(repository, {"cola/config.pbtxt": 'platform: "ensemble"'})
    check_repository(repository, sets=["cola"])


def test_a_server_finishes_what_an_export_began_before_it_looks_at_the_repository(repository, tmp_path, monkeypatch):
    def looked(folder, *arguments):
        raise RepositoryError(f"there is {contents(folder)}")

    for name in ("find_embedded_triton", "check_installed"):
        monkeypatch.setattr(stack, name, lambda: None)
    monkeypatch.setattr(stack, "check_repository", looked)
    (tmp_path / "whole").mkdir()
    write(tmp_path / "whole", NEW)
    (tmp_path / "whole").rename(repository / "sts" / ".export")
    settings = ServerSettings(repository=repository, cache_dir=tmp_path / "cache")
    with pytest.raises(RepositoryError, match=re.escape(str(NEW["sts/config.pbtxt"]))):
        stack.serve(settings, Console())
    assert contents(repository) == NEW


def test_where_it_cannot_be_finished_the_server_says_which_file_is_in_the_way(repository, tmp_path, monkeypatch):
    for name in ("find_embedded_triton", "check_installed"):
        monkeypatch.setattr(stack, name, lambda: None)
    write(repository / "sts" / ".export", NEW)
    (repository / "sts" / "config.pbtxt").unlink()
    (repository / "sts" / "config.pbtxt").mkdir()
    with pytest.raises(FileError, match=r"Cannot use .*config\.pbtxt"):
        stack.serve(ServerSettings(repository=repository, cache_dir=tmp_path / "cache"), Console())
