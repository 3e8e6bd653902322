"""Exchanges a set of models while it is asked: ``trident-serve promote`` and ``rollback``.

Triton loads the new versions beside the old ones, and warms them up; they answer what the export's comparison noted;
only then the ensembles name them, and the old ones, with what they have under way, are let go. Nobody asks Triton to:
it looks at the folder, which is this user's alone to write, and its API to load and unload models stays closed.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from trident_server import installation, pidfile
from trident_server.errors import ExchangeError, NotRunningError, ServerError
from trident_server.files import using
from trident_server.repository import check_repository, chosen_models
from trident_server.served import FIRST, Served, copy_models, is_ensemble, versions

#: What a network answered when it was exported, beside it.
CHECK = "check.json"
REPORT = "export.json"
#: How far an answer may be off, as a part of its norm: batches round otherwise here than they did there.
DIFFERENCE = 0.05
POLL_SECONDS = 0.1


def promote(cache_dir: Path, name: str, seconds: float, say: Callable[[str], None]) -> None:
    """Serve what the repository holds of a set now, in place of what was there when the server started.

    Args:
        cache_dir: of the server.
        name: of the set.
        seconds: that Triton may take for each step.
        say: called with what happened.

    Raises:
        ServerError: no server runs, or the set is not exchanged; says why.
    """
    _check_runs(cache_dir)
    served = Served(cache_dir)
    with using(served.folder), served.exchanging():
        repository, url = served.server()
        with using(repository):
            installation.finish(repository)
        check_repository(repository, sets=[name])
        with tempfile.TemporaryDirectory(dir=served.folder, prefix="next-") as folder:
            models = chosen_models(repository, [name])
            copy_models(repository, models, Path(folder))
            notes = list(Path(folder).glob(f"*/{FIRST}/{CHECK}"))
            if not notes:
                raise ExchangeError(f"{repository} has no {CHECK} of {name}: export it anew, or start the server anew.")
            whole = all(file.with_name(REPORT).is_file() for file in notes)
            if not whole or not all(_same(repository / each, Path(folder, each)) for each in models):
                raise ExchangeError(f"The export of {name} did not end yet, or was interrupted.")
            _exchange(served, Path(folder), name, TritonApi(url, seconds), say)


def rollback(cache_dir: Path, name: str, seconds: float, say: Callable[[str], None]) -> None:
    """Serve again what was before the last exchange of a set, now and at the next start; the same again undoes it.

    Args:
        cache_dir: of the server.
        name: of the set.
        seconds: that Triton may take for each step.
        say: called with what happened.

    Raises:
        ServerError: no server runs, or the set is not exchanged; says why.
    """
    _check_runs(cache_dir)
    served = Served(cache_dir)
    with using(served.folder), served.exchanging():
        repository, url = served.server()
        if not (served.before / name).is_dir():
            raise ExchangeError(f"{name} was not exchanged since the server started: there is nothing to go back to.")
        models = chosen_models(served.before, [name])
        is_promoted = all(_same(repository / each, served.now / each) for each in models)
        with tempfile.TemporaryDirectory(dir=served.folder, prefix="next-") as folder:
            copy_models(served.before, models, Path(folder))
            _exchange(served, Path(folder), name, TritonApi(url, seconds), say)
    if is_promoted:
        with using(repository), installation.installing(repository, name) as draft:
            copy_models(served.now, models, draft)
    else:
        say(f"{repository} holds another {name} by now, which is left as it is: the next start serves that.")


def _check_runs(cache_dir: Path) -> None:
    if pidfile.running(cache_dir) is None:
        raise NotRunningError(
            f"No trident-serve runs with {cache_dir}: the next start serves what is in the repository."
        )


def _exchange(served: Served, source: Path, name: str, triton: TritonApi, say: Callable[[str], None]) -> None:
    """Serve the folders of ``source`` in place of the set's."""
    models = chosen_models(source, [name])
    _check_exchangeable(served, source, models, name)
    if all(_same(source / each, served.now / each) for each in models):
        raise ExchangeError(f"{name} is served as it is there already.")
    old = served.number(name)
    # Also of what failed, Triton remembers a version.
    new = max([old, *(number for model, number in triton.states() if model in models)]) + 1
    ensembles = {each for each in models if is_ensemble(source / each)}
    parts = models - ensembles
    try:
        for each in parts:
            served.remove(each, but=old)
            served.add(source / each, new)
        triton.wait_for((each, new) for each in parts)
        say(f"{name}: version {new} is loaded beside version {old}")
        checked = [check_answers(triton, file, new) for file in source.glob(f"*/{FIRST}/{CHECK}")]
        if checked:
            say(f"{name}: it answers as its export did, within {max(checked):.1e}")
        for each in ensembles:
            served.configure(source / each, new)
            # Triton reports this version only once the ensemble is another.
            served.add(source / each, new)
        triton.wait_for((each, new) for each in ensembles)
    except BaseException:
        for taken_back in (ensembles, parts):
            for each in taken_back:
                if each in ensembles:
                    served.configure(served.now / each, old)
                served.remove(each, but=old)
            # Nobody's steps may go before the ensembles that name them.
            with contextlib.suppress(ServerError):
                triton.wait_until_gone((each, new) for each in taken_back)
        raise
    for each in models:
        for was, is_now in ((served.now, served.before), (source, served.now)):
            is_now.mkdir(exist_ok=True)
            shutil.rmtree(is_now / each, ignore_errors=True)
            (was / each).rename(is_now / each)
    say(f"{name}: version {new} answers")
    for each in models:
        served.remove(each, but=new)
    triton.wait_until_gone((each, old) for each in models)
    say(f"{name}: version {old} is gone, with all that it had to answer")


