"""The folders of ``model_repository/`` that serve one task, and variants of them under another name.

The committed folders of a task (``sts``, ``sts_encoder``, ...) are the one source of its configuration. A variant
(``sts_ko``, ``sts_ko_encoder``, ...) is those folders again, under its own name and with its own sizes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = "1"
CONFIGURATION = "config.pbtxt"
KEEP = ".gitkeep"
NAME = re.compile(r"[a-z][a-z0-9_]*")
FACTS = re.compile(r'parameters \{ key: "(?:task|languages|threshold|metrics)" value: \{ .* \} \}\n')
#: A warm-up request's tokens, and the file that says how many a reader's longest window has.
WARMUP_TOKENS = re.compile(r"(TYPE_INT32 dims: \[ )(\d+)( \] zero_data)")
WARMUP_WINDOW = "window"
#: First words of a configuration that was found for one model on one host, and is no other's.
TUNED = "# Written by trident-bench tune"
MAX_LENGTH = re.compile(r'(key: "max_length" value: \{ string_value: ")(\d+)(")')


class RepositoryError(ValueError):
    """The model repository does not hold what is needed; the text says what."""


@dataclass(frozen=True)
class Task:
    """A task and the folders that serve it.

    Attributes:
        name: the task's name, and that of its main ensemble.
        network: the part whose ``model.pt`` is exported.
        output: the network's output tensor.
        parts: further folders, each named ``<name>_<part>``.
        width: what the network answers with for each item or token; None where it is the encoder's width.
        calibrated: the part that needs a calibration beside its ``model.py``, if there is one.
        metrics: what its models are told to have scored.
    """

    name: str
    network: str
    output: str
    parts: tuple[str, ...]
    width: int | None = None
    calibrated: str | None = None
    metrics: tuple[str, ...] = ()


COLA = Task(
    "cola",
    network="classifier",
    output="PROBABILITY",
    parts=("tokenizer", "classifier"),
    width=1,
    metrics=("matthews_correlation", "accuracy"),
)
QA = Task(
    "qa",
    network="reader",
    output="START_LOGITS",
    parts=("tokenizer", "reader", "span_decoder"),
    width=2,
    calibrated="span_decoder",
    metrics=("f1", "exact_match"),
)
STS = Task(
    "sts",
    network="encoder",
    output="EMBEDDING",
    parts=("tokenizer", "encoder", "embedding"),
    metrics=("spearman", "pearson", "f1", "accuracy"),
)
#: The tasks' own names, which no variant may take.
TASK_NAMES = {task.name for task in (COLA, QA, STS)}


@dataclass(frozen=True)
class ModelSet:
    """The folders of one task under one name.

    Attributes:
        repository: the Triton model repository.
        task: what they serve.
        name: what they are called; the task's own name, or a variant's.
    """

    repository: Path
    task: Task
    name: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise RepositoryError(
                f"'{self.name}' cannot name a model; a lower-case letter and then lower-case letters, digits and "
                "underscores are accepted"
            )

    def folder(self, part: str = "") -> Path:
        """Return the folder of one part, of the main ensemble by default."""
        return self.repository / (f"{self.name}_{part}" if part else self.name)

    @property
    def is_variant(self) -> bool:
        """Whether the set's folders are made of the task's own, and not part of the project."""
        return self.name != self.task.name

    @property
    def source(self) -> ModelSet:
        """The task's own folders, which a variant's are made of."""
        return ModelSet(self.repository, self.task, self.task.name)

    @property
    def network_file(self) -> Path:
        """The exported TorchScript model."""
        return self.folder(self.task.network) / VERSION / "model.pt"

    @property
    def report_file(self) -> Path:
        """The export's report, beside the model."""
        return self.network_file.with_name("export.json")

    @property
    def tokenizer_file(self) -> Path:
        """The tokenizer, beside the Python model that loads it."""
        return self.folder("tokenizer") / VERSION / "tokenizer.json"

    @property
    def calibration_file(self) -> Path | None:
        """What makes the task's scores probabilities; None for a task without it."""
        part = self.task.calibrated
        return self.folder(part) / VERSION / "calibration.json" if part else None

    @property
    def built_files(self) -> list[Path]:
        """Everything that an export makes but its report."""
        return [file for file in (self.network_file, self.tokenizer_file, self.calibration_file) if file]

    def max_tokens(self) -> int:
        """Read how many tokens the tokenizer hands the network at most.

        Raises:
            RepositoryError: the tokenizer's configuration does not say.
        """
        match = MAX_LENGTH.search(self._configuration("tokenizer"))
        if match is None:
            raise RepositoryError(f"{self.folder('tokenizer') / 'config.pbtxt'} sets no parameter max_length")
        return int(match.group(2))

    def width(self) -> int:
        """Return what the network answers with for each item: the task's own width, or the configured one.

        Raises:
            RepositoryError: the network's configuration does not say.
        """
        if self.task.width is not None:
            return self.task.width
        match = self._width_pattern().search(self._configuration(self.task.network))
        if match is None:
            raise RepositoryError(
                f"{self.folder(self.task.network) / 'config.pbtxt'} sets no single dimension of {self.task.output}"
            )
        return int(match.group(2))

    def check_variant(self) -> None:
        """Refuse a variant that :meth:`write_variant` could not write.

        Raises:
            RepositoryError: the name is a task's own, its folders would be taken for another set's, or the task's own
                are not all there.
        """
        if self.name in TASK_NAMES:
            raise RepositoryError(f"'{self.name}' is the name of a task's own models; give the variant another name")
        if self.name.endswith(tuple(f"_{part}" for part in self.task.parts)):
            raise RepositoryError(f"'{self.name}' ends as a part of a set is named; give the variant another name")
        for part in ("", *self.task.parts):
            self.source._configuration(part)

    def write_variant(self, *, width: int, max_tokens: int | None, facts: Mapping[str, Any] | None = None) -> None:
        """Copy the task's own folders under this set's name.

        Args:
            width: last dimension of the network's output.
            max_tokens: tokens the network takes; as in the task's own folders when None.
            facts: as :meth:`describe` takes them; those that are there stay when None.

        Raises:
            RepositoryError: as :meth:`check_variant` has it.
        """
        self.check_variant()
        source = self.source
        told = self.folder() / "config.pbtxt"
        kept = "".join(FACTS.findall(told.read_text())) if told.is_file() else ""
        for part in ("", *self.task.parts):
            target = self.folder(part)
            (target / VERSION).mkdir(parents=True, exist_ok=True)
            # Also those that Triton serves in its place by a name, such as `gpu`.
            named = [
                f"configs/{file.name}"
                for file in sorted(source.folder(part).glob("configs/*.pbtxt"))
                if not file.read_text().startswith(TUNED)
            ]
            for file_name in (CONFIGURATION, *named):
                text = source._configuration(part, file_name)
                for each in ("", *self.task.parts):
                    names = source.folder(each).name, self.folder(each).name
                    text = text.replace(f'model_name: "{names[0]}"', f'model_name: "{names[1]}"')
                text = self._width_pattern().sub(rf"\g<1>{width}\g<3>", text)
                if max_tokens is not None:
                    text = _resized(text, source.max_tokens(), max_tokens)
                if not part:
                    text = FACTS.sub("", text) + kept if facts is None else _described(text, facts)
                (target / file_name).parent.mkdir(exist_ok=True)
                (target / file_name).write_text(text)
            for file in (source.folder(part) / VERSION).glob("*.py"):
                shutil.copyfile(file, target / VERSION / file.name)
            # An ensemble's version has no file; object storage, and some ways into an image, know no empty folder.
            (target / VERSION / KEEP).touch()
            if (source.folder(part) / "warmup").is_dir():
                shutil.copytree(source.folder(part) / "warmup", target / "warmup", dirs_exist_ok=True)
            if max_tokens is not None and (target / "warmup" / WARMUP_WINDOW).is_file():
                (target / "warmup" / WARMUP_WINDOW).write_bytes(max_tokens.to_bytes(4, "little"))

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Write what a client is told of this set into its main ensemble's configuration, as parameters.

        Args:
            facts: ``task``, ``languages``, ``threshold`` and ``metrics``; what is None is left out.
        """
        before = self._configuration("")
        after = _described(before, facts)
        if after != before:
            (self.folder() / "config.pbtxt").write_text(after)

    def _configuration(self, part: str, file_name: str = CONFIGURATION) -> str:
        file = self.folder(part) / file_name
        if not file.is_file():
            raise RepositoryError(f"{file} is missing; name a complete model repository with --repository")
        return file.read_text()

    def _width_pattern(self) -> re.Pattern[str]:
        return re.compile(rf'(name: "{self.task.output}" data_type: TYPE_FP32 dims: \[ )(\d+)( \])')


def _resized(configuration: str, before: int, after: int) -> str:
    """Set the longest sequence, and make warm-up requests fit it: the longest stays the longest."""

    def fitting(found: re.Match[str]) -> str:
        tokens = int(found[2])
        return f"{found[1]}{after if tokens == before else min(tokens, after)}{found[3]}"

    return WARMUP_TOKENS.sub(fitting, MAX_LENGTH.sub(rf"\g<1>{after}\g<3>", configuration))


def _described(configuration: str, facts: Mapping[str, Any]) -> str:
    lines = [
        f"parameters {{ key: \"{key}\" value: {{ string_value: '{_text(value)}' }} }}\n"
        for key, value in facts.items()
        if value is not None
    ]
    return FACTS.sub("", configuration) + "".join(lines)


def _text(value: Any) -> str:
    # Within single quotes, which JSON does not use.
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("\\", "\\\\").replace("'", "\\'")
