"""The folders of ``model_repository/`` that serve one task, and variants of them under another name.

The committed folders of a task (``sts``, ``sts_encoder``, ...) are the one source of its configuration. A variant
(``sts_ko``, ``sts_ko_encoder``, ...) is those folders again, under its own name and with its own sizes. Configurations
are read and written as Triton's own messages.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from trident_client.contract import TASKS, TaskSpec
from trident_server import installation
from tritonclient.grpc import model_config_pb2

VERSION = "1"
CONFIGURATION = "config.pbtxt"
KEEP = ".gitkeep"
CALIBRATION = "calibration.json"
NAME = re.compile(r"[a-z][a-z0-9_]*")
#: What clients are told of a set, as parameters of its main ensemble.
FACTS = ("task", "languages", "threshold", "metrics", "labels")
#: The tokenizer's parameters that say what it puts in front of a text.
PROMPTS = ("prompts", "default_prompt_name")
#: The tokenizer's parameter that says how many tokens it hands the network at most.
MAX_LENGTH = "max_length"
#: The tokenizer's parameter that says how many token ids it has, from 0 on.
VOCABULARY = "vocabulary"
#: The file that says how many tokens a reader's longest warm-up window has.
WARMUP_WINDOW = "window"
#: First words of a configuration that was found for one model on one host, and is no other's.
TUNED = "# Written by trident-bench tune"


class RepositoryError(ValueError):
    """The model repository does not hold what is needed; the text says what."""


@dataclass(frozen=True)
class ModelSet:
    """The folders of one task under one name.

    Attributes:
        repository: the Triton model repository.
        spec: the task that they serve.
        name: what they are called; the task's own name, or a variant's.
    """

    repository: Path
    spec: TaskSpec
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
        return self.name != self.spec.name or self.spec.like is not None

    @property
    def source(self) -> ModelSet:
        """The task's own folders, which a variant's are made of, or those of the task that it is like."""
        spec = TASKS[self.spec.like] if self.spec.like else self.spec
        return ModelSet(self.repository, spec, spec.name)

    @property
    def network_file(self) -> Path:
        """The exported TorchScript model."""
        return self.folder(self.spec.network) / VERSION / "model.pt"

    @property
    def report_file(self) -> Path:
        """The export's report, beside the model."""
        return self.network_file.with_name("export.json")

    @property
    def tokenizer_file(self) -> Path:
        """The tokenizer, beside the Python model that loads it."""
        return self.folder("tokenizer") / VERSION / "tokenizer.json"

    @property
    def further_files(self) -> dict[str, Path]:
        """What an export writes beside the models of other parts, by name."""
        part = self.spec.calibrated
        return {CALIBRATION: self.folder(part) / VERSION / CALIBRATION} if part else {}

    @property
    def built_files(self) -> list[Path]:
        """Everything that an export makes but its report."""
        return [self.network_file, self.tokenizer_file, *self.further_files.values()]

    def max_tokens(self) -> int:
        """Read how many tokens the tokenizer hands the network at most.

        Raises:
            RepositoryError: the tokenizer's configuration does not say.
        """
        parameters = self.parameters("tokenizer")
        if MAX_LENGTH not in parameters:
            raise RepositoryError(f"{self.folder('tokenizer') / CONFIGURATION} sets no parameter {MAX_LENGTH}")
        return int(parameters[MAX_LENGTH])

    def parameters(self, part: str) -> dict[str, str]:
        """Return the parameters of a part's configuration.

        Raises:
            RepositoryError: it is missing.
        """
        return {name: str(value.string_value) for name, value in self._configuration(part).parameters.items()}

    def width(self) -> int:
        """Return what the network answers with for each item: the task's own width, or the configured one.

        Raises:
            RepositoryError: the network's configuration does not say.
        """
        if self.spec.width is not None:
            return self.spec.width
        for output in self._configuration(self.spec.network).output:
            if output.name == self.spec.network_output and len(output.dims) == 1:
                return int(output.dims[0])
        raise RepositoryError(
            f"{self.folder(self.spec.network) / CONFIGURATION} sets no single dimension of {self.spec.network_output}"
        )

    def check_variant(self) -> None:
        """Refuse a variant that could not be written.

        Raises:
            RepositoryError: the name is a task's own, its folders would be taken for another set's, or the task's own
                are not all there.
        """
        if not self.is_variant or self.name in TASKS.keys() - {self.spec.name}:
            raise RepositoryError(f"'{self.name}' is the name of a task's own models; give the variant another name")
        if self.name.endswith(tuple(f"_{part}" for part in self.spec.parts)):
            raise RepositoryError(f"'{self.name}' ends as a part of a set is named; give the variant another name")
        for part in ("", *self.spec.parts):
            self.source._configuration(part)

    @contextlib.contextmanager
    def drafting(self) -> Iterator[ModelSet]:
        """Give the set in an empty folder; in the end all that was written there is this set's, or nothing of it.

        Raises:
            OSError: it cannot be written.
        """
        with installation.installing(self.repository, self.name) as folder:
            yield ModelSet(folder, self.spec, self.name)

    def write_like(self, other: ModelSet, *, max_tokens: int | None = None) -> None:
        """Write the folders of a new task, with the configurations of another that is made of the same parts.

        Args:
            other: the folders to start from, in any repository.
            max_tokens: tokens the network takes; as there when None.

        Raises:
            RepositoryError: the parts are not the same, or not all there.
        """
        if (self.spec.parts, self.spec.network_output) != (other.spec.parts, other.spec.network_output):
            raise RepositoryError(
                f"'{self.name}' is made of {', '.join(self.spec.parts)} and answers {self.spec.network_output}, and "
                f"'{other.name}' of {', '.join(other.spec.parts)} and {other.spec.network_output}"
            )
        with self.drafting() as draft:
            draft.copy(other, other.width(), max_tokens, {"task": self.spec.name})
            draft.note_vocabulary(self.tokenizer_file)

    def take_configurations(self, other: ModelSet) -> None:
        """Copy those of the set's configurations from another repository that an export writes to.

        Raises:
            RepositoryError: one is missing.
        """
        for part in ("", "tokenizer"):
            other._configuration(part)
            self.folder(part).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(other.folder(part) / CONFIGURATION, self.folder(part) / CONFIGURATION)

    def copy(self, source: ModelSet, width: int, max_tokens: int | None, facts: Mapping[str, Any]) -> None:
        """Copy another set's folders, without what is built, under this one's name.

        Args:
            source: the folders to start from, in any repository.
            width: last dimension of the network's output.
            max_tokens: tokens the network takes; as there when None.
            facts: as :meth:`describe` takes them.

        Raises:
            RepositoryError: they are not all there.
        """
        renamed = {source.folder(part).name: self.folder(part).name for part in ("", *self.spec.parts)}
        for part in ("", *self.spec.parts):
            target = self.folder(part)
            (target / VERSION).mkdir(parents=True, exist_ok=True)
            # Also those that Triton serves in its place by a name, such as `gpu`.
            named = [
                f"configs/{file.name}"
                for file in sorted(source.folder(part).glob("configs/*.pbtxt"))
                if not file.read_text().startswith(TUNED)
            ]
            for file_name in (CONFIGURATION, *named):
                configuration = source._configuration(part, file_name)
                if self.spec.like is not None:
                    _fit(configuration, part, self.spec, width)
                for step in configuration.ensemble_scheduling.step:
                    step.model_name = renamed.get(step.model_name, step.model_name)
                for output in configuration.output:
                    # Where a request says how long its output is, as a reader's logits are, the network does not.
                    if output.name == self.spec.network_output and len(output.dims) == 1 and output.dims[0] != -1:
                        output.dims[0] = width
                if max_tokens is not None:
                    _resize(configuration, source.max_tokens(), max_tokens)
                if not part:
                    _describe(configuration, facts)
                (target / file_name).parent.mkdir(exist_ok=True)
                (target / file_name).write_text(_text(configuration))
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
        self._rewrite("", FACTS, facts)

    def set_prompts(self, parameters: Mapping[str, str]) -> None:
        """Write what the tokenizer puts in front of texts into its configuration, in place of what it did before.

        Args:
            parameters: as the set's checkpoint has them; none for no prompts.
        """
        self._rewrite("tokenizer", PROMPTS, parameters)

    def set_limits(self, parameters: Mapping[str, str]) -> None:
        """Write what the tokenizer accepts at most into its configuration.

        Args:
            parameters: as the task has them for the set's encoder.
        """
        self._rewrite("tokenizer", tuple(parameters), parameters)

    def note_vocabulary(self, file: Path) -> None:
        """Write how many token ids a tokenizer has into its configuration; nothing where there is none.

        Args:
            file: the tokenizer's.
        """
        size = None
        if file.is_file():
            tokenizer = json.loads(file.read_text("utf-8"))
            pieces, added = tokenizer["model"]["vocab"], tokenizer.get("added_tokens", [])
            ids = pieces.values() if isinstance(pieces, dict) else range(len(pieces))
            size = str(1 + max([*ids, *(each["id"] for each in added)]))
        self._rewrite("tokenizer", (VOCABULARY,), {VOCABULARY: size})

    def _rewrite(self, part: str, names: Sequence[str], values: Mapping[str, Any]) -> None:
        """Write parameters of a part's configuration, where that changes it; those that are given no value go.

        It is written at once or not at all; several that belong together are written in a :meth:`drafting`.
        """
        file = self.folder(part) / CONFIGURATION
        before, after = self._configuration(part), self._configuration(part)
        _describe(after, values, names)
        if after != before:
            lines = file.read_text().splitlines(keepends=True)
            edited = _with_parameters(lines, after, names)
            if _parsed(edited) != after:
                # A parameter has several lines. What the file says of itself at the top stays.
                code = next((place for place, line in enumerate(lines) if not line.startswith("#")), len(lines))
                edited = "".join(lines[:code]) + _text(after)
            draft = file.with_name(f".{file.name}.draft")
            try:
                draft.write_text(edited)
                draft.replace(file)
            finally:
                draft.unlink(missing_ok=True)

    def _configuration(self, part: str, file_name: str = CONFIGURATION) -> Any:
        file = self.folder(part) / file_name
        if not file.is_file():
            raise RepositoryError(f"{file} is missing; name a complete model repository with --repository")
        try:
            return _parsed(file.read_text())
        except (text_format.ParseError, UnicodeDecodeError) as error:
            raise RepositoryError(f"{file} is no model configuration of Triton's: {error}") from error


