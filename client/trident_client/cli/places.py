"""Where files lie: on this machine, or where a URI says, in a file system that Arrow knows, as object storages are."""

from __future__ import annotations

import glob
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from trident_client.cli.failures import UsageError

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
#: File systems where what is written can be seen only when it is whole; Arrow's names.
APPEAR_WHOLE = {"s3", "gcs"}
MESSAGE_CHARACTERS = 300


@dataclass(frozen=True)
class Remote:
    """A file, folder or pattern that a URI names; whoever a worker is, it connects with credentials of its own.

    Attributes:
        uri: as Arrow takes it, with options behind a question mark; ``*`` and ``[...]`` in its path make a pattern.

    Raises:
        UsageError: from what asks the file system: there is none of this kind, or it refuses.
    """

    uri: str

    def __str__(self) -> str:
        """Return the URI without a password."""
        return re.sub(r"(//[^/@:]*):[^/@]*@", r"\1@", self.uri, count=1)

    def __truediv__(self, name: str) -> Remote:
        """Return what has a name below this."""
        parts = urlsplit(self.uri)
        return Remote(urlunsplit(parts._replace(path=posixpath.join(parts.path or "/", quote(name)))))

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self._path.name

    @property
    def suffix(self) -> str:
        """What it ends in."""
        return self._path.suffix

    def resolve(self) -> Remote:
        """Return it with no slash at its end, so that equal ones are the same."""
        parts = urlsplit(self.uri)
        return Remote(urlunsplit(parts._replace(path=posixpath.normpath(parts.path or "/"))))

    def is_below(self, folder: Place) -> bool:
        """Say whether it is a folder or lies in it."""
        if not isinstance(folder, Remote):
            return False
        (ours, path), (theirs, root) = (_split(each.resolve()) for each in (self, folder))
        return ours == theirs and PurePosixPath(path).is_relative_to(root)

    def is_dir(self) -> bool:
        """Say whether it is a folder."""
        from pyarrow.fs import FileType

        return not self.is_pattern() and self._info().type == FileType.Directory

    def is_file(self) -> bool:
        """Say whether it is a file."""
        return bool(self._info().is_file)

    def is_pattern(self) -> bool:
        """Say whether its path has a wildcard."""
        return glob.has_magic(str(self._path))

    def version(self) -> list[str | int]:
        """Return its name, size and time of change, which tell it from what it was or will be."""
        info = self._info()
        return [str(self), info.size or 0, info.mtime_ns or 0]

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Open the file to read it."""
        with _reporting_failure(self):
            stream: IO[bytes] = self._system.open_input_file(self._key)
            return stream

    def find(self) -> tuple[Remote, dict[str, int]]:
        """Return the folder that all files of a folder or pattern lie in, and their names and sizes.

        As in a shell, ``**`` stands for any folders, and a name that begins with a dot is not meant.
        """
        fixed = [part for part in self._path.parts if part != "/"]
        wanted = ["*"]
        if self.is_pattern():
            first = next(place for place, part in enumerate(fixed) if glob.has_magic(part))
            fixed, wanted = fixed[:first], fixed[first:]
        root = Remote(urlunsplit(urlsplit(self.uri)._replace(path="/" + quote("/".join(fixed)))))
        names = root.files(recursive=len(wanted) > 1 or "**" in wanted)
        return root, {name: names[name] for name in sorted(names) if _matches(name.split("/"), wanted)}

    def files(self, *, recursive: bool) -> dict[str, int]:
        """Return the names and sizes of a folder's files; none where there is no such folder."""
        from pyarrow.fs import FileSelector

        with _reporting_failure(self):
            selector = FileSelector(self._key, allow_not_found=True, recursive=recursive)
            found = self._system.get_file_info(selector)
            return {posixpath.relpath(each.path, self._key): each.size or 0 for each in found if each.is_file}

    def put(self, file: Path) -> None:
        """Make it a copy of a file of this machine, which appears when it is whole."""
        from pyarrow.fs import LocalFileSystem, copy_files

        with _reporting_failure(self, "written"):
            system, key = self._system, self._key
            draft = key
            if system.type_name not in APPEAR_WHOLE:
                system.create_dir(posixpath.dirname(key))
                draft = posixpath.join(posixpath.dirname(key), f".{posixpath.basename(key)}.tmp")
            copy_files(str(file), draft, LocalFileSystem(), system)
            if draft != key:
                system.move(draft, key)

    @property
    def _path(self) -> PurePosixPath:
        return PurePosixPath(unquote(urlsplit(self.uri).path))

    @property
    def _system(self) -> FileSystem:
        return _connected(_split(self)[0])[0]

    @property
    def _key(self) -> str:
        root, path = _split(self)
        return posixpath.join(_connected(root)[1], path.strip("/"))

    def _info(self) -> FileInfo:
        with _reporting_failure(self):
            return self._system.get_file_info(self._key)


#: A path of this machine, or a URI.
Place = Path | Remote


def place_of(text: str) -> Place:
    """Return what an option names."""
    if not SCHEME.match(text):
        return Path(text)
    parts = urlsplit(text)
    return Path(unquote(parts.path)) if parts.scheme == "file" else Remote(text)


def is_below(place: Place, folder: Place) -> bool:
    """Say whether a place is a folder or lies in it."""
    if isinstance(place, Remote):
        return place.is_below(folder)
    return isinstance(folder, Path) and place.resolve().is_relative_to(folder.resolve())


def version_of(place: Place) -> list[str | int]:
    """Return a file's name, size and time of change, which tell it from what it was or will be."""
    if isinstance(place, Remote):
        return place.version()
    stat = place.stat()
    return [str(place.resolve()), stat.st_size, stat.st_mtime_ns]


@contextmanager
def local_copy(output: Place) -> Iterator[Path]:
    """Give a path of this machine to write an output to, which is put where it belongs when all went well."""
    if isinstance(output, Path):
        yield output
        return
    with TemporaryDirectory(prefix="trident-") as folder:
        file = Path(folder) / output.name
        yield file
        output.put(file)


def _matches(parts: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**" and _matches(parts, pattern[1:]):
        return True
    if not parts or parts[0].startswith(".") > pattern[0].startswith("."):
        return False
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern if pattern[0] == "**" else pattern[1:])


def _split(place: Remote) -> tuple[str, str]:
    """Return a file system's own URI, and a path within it."""
    parts = urlsplit(place.uri)
    return urlunsplit(parts._replace(path="/")), unquote(parts.path)


@cache
def _connected(root: str) -> tuple[FileSystem, str]:
    from pyarrow.fs import FileSystem

    system, path = FileSystem.from_uri(root)
    return system, path


@contextmanager
def _reporting_failure(place: Remote, what: str = "read") -> Iterator[None]:
    """Report in one line what a file system says."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        if len(reason) > MESSAGE_CHARACTERS:
            reason = f"{reason[:MESSAGE_CHARACTERS]} ..."
        if "ACCESS_DENIED" in reason:
            reason += "; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, say who asks"
        raise UsageError(f"{place} cannot be {what}: {reason}") from error
