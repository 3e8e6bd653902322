"""Fine-tunings of a tiny BERT that several files of tests look at: one a task, made once a run."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from filelock import FileLock

#: Options of every verb on tiny data, those of a training, and what a task needs beside them.
SIZES = ["--max-length", 40]
LEARN = ["--learning-rate", "3e-3", "--batch-size", 32, *SIZES]
FURTHER = {"qa": ["--doc-stride", 8]}
#: As few as learn it with any seed.
EPOCHS = {"classify": 14, "cola": 6, "qa": 2, "rerank": 12, "sts": 2}


def run(*arguments: object, code: int | tuple[int, ...] = 0) -> str:
    """Return what ``trident-train`` prints, in one line."""
    from trident_training.cli import app
    from typer.testing import CliRunner

    result = CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "200"})
    assert result.exit_code in ((code,) if isinstance(code, int) else code), result.output
    return " ".join(result.output.split())


def start(*arguments: str) -> BaseProcess:
    """Run ``trident-train`` in a process that can be killed.

    It is forked: a program of its own would load torch and transformers for longer than it trains.
    """
    process = multiprocessing.get_context("fork").Process(target=_train, args=(arguments,))
    process.start()
    return process


def _train(arguments: tuple[str, ...]) -> None:
    import torch
    from trident_training.cli import app

    # OpenMP's threads stayed with the parent, and whoever waited for them would wait for ever.
    torch.set_num_threads(1)
    app(arguments)


def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that all workers of a run share."""
    own = tmp_path_factory.getbasetemp()
    # A worker's own folder is in the run's.
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def fine_tune_once(task: str, model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return what ``finetune`` printed, and the best checkpoint; workers of one run wait for the one that trains."""
    output = run_folder(tmp_path_factory) / f"fine-tuned-{task}"
    printed = output.with_suffix(".txt")
    with FileLock(output.with_suffix(".lock")):
        if not printed.is_file():
            options = ["--model", model, "--data", data, "--output", output, "--epochs", EPOCHS[task]]
            printed.write_text(run("finetune", task, *options, *LEARN, *FURTHER.get(task, [])))
    return printed.read_text(), output / "best"
