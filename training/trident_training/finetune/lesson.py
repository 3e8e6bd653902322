"""Who teaches a student, and by what. Free of torch, so that asking costs nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from typer import Option


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Who teaches, by what, and how much it counts."""

    teacher: Annotated[str, Option(help="What the student learns from: path or hub name.")]
    text: Annotated[
        list[Path],
        Option(help="Unlabelled text to learn from beside the data; repeatable.", show_default=False),
    ] = field(default_factory=list)
    alpha: Annotated[float, Option(min=0, max=1, help="The teacher's share of the loss; the rest is the labels'.")] = (
        0.9
    )

    def facts(self, teacher: str, inputs: Sequence[Any]) -> dict[str, Any]:
        """Return what of a lesson must be the same for a run to go on.

        Args:
            teacher: its digest, wherever it lies.
            inputs: what it is asked, labelled and unlabelled.
        """
        taught = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
        kept = {name: value for name, value in asdict(self).items() if isinstance(value, float)}
        return {"teacher": teacher, "taught_data": taught} | kept


@dataclass(frozen=True, kw_only=True)
class LogitsLesson(Lesson):
    """The same where the answers are logits."""

    temperature: Annotated[
        float, Option(min=0.1, help="Divides the logits of both; what is softer tells more of the unlikely.")
    ] = 2.0
