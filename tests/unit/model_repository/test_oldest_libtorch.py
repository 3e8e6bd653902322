"""Built models run on the oldest libtorch supported, that of NVIDIA's release 24.10.

Its libtorch, 2.5.0a0, was cut between the releases 2.4 and 2.5 of PyTorch. What 2.4 has, it has; so built models are
held to the operators of 2.4.1, which stand beside this file as that release lists them.
"""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from trident_training.checkpoints.loading import load_encoder
from trident_training.export.encoders import packed_encoder

HERE = Path(__file__).resolve().parent
SERVED = HERE.parents[2] / "model_repository"
NETWORKS = sorted(SERVED.glob("*/1/model.pt"))
HEADER, FORMAT, *SCHEMAS = (HERE / "operators-2.4.txt").read_text().splitlines()
#: The language itself, not operators: every release that reads the file format knows them.
LANGUAGE = {
    "prim::Constant",
    "prim::ConstantChunk",
    "prim::GetAttr",
    "prim::If",
    "prim::ListConstruct",
    "prim::ListUnpack",
    "prim::Loop",
    "prim::NumToTensor",
    "prim::RaiseException",
    "prim::TupleConstruct",
    "prim::TupleUnpack",
    "prim::Uninitialized",
    "prim::tolist",
    "prim::unchecked_cast",
}


def key(schema) -> str:
    return f"{schema.name}.{schema.overload_name}" if schema.overload_name else schema.name


OLD = {key(schema): schema for schema in map(torch._C.parse_schema, SCHEMAS)}


def nodes(block):
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from nodes(inner)


def too_new(model) -> list[str]:
    """Return what of a model the old release does not know, each operator once."""
    found = set()
    for node in nodes(model.inlined_graph):
        if node.kind() in LANGUAGE:
            continue
        if node.schema() == "(no schema)":
            found.add(f"{node.kind()} is no operator of it")
            continue
        new = torch._C.parse_schema(node.schema())
        old = OLD.get(key(new))
        if old is None:
            found.add(f"{key(new)} is no operator of it")
            continue
        types = {argument.name: str(argument.type) for argument in old.arguments}
        for argument, value in zip(new.arguments, node.inputs(), strict=True):
            if argument.name in types:
                if types[argument.name] != str(argument.type):
                    found.add(f"{key(new)}'s {argument.name} is a {types[argument.name]} there, not {argument.type}")
            # An argument that keeps its default is not written into the file.
            elif not argument.has_default_value() or value.toIValue() != argument.default_value:
                found.add(f"{key(new)} has no {argument.name} there")
    return sorted(found)


@pytest.mark.parametrize("architecture", ["t5", "mt5", "umt5"])
@pytest.mark.parametrize("sample", [[], [torch.arange(5, 25)]], ids=["float32", "int8"])
def test_an_encoder_with_a_bias_on_distances_has_no_operator_that_is_newer(tiny_checkpoint, architecture, sample):
    traced = packed_encoder(load_encoder(tiny_checkpoint(architecture)), sample)
    assert too_new(torch.jit.freeze(torch.jit.script(traced.eval()))) == []


@pytest.fixture(params=NETWORKS, ids=[file.parents[1].name for file in NETWORKS])
def network(request) -> Path:
    return request.param


def test_there_is_a_built_network_to_look_at():
    assert {"cola_classifier", "qa_reader", "sts_encoder"} <= {file.parents[1].name for file in NETWORKS}


def test_every_operator_is_one_of_the_oldest_release(network):
    assert too_new(torch.jit.load(network)) == []


def test_the_file_format_is_one_that_the_oldest_release_reads(network):
    with zipfile.ZipFile(network) as archive:
        names = archive.namelist()
        (version,) = (archive.read(name) for name in names if re.fullmatch(r"[^/]+/(\.data/)?version", name))
        assert int(version) <= int(FORMAT.removeprefix("format "))
        # Only the format of mobile devices has bytecode with a version of its own.
        assert not any(name.endswith("bytecode.pkl") for name in names)


#: Names a Python that has torch 2.4 or 2.5 and NumPy, in an environment of its own: PyPI has only builds for CUDA of
#: these, of several gigabytes, which no test installs.
OLD_PYTHON = os.environ.get("TRIDENT_TEST_OLD_TORCH", "")
CALL = """
import json, sys, torch
found = []
for file in sys.argv[1:]:
    torch.manual_seed(0)
    module = torch.jit.load(file)
    lengths = torch.tensor([[8], [3], [40], [17]], dtype=torch.int32)
    ids = torch.randint(1000, 20000, [68], dtype=torch.int32)
    arguments = [ids, lengths]
    if len(module.forward.schema.arguments) > 3:
        arguments = [ids, torch.zeros_like(ids), lengths[:, 0].contiguous(), lengths, lengths, torch.ones_like(lengths)]
    with torch.inference_mode():
        answers = module(*arguments)
    answers = answers if isinstance(answers, tuple) else (answers,)
    found.append([each.tolist() for each in answers])
print(json.dumps([torch.__version__, found]))
"""


def answers_of(python: str, *networks: Path) -> tuple[str, list[list[torch.Tensor]]]:
    """Return torch's version, and what each network answers to the same texts; one process loads torch for all."""
    done = subprocess.run(
        [python, "-I", "-c", CALL, *networks], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    version, found = json.loads(done.stdout)
    return version, [[torch.tensor(each) for each in answers] for answers in found]


@pytest.mark.skipif(not OLD_PYTHON, reason="TRIDENT_TEST_OLD_TORCH names no Python with torch 2.4 or 2.5")
def test_the_old_release_itself_answers_alike(network):
    version, (old,) = answers_of(OLD_PYTHON, network)
    assert re.match(r"2\.[45]\.", version)
    _, (new,) = answers_of(sys.executable, network)
    # Logits are of some ten. In float32 they agree to five digits; in int8 what is rounded may be rounded otherwise.
    dtype = json.loads(network.with_name("export.json").read_text())["dtype"]
    tolerance = {"bfloat16": 0.3, "int8": 0.03, "float32": 1e-4}[dtype]
    for one, other in zip(old, new, strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=0)


def test_the_call_that_both_releases_are_compared_by_answers():
    # One of each signature: of two arguments, and of six.
    networks = [SERVED / name / "1" / "model.pt" for name in ("qa_reader", "sts_encoder")]
    _, found = answers_of(sys.executable, *networks)
    assert [[len(each) for each in answers] for answers in found] == [[68, 68], [4, 4]]
    assert all(each.isfinite().all() for answers in found for each in answers)


def test_the_list_is_that_of_the_release_it_is_named_for():
    assert HEADER.startswith("# torch 2.4.1:")
    assert len(OLD) > 2000


class Newer(torch.nn.Module):
    def forward(self, query: torch.Tensor):
        return torch.nn.functional.scaled_dot_product_attention(query, query, query, enable_gqa=True)


class Older(torch.nn.Module):
    def forward(self, query: torch.Tensor):
        return torch.nn.functional.scaled_dot_product_attention(query, query, query)


def test_an_argument_or_an_operator_too_new_is_found():
    assert too_new(torch.jit.script(Newer())) == ["aten::scaled_dot_product_attention has no enable_gqa there"]
    assert too_new(torch.jit.script(Older())) == []
    (word,) = too_new(torch.jit.trace(lambda x: torch.ops.aten._safe_softmax(x, 0), torch.ones(2)))
    assert word == "aten::_safe_softmax is no operator of it"
