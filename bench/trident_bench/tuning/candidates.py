"""What is tried: derived from the machine's cores and memory, and from how a model is configured.

========================  ==============================================================================================
layouts (networks)        1, 2, 4, ... instances up to the cores, each with its whole share of the cores as threads
                          inside an operation, and with half of it (cores left to tokenizers and front end). Instances
                          times threads never exceed the cores, and the instances fit in half of the machine's memory.
instances (Python models) 1, 2, 4, 8, as far as there are cores: each is a process with one thread.
queue delay               0, 100, 500, 1,000, 2,000 and 5,000 microseconds, where requests are joined.
preferred batch           none, 4, 8, 16, 32: a batch of that size is not made to wait, and does not grow further.
largest batch             as configured, twice and four times that: an ensemble's own limit and warm-up must fit in.
========================  ==============================================================================================

Each model is kept within the cores by itself: the models of an ensemble work in turn, and share them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from trident_bench.errors import BenchError

THREADS = "INTRA_OP_THREAD_COUNT"
DELAYS = (0, 100, 500, 1_000, 2_000, 5_000)
PREFERRED = (0, 4, 8, 16, 32)
GROWTH = (1, 2, 4)
MOST_PYTHON_INSTANCES = 8
#: What one more process with torch and a network takes: torch itself, and the weights as they are and prepared.
PROCESS_BYTES = 400_000_000
WEIGHT_COPIES = 3


@dataclass(frozen=True)
class Choice:
    """How one model is run.

    Attributes:
        instances: of the model.
        threads: inside an operation, of a network's instance; None for a Python model.
        delay: microseconds that a batch waits for more requests; None where requests are not joined.
        preferred: size of batch that waits no longer; 0 for none, None where it is not searched.
        largest: most items of a batch.
    """

    instances: int
    threads: int | None
    delay: int | None
    preferred: int | None
    largest: int


#: What may be chosen for one model, by dimension; the first of each is as configured.
Candidates = Mapping[str, tuple[Any, ...]]


def layouts(cores: int, most_instances: int) -> list[tuple[int, int]]:
    """Return instances and threads of a network; their product is at most the cores.

    >>> layouts(2, 2)
    [(1, 1), (1, 2), (2, 1)]
    """
    found = set()
    for instances in _powers(min(cores, most_instances)):
        share = cores // instances
        found |= {(instances, share), (instances, max(1, share // 2))}
    return sorted(found)


def most_instances(weights: int, memory: int) -> int:
    """Return how many instances of a network with so many bytes of weights half of the memory holds; 1 at least."""
    return max(1, memory // 2 // (PROCESS_BYTES + WEIGHT_COPIES * weights))


def candidates(configuration: ModelConfig, cores: int, weights: int, memory: int) -> Candidates:
    """Derive what is tried of one model.

    Args:
        configuration: as it is served without a name.
        cores: that the server may use.
        weights: bytes of its network; 0 for a Python model.
        memory: of the machine, in bytes.

    Raises:
        BenchError: the model is not one that runs on the processor.
    """
    default = as_configured(configuration, cores)
    network, joins = default.threads is not None, default.delay is not None
    found: list[tuple[int, int | None]] = (
        [*layouts(cores, most_instances(weights, memory))]
        if network
        else [(count, None) for count in _powers(min(cores, MOST_PYTHON_INSTANCES))]
    )
    return {
        "layout": _default_first((default.instances, default.threads), found),
        "delay": _default_first(default.delay, DELAYS if joins else ()),
        "preferred": _default_first(default.preferred, PREFERRED if joins and network else ()),
        "largest": tuple(default.largest * each for each in (GROWTH if joins and network else (1,))),
    }


def choice(picked: Mapping[str, Any]) -> Choice:
    """Return the choice of one candidate of each dimension."""
    instances, threads = picked["layout"]
    return Choice(instances, threads, picked["delay"], picked["preferred"], picked["largest"])


def as_configured(configuration: ModelConfig, cores: int) -> Choice:
    """Return the choice that a configuration stands for.

    Raises:
        BenchError: its instances are not all on the processor.
    """
    groups = configuration.instance_group
    if len(groups) != 1 or groups[0].kind != ModelInstanceGroup.KIND_CPU:
        raise BenchError("Only models with one instance group of KIND_CPU are tuned.")
    instances = max(1, groups[0].count)
    network = configuration.backend == "pytorch"
    threads = configuration.parameters[THREADS].string_value if THREADS in configuration.parameters else ""
    joins = configuration.HasField("dynamic_batching")
    batching = configuration.dynamic_batching
    return Choice(
        instances=instances,
        # As the backend shares the cores out where its configuration says nothing.
        threads=(int(threads) if threads else max(1, cores // instances)) if network else None,
        delay=int(batching.max_queue_delay_microseconds) if joins else None,
        preferred=(batching.preferred_batch_size[0] if batching.preferred_batch_size else 0)
        if joins and network
        else None,
        largest=configuration.max_batch_size,
    )


def apply(configuration: ModelConfig, choice: Choice, default: Choice) -> ModelConfig:
    """Return the configuration changed where the choice differs from the default, and nowhere else."""
    made = ModelConfig()
    made.CopyFrom(configuration)
    if (choice.instances, choice.threads) != (default.instances, default.threads):
        made.instance_group[0].count = choice.instances
        if choice.threads is not None:
            made.parameters[THREADS].string_value = str(choice.threads)
    if choice.delay is not None and choice.delay != default.delay:
        made.dynamic_batching.max_queue_delay_microseconds = choice.delay
    if choice.preferred is not None and choice.preferred != default.preferred:
        del made.dynamic_batching.preferred_batch_size[:]
        made.dynamic_batching.preferred_batch_size.extend([choice.preferred] if choice.preferred else [])
    made.max_batch_size = choice.largest
    return made


def describe(choices: Mapping[str, Choice], defaults: Mapping[str, Choice]) -> str:
    """Return in words what differs from the defaults."""
    found = []
    for model, each in choices.items():
        default = asdict(defaults[model])
        changed = [f"{name} {value}" for name, value in asdict(each).items() if value != default[name]]
        if changed:
            found.append(f"{model}: {', '.join(changed)}")
    return "; ".join(found) or "as configured"


def _powers(most: int) -> list[int]:
    return [1 << place for place in range(most.bit_length())]


def _default_first(default: Any, others: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys([default, *others]))
