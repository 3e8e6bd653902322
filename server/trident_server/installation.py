"""Puts the files of a set of models into a repository: all of them or none, whenever the process ends that does so.

What is to be there is written below the set's folder, beside the old files, and is called ``.export`` as soon as all of
it is on the disk::

    sts/.export.k3vq1x/   being written; where nobody writes it any more, it is dropped
    sts/.export/          whole: what the set is from now on; whoever finds it moves it into place

Inside, files are where they will be in the repository, such as ``sts_encoder/1/model.pt``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import filecmp
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from trident_server.served import REPORT

PENDING = ".export"
#: What file systems say that lock no folders.
NO_LOCKS = (errno.EBADF, errno.EISDIR, errno.ENOLCK, errno.ENOTSUP)


@contextlib.contextmanager
def installing(repository: Path, name: str) -> Iterator[Path]:
    """Give an empty folder, and move what was written there into the repository; nothing of it after an exception.

    Meanwhile nobody else installs anything of the set. Files that are there already, byte for byte, stay as they are.

    Args:
        repository: the model repository.
        name: of the set; its main ensemble's folder.

    Raises:
        OSError: it cannot be written.
    """
    folder = repository / name
    with _alone(folder):
        _finish(repository, folder)
        draft = Path(tempfile.mkdtemp(prefix=f"{PENDING}.", dir=folder))
        try:
            yield draft
            for file in _files(draft):
                if _is_there(file, repository / file.relative_to(draft)):
                    file.unlink()
            if not _files(draft):
                return
            _write_through(draft)
            draft.rename(folder / PENDING)
            _sync(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        _finish(repository, folder)


def finish(repository: Path) -> None:
    """Do what was left to do where a process ended while it installed a set.

    Args:
        repository: the model repository; there may be none.

    Raises:
        OSError: it cannot be written.
    """
    for folder in sorted({found.parent for found in repository.glob(f"*/{PENDING}*")}):
        with _alone(folder):
            _finish(repository, folder)


def unfinished(repository: Path) -> list[str]:
    """Return the names of sets whose files are partly those of before."""
    return sorted(found.parent.name for found in repository.glob(f"*/{PENDING}"))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder, made where it is not there; the hold goes with the process, and the folder if it is empty."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                _lock(handle)
                # Who held it before may have taken the folder away.
                if os.path.samestat(os.fstat(handle), folder.stat()):
                    break
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()
        os.close(handle)


def _lock(handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def _finish(repository: Path, folder: Path) -> None:
    for left in folder.glob(f"{PENDING}.*"):
        # Another user's is left: it keeps nobody from anything.
        shutil.rmtree(left, ignore_errors=True)
    pending = folder / PENDING
    if not pending.is_dir():
        return
    # Without the report nobody takes the rest for an export: it goes first, and comes last.
    places = {file: repository / file.relative_to(pending) for file in _files(pending)}
    for place in places.values():
        if place.name == REPORT:
            place.unlink(missing_ok=True)
    for file, place in sorted(places.items(), key=lambda each: each[1].name == REPORT):
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)
    for parent in {place.parent for place in places.values()}:
        _sync(parent)
    shutil.rmtree(pending)


def _files(folder: Path) -> list[Path]:
    return sorted(each for each in folder.rglob("*") if not each.is_dir())


def _is_there(file: Path, place: Path) -> bool:
    return place.is_file() and filecmp.cmp(file, place, shallow=False)


def _write_through(folder: Path) -> None:
    """See to it that all of a folder is on the disk, and that others may read it."""
    folder.chmod(0o755)
    for file in _files(folder):
        # Triton may run as another user than who exports.
        file.chmod(0o644)
        _sync(file)
    for each in (folder, *(each for each in folder.rglob("*") if each.is_dir())):
        _sync(each)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
