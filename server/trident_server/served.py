"""What a server serves: copies of the repository's models, in which a set can be exchanged while it is asked.

Below the cache directory, in ``served/``::

    now/          the folders of each model, as they were in the repository
    before/       the same of sets that were exchanged, before the last time
    models/       what Triton reads, and looks at every second: the folders of ``now``, their versions numbered anew
    server.json   who serves it

In ``models``, ensembles name the versions of their steps, and Triton loads every version that is there. A set is
exchanged by new versions beside the old ones, which nobody asks yet, and then by ensembles that name the new: each
request goes all its way through one or the other.
"""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from trident_server import configurations
from trident_server.errors import ExchangeError, RepositoryError
from trident_server.files import ELSEWHERE, using

#: The version of every model that an export makes; who has others looks after them himself.
FIRST = "1"
ENSEMBLE, LATEST = "ensemble", -1
#: How the latest version is mostly written.
LATEST_TEXT = re.compile(r"\bmodel_version\s*:\s*-1\b")
ALL_VERSIONS = "version_policy { all { } }\n"
#: What an export notes of itself, and what of it clients see: how it computes on this machine, and how well.
REPORT, SUMMARY = "export.json", ("dtype", "refused", "parity", "speed")


class Served:
    """The folders of one server.

    Args:
        cache_dir: of the server.
    """

    def __init__(self, cache_dir: Path) -> None:
        self.folder = cache_dir / "served"
        self.models, self.now, self.before = (self.folder / name for name in ("models", "now", "before"))
        self._server = self.folder / "server.json"

    def fill(self, repository: Path, models: Collection[str], http_url: str, *, fixed: bool = False) -> Path:
        """Copy models, in place of those that were there, and return the repository for Triton.

        Args:
            repository: whose they are.
            models: names of folders in it.
            http_url: ``host:port`` of Triton's HTTP.
            fixed: nothing in the repository changes while it is served: networks are symbolic links to it.

        Raises:
            RepositoryError: the place is taken by something else, which is nobody's to take away.
            FileError: it cannot be written.
        """
        with using(self.folder, ELSEWHERE):
            if self.folder.exists() and not self._server.is_file():
                raise RepositoryError(f"{self.folder} is to hold what is served, and holds something else: remove it.")
            self.folder.mkdir(parents=True, exist_ok=True)
            facts = {"repository": str(repository.resolve()), "http_url": http_url, "fixed": fixed}
            self._server.write_text(json.dumps(facts))
            for each in (self.now, self.before, self.models):
                shutil.rmtree(each, ignore_errors=True)
            copy_models(repository.resolve(), models, self.now, link=_symlink if fixed else _link)
            for name in models:
                shutil.copytree(self.now / name, self.models / name, copy_function=_link, symlinks=True)
                _compile(self.models / name)
                if versions(self.now / name) == [FIRST]:
                    self.configure(self.now / name, int(FIRST))
        return self.models

    def server(self) -> tuple[Path, str]:
        """Return the repository that the models are from, and ``host:port`` of Triton's HTTP.

        Raises:
            ExchangeError: nothing of this server's is exchanged.
        """
        found = json.loads(self._server.read_text())
        if found.get("fixed"):
            raise ExchangeError("It serves with --fixed: start it anew, and it serves what is in the repository.")
        return Path(found["repository"]), found["http_url"]

    def configure(self, source: Path, number: int) -> None:
        """Write a model's configurations for Triton, so that its steps are of one version.

        Args:
            source: the model's folder, whose configurations are taken.
            number: of the version.
        """
        for file in source.glob("**/*.pbtxt"):
            text = file.read_text("utf-8", "surrogateescape")
            configuration = configurations.read(file)
            if configuration is None:
                # As it is, for Triton to say what is wrong.
                pass
            elif is_ensemble(source):
                text = _with_versions(text, configuration, number) + _export_parameter(source, configuration)
            elif not configuration.HasField("version_policy"):
                text = f"{text.rstrip()}\n{ALL_VERSIONS}"
            target = self.models / source.name / file.relative_to(source)
            draft = self.folder / f"{file.name}.draft"
            draft.write_text(text, "utf-8", "surrogateescape")
            draft.replace(target)

    def number(self, name: str) -> int:
        """Return the number of the versions that an ensemble names; 0 where these are not one.

        Args:
            name: of the ensemble.
        """
        configuration = configurations.read(self.models / name / "config.pbtxt")
        steps = configuration.ensemble_scheduling.step if configuration is not None else ()
        found = {step.model_version for step in steps if step.model_version > 0}
        return int(found.pop()) if len(found) == 1 else 0

    def add(self, source: Path, number: int) -> None:
        """Give a model another version, whole and at once, without a word in its configuration.

        Args:
            source: the model's folder; its version is copied.
            number: what to call it.
        """
        draft = self.folder / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(source / FIRST, draft, copy_function=_link)
        _compile(draft)
        draft.rename(self.models / source.name / str(number))

    def remove(self, name: str, *, but: int) -> None:
        """Take away a model's versions, but one."""
        for version in versions(self.models / name):
            if int(version) != but:
                # Renamed first: Triton is not to see half of one.
                gone = self.folder / "gone"
                shutil.rmtree(gone, ignore_errors=True)
                (self.models / name / version).rename(gone)
                shutil.rmtree(gone)

    @contextlib.contextmanager
    def exchanging(self) -> Iterator[None]:
        """Be the only one that exchanges anything."""
        with (self.folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def is_exchanged(self) -> bool:
        """Say whether somebody exchanges something at this moment."""
        with contextlib.suppress(FileNotFoundError), (self.folder / "lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        # Another file system, or another user's file.
        return str(shutil.copy2(source, target))
    return target


def _symlink(source: str, target: str) -> str:
    os.symlink(source, target)
    return target


def copy_models(
    repository: Path, models: Collection[str], target: Path, link: Callable[[str, str], str] = _link
) -> None:
    """Copy models' folders; networks are linked where they can be, for an export replaces them and writes into none."""

    def copy(source: str, place: str) -> str:
        return link(source, place) if source.endswith(".pt") else str(shutil.copy2(source, place))

    for name in models:
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(repository / name, target / name, copy_function=copy, ignore=ignored)
        for folder, _, _ in os.walk(target / name):
            # Also where nobody may write into the repository's own.
            Path(folder).chmod(0o755)


def versions(model: Path) -> list[str]:
    """Return the versions in a model's folder."""
    return [each.name for each in model.iterdir() if each.is_dir() and each.name.isdecimal()]


def is_ensemble(model: Path) -> bool:
    """Say whether a model's folder is an ensemble's."""
    configuration = configurations.read(model / "config.pbtxt")
    return configuration is not None and configuration.platform == ENSEMBLE


def _with_versions(text: str, configuration: Any, number: int) -> str:
    """Return an ensemble's text with its steps of one version in place of the latest, and its comments where it can."""
    for step in configuration.ensemble_scheduling.step:
        if step.model_version == LATEST:
            step.model_version = number
    edited = LATEST_TEXT.sub(f"model_version: {number}", text)
    return edited if configurations.parse(edited) == configuration else configurations.written(configuration)


def _export_parameter(ensemble: Path, configuration: Any) -> str:
    """Return the parameter ``export`` of an ensemble: the report that stands beside its network, in JSON.

    It is of the machine that the model was exported on, so that it stands in no file of the repository's.
    """
    for step in configuration.ensemble_scheduling.step:
        try:
            report = json.loads((ensemble.parent / step.model_name / FIRST / REPORT).read_text())
            summary = {key: report[key] for key in SUMMARY}
        except (OSError, ValueError, KeyError, TypeError):
            # Nothing that an export wrote: a tokenizer, or somebody's own network.
            continue
        # Of exports from before there was text to compare on, there is no such comparison.
        summary["parity_on_text"] = report.get("parity_on_text")
        return f'parameters {{ key: "export" value {{ string_value: {json.dumps(json.dumps(summary))} }} }}\n'
    return ""


def _compile(folder: Path) -> None:
    """Compile Python models: where Python does so as it loads them, Triton sees a change and loads them once more."""
    compileall.compile_dir(folder, quiet=2)
