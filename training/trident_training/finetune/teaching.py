"""A teacher's answers, computed once and kept on disk where that can be, and the loss that asks a student for them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from trident_training.checkpoints.precision import Precision, resolve
from trident_training.checkpoints.wheels import CacheSettings
from trident_training.finetune.folder import NoRoomError, is_for_want_of_room

#: Inputs whose answers make one file.
CHUNK = 1024
#: Bytes from which such a file is left on the disk until it is needed; each one holds a file descriptor then.
LARGE = 1 << 20

#: Between two lines on how far a teacher is, where there is no terminal to draw a bar on.
REPORT_SECONDS = 10.0


class Teacher:
    """A model that answers each input once: what it answered before is read from the cache.

    It computes in bfloat16 where the processor multiplies it in hardware, as a fine-tuning does.

    Args:
        model: the network.
        tokenizer: its own.
        reading: what else decides its answers, such as the tokens that a text is cut to.

    Attributes:
        digest: SHA-256 of weights, tokenizer and reading: two teachers of one digest answer alike.
    """

    def __init__(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, *reading: object) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self._dtype = torch.bfloat16 if resolve(Precision.PORTABLE) is Precision.BFLOAT16 else torch.float32
        total = hashlib.sha256(repr((tokenizer.backend_tokenizer.to_str(), str(self._dtype), reading)).encode())
        for name, tensor in model.state_dict().items():
            total.update(name.encode())
            total.update(tensor.contiguous().view(-1).view(torch.uint8).numpy())
        self.digest = total.hexdigest()

    def answers(
        self, inputs: Sequence[Any], answer: Callable[[Sequence[Any]], npt.NDArray[Any]]
    ) -> list[npt.NDArray[Any]]:
        """Return the answers to inputs, and show how far the teacher is.

        A run that is broken off goes on at the inputs that have no answer yet. Where the cache cannot be written, which
        is said, the answers are this run's alone.

        Args:
            inputs: texts, or whatever JSON can tell from one another.
            answer: makes answers, an array ``[n, ...]``, of some of the inputs.

        Raises:
            NoRoomError: the cache's disk is full.
        """
        folder = CacheSettings().cache_dir.expanduser() / "teachers" / self.digest[:16]
        console = Console(stderr=True)
        found: list[npt.NDArray[Any]] = []
        keeps, reported = True, time.monotonic()
        starts, drawn = range(0, len(inputs), CHUNK), console.is_terminal
        for start in track(starts, "The teacher answers", console=console, transient=True, disable=not drawn):
            part = inputs[start : start + CHUNK]
            file = folder / f"{hashlib.sha256(json.dumps(part).encode()).hexdigest()[:32]}.npy"
            made = _kept(file)
            if made is None:
                with torch.autocast("cpu", self._dtype, self._dtype != torch.float32):
                    made = answer(part)
                try:
                    made = _keep(made, file) if keeps else made
                except OSError as error:
                    if is_for_want_of_room(error):
                        raise NoRoomError(
                            f"there is no room left to write the teacher's answers in {folder}; make some, or choose "
                            "another folder with TRIDENT_CACHE_DIR"
                        ) from error
                    keeps = False
                    console.print(
                        f"The teacher's answers are not kept: {folder}: {error.strerror or error}. TRIDENT_CACHE_DIR "
                        "names another folder.",
                        soft_wrap=True,
                        markup=False,
                        highlight=False,
                    )
            found.extend(made)
            if not drawn and time.monotonic() - reported >= REPORT_SECONDS:
                reported = time.monotonic()
                console.print(f"The teacher answered {len(found):,} of {len(inputs):,}", soft_wrap=True)
        return found


def _kept(file: Path) -> npt.NDArray[Any] | None:
    """Return answers that were kept; None where there are none, or they cannot be read."""
    try:
        kept: npt.NDArray[Any] = np.load(file, mmap_mode="r" if file.stat().st_size > LARGE else None)
    except (OSError, EOFError, ValueError):
        return None
    return kept


def _keep(answers: npt.NDArray[Any], file: Path) -> npt.NDArray[Any]:
    """Write answers, and return them as they are read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not there: another run may read it, and this one may end at any time.
    draft = file.with_suffix(f".{os.getpid()}")
    try:
        with draft.open("wb") as out:
            np.save(out, answers)
        draft.rename(file)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    kept = _kept(file)
    return answers if kept is None else kept


def taught(
    collator: Callable[[list[dict[str, Any]]], dict[str, Any]], answers: Sequence[npt.NDArray[Any]] | npt.NDArray[Any]
) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
    """Return a collator that gives a batch its teacher's answers as ``teacher``, float32 ``[n, ...]``.

    Args:
        collator: of rows without a teacher.
        answers: all of one shape; a row's ``teacher`` is the index of its own, and -1, which becomes NaN, of none.
    """
    none = np.full_like(answers[0], np.nan)

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        places = [row["teacher"] for row in rows if "teacher" in row]
        batch = collator([{name: value for name, value in row.items() if name != "teacher"} for row in rows])
        # An evaluation's rows have no such column.
        if not places:
            return batch
        chosen = np.stack([none if place < 0 else answers[place] for place in places])
        return batch | {"teacher": torch.from_numpy(chosen).float()}

    return collate


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return how far a student's distribution is from its teacher's, ``[...]``: the divergence at a temperature.

    It is scaled by the temperature's square, so that its gradients stay as large as those of the labels' loss.

    Source: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network (2015), section 2; DistilBERT's and
    TinyBERT's loss of predictions.

    Args:
        student: logits ``[..., classes]``.
        teacher: the same.
        temperature: divides both.
    """
    wanted = nn.functional.log_softmax(teacher.float() / temperature, dim=-1)
    found = nn.functional.log_softmax(student.float() / temperature, dim=-1)
    return nn.functional.kl_div(found, wanted, reduction="none", log_target=True).sum(-1) * temperature**2