def _fit(configuration: Any, part: str, spec: TaskSpec, width: int) -> None:
    """Give a part of another task's set the tensors of a task that is like it: further texts, and answers of its own.

    Two texts are read as one sequence.
    """
    ensemble, types = spec.main, {"FP32": model_config_pb2.TYPE_FP32, "INT32": model_config_pb2.TYPE_INT32}
    answers = ensemble.answers
    if part != spec.network:
        there = {each.name for each in configuration.input}
        for text in ensemble.inputs:
            if text.tensor not in there:
                configuration.input.add(
                    name=text.tensor, data_type=model_config_pb2.TYPE_STRING, dims=[1], optional=text.optional
                )
    if part not in {"", spec.network}:
        configuration.parameters["pairs"].string_value = "joined"
        # Warm-up requests have one text.
        configuration.input[-1].optional = True
        return
    del configuration.output[:]
    for output in answers if part else ensemble.outputs:
        dims = [width if output in answers else 1]
        configuration.output.add(name=output.tensor, data_type=types[output.datatype], dims=dims)
    if not part:
        tokenizer, network = configuration.ensemble_scheduling.step
        tokenizer.input_map.update({each.tensor: each.tensor for each in ensemble.inputs})
        network.output_map.clear()
        for output in ensemble.outputs:
            (network if output in answers else tokenizer).output_map[output.tensor] = output.tensor


