"""One export from end to end: trace, compare, and install the result or refuse to."""

from __future__ import annotations

import copy
import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from trident_training.checkpoints.positions import NO_LIMIT, most_tokens
from trident_training.checkpoints.precision import Precision
from trident_training.export import calibration
from trident_training.export.calibration import sample
from trident_training.export.encoders import TracedEncoder, packed_encoder, padded_encoder
from trident_training.export.heads import Head
from trident_training.export.parity import Parity, ParityError, Tolerance, compare, sample_batches, split, tokens
from trident_training.export.speed import LENGTHS, Speed, measure
from trident_training.repository import ModelSet

#: What a network answers, beside it: `trident-serve promote` asks for it before it serves the network.
CHECK = "check.json"
#: Sequences that stand there.
CHECKED = 8
#: What random tokens are held to where few bits move their answers more than those to text: there is no NaN, and most
#: answers are what they were.
ON_RANDOM_TOKENS = Tolerance(difference=math.inf, cosine=-1.0, mean_cosine=0.95)


class Trace(Protocol):
    """Traces an encoder, its linear layers in int8 if it is given a sample of what they will read."""

    def __call__(self, encoder: PreTrainedModel, sample: Sequence[torch.Tensor] = ()) -> TracedEncoder:
        """Return the traced encoder."""


@dataclass(frozen=True)
class Export:
    """An exported model that passed its comparison.

    Attributes:
        module: frozen TorchScript.
        width: last dimension of its output.
        precision: what it computes in.
        padded_because: why it computes padding; None for a packed model.
        refused: what was tried before it, and why that is not taken; None where nothing was.
        parity: the comparison with the plain model, on random tokens.
        parity_on_text: the same on texts, by which all but float32 is judged; None where there is no tokenizer.
        tolerance: what the one or the other was held to.
        speed: how fast it is on this machine.
        checks: a few of the sequences that were compared, as Triton is asked for them, and what the export answered.
    """

    module: torch.jit.ScriptModule
    width: int
    precision: Precision
    padded_because: str | None
    refused: str | None
    parity: Parity
    parity_on_text: Parity | None
    tolerance: Tolerance
    speed: Speed
    checks: Sequence[Mapping[str, Any]] = ()

    def report(self) -> dict[str, Any]:
        """Return the findings in the form that stands beside the model."""
        return {
            "dtype": self.precision.value,
            "width": self.width,
            "packed": self.padded_because is None,
            "padded_because": self.padded_because,
            "refused": self.refused,
            "parity": self.parity.as_dict(),
            "parity_on_text": self.parity_on_text.as_dict() if self.parity_on_text else None,
            "tolerance": asdict(self.tolerance),
            "speed": self.speed.as_dict(),
        }


def export(
    head: Head,
    precision: Precision,
    max_tokens: int,
    *,
    then: Sequence[Precision] = (),
    tokenizer: str | None = None,
    languages: Sequence[str] = (),
) -> Export:
    """Export an encoder with a task's head on it.

    Args:
        head: encoder and head.
        precision: a resolved one, not ``auto``.
        max_tokens: longest sequence that will be served.
        then: what is taken in its place, one after the other, where it is not close enough to the plain model.
        tokenizer: the encoder's, in the Rust library's form: by it int8 is fitted to text, and all but float32
            judged by other texts; by random tokens without.
        languages: BCP 47 tags of those texts'; all where there are none.

    Raises:
        ParityError: the export answers differently from the plain model, whatever it computes in.
        ValueError: the encoder has no positions for ``max_tokens``.
    """
    if max_tokens > most_tokens(head.encoder):
        raise ValueError(f"the encoder takes {most_tokens(head.encoder)} tokens, and max_length asks for {max_tokens}")
    batches = _sample(head, max_tokens)
    traced: torch.jit.ScriptModule | None
    trace, reason, traced = _choose_layout(head, max_tokens)
    if precision is not Precision.FLOAT32:
        # What will hardly be taken need not be held beside what is.
        traced = None
    reasons: list[str] = []
    while True:
        module = _script(head, trace, precision, max_tokens, tokenizer) if traced is None else traced
        tolerance = head.tolerances[precision]
        texts: list[torch.Tensor] = []
        if tokenizer is not None and precision is not Precision.FLOAT32:
            texts = calibration.texts(tokenizer, head.encoder, languages, head.texts)
        parity = _compare(module, head, batches)
        parity_on_text = _compare(module, head, [texts]) if texts else None
        try:
            parity.check(ON_RANDOM_TOKENS if parity_on_text else tolerance)
            if parity_on_text:
                parity_on_text.check(tolerance)
        except ParityError as error:
            if len(reasons) == len(then):
                raise
            reasons.append(f"{precision.value} is refused: {error}")
            precision = then[len(reasons) - 1]
        else:
            checks = _checks(module, head, [batch[0] for batch in batches[-CHECKED:]])
            single = [split(each)[0] for batch in batches for each in batch]
            by_length = {len(each): each for each in single}
            # The shortest models have no sequence of these lengths.
            sentences = [by_length[length] for length in LENGTHS if length in by_length] or single[-len(batches[-1]) :]
            speed = measure(functools.partial(head.call, module), sentences)
            refused = "; ".join(reasons) or None
            return Export(
                module, head.width, precision, reason, refused, parity, parity_on_text, tolerance, speed, checks
            )


