"""NVIDIA's load generator, of tritonclient's wheel, with the random text that it makes by itself."""

import json
import subprocess
from functools import partial
from importlib.metadata import version
from pathlib import Path

from calling import CONTEXT, QUESTION, TRITON_GRPC, call, main
from trident_bench.load.perf_analyzer import BINARY, environment
from trident_client import contract
from trident_training.models import SHIPPED

VERSION = f"of tritonclient {version('tritonclient')}"
RANDOM = ["--string-length", "40"]


def measure(model: str, *data: str) -> None:
    command = [str(BINARY), "-m", model, "-i", "grpc", "-u", TRITON_GRPC, *data]
    limits = ["--measurement-mode", "count_windows", "--measurement-request-count", "20", "--max-trials", "3"]
    with environment() as variables:
        done = subprocess.run(
            [*command, *limits, "--stability-percentage", "999"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=variables,
            text=True,
            timeout=300,
        )
    if done.returncode or "infer/sec" not in done.stdout:
        raise ValueError(done.stdout[-1000:])


# It fills optional inputs as well, and its random numbers are none that TOP_K takes.
def ask_questions(model: str) -> None:
    numbers = {"TOP_K": [1], "MAX_ANSWER_TOKENS": [30], "NO_ANSWER": [1]}
    file = Path("questions.json")
    file.write_text(json.dumps({"data": [{"QUESTION": [QUESTION], "CONTEXT": [CONTEXT], **numbers}]}), "utf-8")
    measure(model, "--input-data", str(file))


for recipe in SHIPPED.values():
    for ensemble in recipe.task.spec.ensembles:
        name = ensemble.of(recipe.name)
        if recipe.task.spec is contract.QA:
            said = f"`perf_analyzer -m {name} --input-data questions.json`, which holds the optional numbers too"
            call("perf_analyzer", said, VERSION)(partial(ask_questions, name))
        else:
            said = f"`perf_analyzer -m {name} --string-length 40`"
            call("perf_analyzer", said, VERSION)(partial(measure, name, *RANDOM))


main()
