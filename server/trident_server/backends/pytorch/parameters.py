"""The ``parameters`` of ``config.pbtxt`` that this backend knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from trident_server.backends.pytorch.errors import ConfigurationError

WORDS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*")
LARGEST = 2**31 - 1
#: In place of a key: the C++ backend logs the line whether or not the parameter is given.
ALWAYS = ""


@dataclass(frozen=True)
class Parameters:
    """How the module is executed; unknown keys are ignored, as the C++ backend ignores them.

    Defaults differ from the C++ backend's in three places, none of which changes an answer: profiling is off, see
    :mod:`~trident_server.backends.pytorch.torchscript`, and threads are shared out, see
    :meth:`~trident_server.backends.pytorch.configuration.ModelConfiguration.threads`.

    Attributes:
        inference_mode: ``INFERENCE_MODE``: run under ``torch.inference_mode`` rather than ``torch.no_grad``.
        optimized_execution: not ``DISABLE_OPTIMIZED_EXECUTION``: let TorchScript optimise graphs at all.
        jit_executor: ``ENABLE_JIT_EXECUTOR``: use TorchScript's profiling executor.
        jit_profiling: ``ENABLE_JIT_PROFILING``: let that executor profile the first calls and optimise anew.
        tensor_fuser: ``ENABLE_TENSOR_FUSER``: TorchScript's tensor-expression fuser; None leaves torch's own default.
        intra_op_threads: ``INTRA_OP_THREAD_COUNT``: threads inside an operation; zero or less for the default.
        inter_op_threads: ``INTER_OP_THREAD_COUNT``: threads for operations side by side; zero or less for the default.
        cache_cleaning: ``ENABLE_CACHE_CLEANING``: give unused GPU memory back after every execution.
        cudnn: not ``DISABLE_CUDNN``.
        weight_sharing: ``ENABLE_WEIGHT_SHARING``: one module for all instances of the process. Those that have
            processes of their own hold their own weights.
        prepacking: not ``DISABLE_PREPACKING``, which is this backend's alone: bring bfloat16 weights into the
            processor's order at load. Without, answers are the C++ backend's to the bit.
        given: keys of the parameters that were given.
    """

    inference_mode: bool = True
    optimized_execution: bool = True
    jit_executor: bool = True
    jit_profiling: bool = False
    tensor_fuser: bool | None = None
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    cache_cleaning: bool = False
    cudnn: bool = True
    weight_sharing: bool = False
    prepacking: bool = True
    given: frozenset[str] = field(default=frozenset(), compare=False)

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> Parameters:
        """Read the parameters.

        Args:
            texts: each parameter's ``string_value`` by key.

        Raises:
            ConfigurationError: the value of a known key does not parse.
        """
        values = {field: parse(key, texts[key]) for key, (field, parse) in KNOWN.items() if key in texts}
        return cls(**values, given=frozenset(KNOWN.keys() & texts.keys()))  # type: ignore[arg-type]

    def lines(self, model: str) -> list[str]:
        """Return what the C++ backend logs of them, in its words and order."""
        flags = [
            ("Optimized execution is", self.optimized_execution, ALWAYS),
            ("Cache Cleaning is", self.cache_cleaning, ALWAYS),
            ("Inference Mode is", self.inference_mode, ALWAYS),
            ("cuDNN is", self.cudnn, ALWAYS),
            ("Tensor fuser is", self.tensor_fuser, "ENABLE_TENSOR_FUSER"),
            ("Weight sharing is", self.weight_sharing, "ENABLE_WEIGHT_SHARING"),
            ("Jit profiling is", self.jit_profiling, "ENABLE_JIT_PROFILING"),
            ("Jit executor is", self.jit_executor, "ENABLE_JIT_EXECUTOR"),
        ]
        counts = [("Intra op", self.intra_op_threads), ("Inter op", self.inter_op_threads)]
        texts = [f"{what} {'enabled' if on else 'disabled'}" for what, on, key in flags if key in {ALWAYS, *self.given}]
        texts += [f"{what} thread count is set to {count}" for what, count in counts if count > 0]
        return [f"{text} for model instance '{model}'" for text in texts]


def _boolean(key: str, text: str) -> bool:
    if text.lower() not in WORDS:
        raise ConfigurationError(f"parameter '{key}' must be one of {', '.join(WORDS)}, got '{text}'")
    return WORDS[text.lower()]


def _negated(key: str, text: str) -> bool:
    return not _boolean(key, text)


def _integer(key: str, text: str) -> int:
    if not INTEGER.fullmatch(text) or abs(int(text)) > LARGEST:
        raise ConfigurationError(
            f"parameter '{key}' must be an integer of at most 32 bits, got '{text}', of which the C++ backend would "
            "take the digits in front"
        )
    return int(text)


KNOWN: Mapping[str, tuple[str, Callable[[str, str], bool | int]]] = {
    "INFERENCE_MODE": ("inference_mode", _boolean),
    "DISABLE_OPTIMIZED_EXECUTION": ("optimized_execution", _negated),
    "ENABLE_JIT_EXECUTOR": ("jit_executor", _boolean),
    "ENABLE_JIT_PROFILING": ("jit_profiling", _boolean),
    "ENABLE_TENSOR_FUSER": ("tensor_fuser", _boolean),
    "INTRA_OP_THREAD_COUNT": ("intra_op_threads", _integer),
    "INTER_OP_THREAD_COUNT": ("inter_op_threads", _integer),
    "ENABLE_CACHE_CLEANING": ("cache_cleaning", _boolean),
    "DISABLE_CUDNN": ("cudnn", _negated),
    "ENABLE_WEIGHT_SHARING": ("weight_sharing", _boolean),
    "DISABLE_PREPACKING": ("prepacking", _negated),
}