def _check_exchangeable(served: Served, source: Path, models: set[str], name: str) -> None:
    if not (served.now / name).is_dir():
        raise ExchangeError(f"{name} is not served yet: the next start serves it.")
    if models != chosen_models(served.now, [name]) or not served.number(name):
        raise ExchangeError(f"{name} has other parts than the set that is served: the next start serves it.")
    for each in models:
        if versions(source / each) != [FIRST]:
            raise ExchangeError(f"{source.name}/{each} must have one version, {FIRST}, to be exchanged.")
        # Versions of a model share one configuration.
        if not is_ensemble(source / each) and not _same(source / each, served.now / each, "**/*.pbtxt"):
            raise ExchangeError(f"The configuration of {each} is another one: the next start serves {name}.")


class TritonApi:
    """Triton's HTTP API.

    Args:
        url: ``host:port``.
        seconds: that it may take for a step.
    """

    def __init__(self, url: str, seconds: float) -> None:
        self._seconds = seconds
        # Not through a proxy that the environment names.
        self._http = httpx.Client(base_url=f"http://{url}", trust_env=False, timeout=seconds)

    def states(self) -> dict[tuple[str, int], tuple[str, str]]:
        """Return the state of each version of each model, and its reason."""
        index = self._post("/v2/repository/index", None)
        return {
            (each["name"], int(each["version"])): (each.get("state", ""), each.get("reason", ""))
            for each in index
            if each.get("version", "").isdecimal()
        }

    def wait_for(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Return when all of some versions are ready."""
        left = set(wanted)
        deadline = time.monotonic() + self._seconds
        while left:
            states = self.states()
            for model, number in sorted(left):
                state, reason = states.get((model, number), ("", ""))
                if state == "READY":
                    left.discard((model, number))
                elif state == "UNAVAILABLE":
                    raise ExchangeError(f"Triton did not load {model}: {reason}. What was served before serves on.")
            if time.monotonic() > deadline:
                late = ", ".join(model for model, _ in sorted(left))
                raise ExchangeError(f"Triton did not load {late} in {self._seconds:g} s.")
            time.sleep(POLL_SECONDS)

    def wait_until_gone(self, unwanted: Iterable[tuple[str, int]]) -> None:
        """Return when none of some versions is served any more."""
        left = set(unwanted)
        deadline = time.monotonic() + self._seconds
        while time.monotonic() < deadline:
            states = self.states()
            if all(states.get(each, ("UNAVAILABLE", ""))[0] == "UNAVAILABLE" for each in left):
                return
            time.sleep(POLL_SECONDS)
        raise ServerError(f"The new version serves, and the old one still has requests after {self._seconds:g} s.")

    def answer(self, model: str, number: int, inputs: list[dict[str, Any]], output: str) -> list[float]:
        """Ask a version of a model and return an output."""
        request = {"inputs": inputs, "outputs": [{"name": output}]}
        found = self._post(f"/v2/models/{model}/versions/{number}/infer", request)
        return [float(each) for each in found["outputs"][0]["data"]]

    def _post(self, path: str, body: Any) -> Any:
        try:
            answer = self._http.post(path, json=body)
            if answer.status_code == httpx.codes.OK:
                return answer.json()
            raise ExchangeError(f"Triton answers {answer.status_code} at {path}: {answer.text[:500]}")
        except httpx.HTTPError as error:
            raise ExchangeError(f"Triton does not answer at {path} ({error or type(error).__name__}).") from error


def check_answers(triton: TritonApi, file: Path, number: int) -> float:
    """Ask a network what its export noted, and return how far it is off at most, as a part of the answer's norm.

    Args:
        triton: who serves it.
        file: the export's note, in the network's folder.
        number: of the version that is asked.

    Raises:
        ExchangeError: it is off by more than :data:`DIFFERENCE`, or does not answer.
    """
    model, most = file.parts[-3], 0.0
    for each in json.loads(file.read_text()):
        wanted = np.array(each["values"])
        found = np.array(triton.answer(model, number, each["inputs"], each["output"]))
        if found.shape != wanted.shape:
            raise ExchangeError(f"{model} answers {found.size} numbers where its export gave {wanted.size}.")
        difference = float(np.linalg.norm(found - wanted)) / max(float(np.linalg.norm(wanted)), 1e-6)
        # Not a number is no small one.
        if not difference <= DIFFERENCE:
            raise ExchangeError(f"{model} does not answer as its export did: it is off by {difference:.1%}.")
        most = max(most, difference)
    return most


def _same(left: Path, right: Path, pattern: str = "**/*") -> bool:
    """Say whether two folders hold the same files."""
    files = [
        {
            file.relative_to(folder)
            for file in folder.glob(pattern)
            if file.is_file() and "__pycache__" not in file.parts and not file.name.startswith(".")
        }
        for folder in (left, right)
    ]
    return files[0] == files[1] and all(
        os.path.samefile(left / each, right / each) or filecmp.cmp(left / each, right / each, shallow=False)
        for each in files[0]
    )
