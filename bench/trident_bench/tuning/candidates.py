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

from collections.abc import Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Candidates:
    """What may be chosen for one model.

    Attributes:
        default: as it is configured.
        layouts: instances and threads.
        delays: microseconds.
        preferred: sizes.
        largest: sizes.
    """

    default: Choice
    layouts: tuple[tuple[int, int | None], ...]
    delays: tuple[int | None, ...]
    preferred: tuple[int | None, ...]
    largest: tuple[int, ...]


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
    network = default.threads is not None
    found: list[tuple[int, int | None]] = (
        [*layouts(cores, most_instances(weights, memory))]
        if network
        else [(count, None) for count in _powers(min(cores, MOST_PYTHON_INSTANCES))]
    )
    own = (default.instances, default.threads)
    joins = default.delay is not None
    return Candidates(
        default=default,
        layouts=tuple(found if own in found else [own, *found]),
        delays=_with(default.delay, DELAYS) if joins else (None,),
        preferred=_with(default.preferred, PREFERRED) if default.preferred is not None else (None,),
        largest=tuple(default.largest * each for each in GROWTH) if joins and network else (default.largest,),
    )


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
    told = configuration.parameters[THREADS].string_value if THREADS in configuration.parameters else ""
    joins = configuration.HasField("dynamic_batching")
    batching = configuration.dynamic_batching
    return Choice(
        instances=instances,
        # As the backend shares the cores out where it is told nothing.
        threads=(int(told) if told else max(1, cores // instances)) if network else None,
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


def words(choices: Mapping[str, Choice], defaults: Mapping[str, Choice]) -> str:
    """Say in what choices differ from the defaults."""
    told = []
    for model, choice in choices.items():
        default = defaults[model]
        parts = []
        if (choice.instances, choice.threads) != (default.instances, default.threads):
            threads = "" if choice.threads is None else f" of {choice.threads} thread{'s' * (choice.threads != 1)}"
            parts.append(f"{choice.instances} instance{'s' * (choice.instances != 1)}{threads}")
        if choice.delay != default.delay:
            parts.append(f"delay {choice.delay} µs")
        if choice.preferred != default.preferred:
            parts.append(f"preferred batch {choice.preferred or 'none'}")
        if choice.largest != default.largest:
            parts.append(f"batches up to {choice.largest}")
        if parts:
            told.append(f"{model}: {', '.join(parts)}")
    return "; ".join(told) or "as configured"


def _powers(most: int) -> list[int]:
    return [1 << place for place in range(most.bit_length())]


def _with(own: int | None, others: tuple[int, ...]) -> tuple[int, ...]:
    return others if own in others or own is None else (own, *others)