def write(export: Export, texts: Mapping[Path, str], draft: ModelSet, facts: Mapping[str, Any]) -> None:
    """Write the model, what goes with it, and the report.

    Args:
        export: what to write.
        texts: the further files' contents, the tokenizer's above all.
        draft: where to; see :meth:`trident_training.repository.ModelSet.drafting`.
        facts: further entries of the report.
    """
    output, network = draft.spec.network_output, draft.network_file
    checks = json.dumps([{**each, "output": output} for each in export.checks])
    for file in (network, *texts):
        file.parent.mkdir(parents=True, exist_ok=True)
    export.module.save(str(network))
    report = json.dumps({**facts, **export.report(), "model_bytes": network.stat().st_size}, indent=2) + "\n"
    for file, text in {**texts, network.with_name(CHECK): checks, draft.report_file: report}.items():
        file.write_text(text)


def _sample(head: Head, max_tokens: int) -> list[list[torch.Tensor]]:
    """Return batches of random sequences, of pairs where the head reads pairs."""
    config = head.encoder.config
    return sample_batches(config.vocab_size, config.pad_token_id, max_tokens, pairs=2 in head.texts)


def _choose_layout(head: Head, max_tokens: int) -> tuple[Trace, str | None, torch.jit.ScriptModule]:
    """Return how to trace this encoder, why padding is computed where it is, and what it is in float32.

    In float32 it answers as the plain model does, or is refused: what it does with a pair may be wrong by less than few
    bits may be off.

    Raises:
        ParityError: padded, too, it answers differently.
    """
    try:
        module = _script(head, packed_encoder, Precision.FLOAT32, max_tokens)
        _try(module, head, max_tokens)
    # Whatever an unforeseen architecture trips over on a packed row, padding still serves it.
    except Exception as error:
        reason = str(error).strip().rpartition("\n")[2] or type(error).__name__
    else:
        return packed_encoder, None, module
    module = _script(head, padded_encoder, Precision.FLOAT32, max_tokens)
    _try(module, head, max_tokens)
    return padded_encoder, reason, module


def _try(module: torch.jit.ScriptModule, head: Head, max_tokens: int) -> None:
    """Refuse what in float32 differs from the plain model, in anything that it answers."""
    for each in (head, *head.further):
        batches = _sample(each, max_tokens)
        # A sliding window changes nothing in a sequence that it takes in whole: the longest is among them.
        trial = [max((sequence for batch in batches for sequence in batch), key=tokens), *batches[-1]]
        _compare(module, each, [trial]).check(each.tolerances[Precision.FLOAT32])


def _script(
    head: Head, trace: Trace, precision: Precision, max_tokens: int, tokenizer: str | None = None
) -> torch.jit.ScriptModule:
    if precision is Precision.INT8:
        traced = trace(head.encoder, sample(tokenizer, head.encoder))
    elif precision is Precision.FLOAT32:
        traced = trace(head.encoder)
    else:
        traced = trace(copy.deepcopy(head.encoder).to(getattr(torch, precision.value)))
    if traced.positions == NO_LIMIT:
        # Anybody may ask the model directly, and attention over a text of any length takes any amount of memory.
        traced.positions = max_tokens
    module: torch.jit.ScriptModule = torch.jit.freeze(torch.jit.script(head.entry(traced).eval()))
    return module


def _compare(module: torch.jit.ScriptModule, head: Head, batches: list[list[torch.Tensor]]) -> Parity:
    return compare(lambda batch: head.call(module, batch), head.plain, batches)


def _checks(module: torch.jit.ScriptModule, head: Head, sequences: Sequence[torch.Tensor]) -> list[dict[str, Any]]:
    """Return sequences as Triton is asked for them, and what the export answers to each alone."""
    checks = []
    for ids in sequences:
        with torch.inference_mode():
            inputs, answer = head.as_asked(ids, head.call(module, [ids]))
        tensors = [
            {"name": name, "shape": [1, len(each)], "datatype": "INT32", "data": each.tolist()}
            for name, each in inputs.items()
        ]
        checks.append({"inputs": tensors, "values": [round(each, 6) for each in answer.flatten().tolist()]})
    return checks