def _text(configuration: Any, *, as_one_line: bool = False) -> str:
    return str(text_format.MessageToString(configuration, as_utf8=True, as_one_line=as_one_line))


def _parsed(text: str) -> Any:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def _with_parameters(lines: Sequence[str], configuration: Any, names: Sequence[str]) -> str:
    """Return a configuration's lines with some parameters as they are to be, one a line, and all else as it is."""
    wanted = {}
    for name in names:
        if name in configuration.parameters:
            alone = model_config_pb2.ModelConfig()
            alone.parameters[name].CopyFrom(configuration.parameters[name])
            wanted[name] = f"{_text(alone, as_one_line=True)}\n"
    kept = []
    for line in lines:
        there = _parameter_of(line)
        if there not in names:
            kept.append(line)
        elif there in wanted:
            other = wanted.pop(there)
            kept.append(line if _parsed(line) == _parsed(other) else other)
    return "".join([*kept, *wanted.values()])


def _parameter_of(line: str) -> str | None:
    """Return the name of the parameter that a line alone holds."""
    try:
        found = list(_parsed(line).parameters)
    except text_format.ParseError:
        return None
    return found[0] if len(found) == 1 else None


def _resize(configuration: Any, before: int, after: int) -> None:
    """Set the longest sequence, and make warm-up requests fit it: the longest stays the longest."""
    if MAX_LENGTH in configuration.parameters:
        configuration.parameters[MAX_LENGTH].string_value = str(after)
    for warmup in configuration.model_warmup:
        for tensor in warmup.inputs.values():
            if tensor.data_type == model_config_pb2.TYPE_INT32 and tensor.zero_data and len(tensor.dims) == 1:
                tensor.dims[0] = after if tensor.dims[0] == before else min(tensor.dims[0], after)


def _describe(configuration: Any, facts: Mapping[str, Any], names: Sequence[str] = FACTS) -> None:
    for name in names:
        if name in configuration.parameters:
            del configuration.parameters[name]
    for name, value in facts.items():
        if value is not None:
            configuration.parameters[name].string_value = value if isinstance(value, str) else json.dumps(value)
