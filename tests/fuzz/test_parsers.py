"""What reads other people's files refuses what it cannot read in its own words, and falls over nothing."""

import contextlib
import gzip
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fastapi.testclient import TestClient
from fuzzing import looking, nearly
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from trident_api import files
from trident_api.app import create_app
from trident_api.problems import InvalidRequestError
from trident_api.settings import ApiSettings
from trident_bench import repository as bench_repository
from trident_bench.errors import BenchError
from trident_client import AsyncFakeTransport, AsyncTridentClient
from trident_client.cli import readers
from trident_client.cli.failures import UsageError
from trident_client.contract import TASKS
from trident_server.errors import RepositoryError as ServedRepositoryError
from trident_server.repository import check_repository
from trident_training.checkpoints.adapters import merge_adapter, save_adapter
from trident_training.checkpoints.errors import CheckpointError
from trident_training.data.form import Headerless
from trident_training.data.problems import DataError
from trident_training.data.reading import read_file
from trident_training.repository import ModelSet, RepositoryError
from trident_training.tasks.qa.calibration import Calibration
from trident_training.tasks.qa.forms import read_questions

ROWS = [{"sentence": "A man sings.", "label": 1}, {"sentence": 'He said "no", twice.\n', "label": 0}]
PAIRS = [{"idx": 1, "sentence1": "a", "sentence2": "b"}, {"idx": "x", "sentence1": "고양이", "sentence2": 'c "d", e'}]
QUESTIONS = [
    {"id": "1", "question": "Who?", "context": "Mary sings.", "answers": {"text": ["Mary"], "answer_start": [0]}},
    {"id": "2", "question": "Why?", "context": "Mary sings.", "is_impossible": True},
]
ARTICLES = {"data": [{"title": "t", "paragraphs": [{"context": each["context"], "qas": [each]} for each in QUESTIONS]}]}
CONFIGURATIONS = [each.read_bytes() for each in Path("model_repository").glob("*/config.pbtxt")]
CALIBRATION = b'{"temperature": 1.2, "length_penalty": 0.02, "may_be_unanswerable": true, "no_answer_threshold": 0.5}'
FORM = (
    b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.csv"\r\ncontent-type: text/csv\r\n\r\n'
    b"idx,sentence1,sentence2\r\n1,a,b\r\n\r\n--x\r\n"
    b'content-disposition: form-data; name="model"\r\n\r\nsts\r\n--x--\r\n'
)


def lines(rows):
    return b"\n".join(json.dumps(row).encode() for row in rows)


def table(rows, separator=b","):
    quoted = [[json.dumps(str(cell)).replace("\\", "").encode() for cell in row.values()] for row in rows]
    header = separator.join(name.encode() for name in rows[0])
    return b"\r\n".join([header, *(separator.join(cells) for cells in quoted)])


def parquet(rows):
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{key: str(value) for key, value in row.items()} for row in rows]), buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")

    def write(name, content):
        (folder / name).write_bytes(content)
        return folder / name

    return write


READ = {
    "csv": table(ROWS),
    "tsv": table(ROWS, b"\t"),
    "jsonl": lines(ROWS),
    "json": json.dumps(ROWS).encode(),
    "parquet": parquet(ROWS),
}


@pytest.mark.parametrize("kind", READ)
def test_the_command_lines_readers(kind, write):
    @looking(60)
    @given(nearly([READ[kind], json.dumps({"results": ROWS}).encode()]))
    def reads(content):
        with contextlib.suppress(UsageError):
            source = readers.open_source(write(f"in.{kind}", content), None, ["sentence"])
            for row in source:
                assert row.number >= 1
            source.close()

    reads()


@looking(150)
@given(
    nearly([table(PAIRS), lines(PAIRS), json.dumps({"results": PAIRS}).encode()]),
    st.sampled_from(["a.csv", "a.json", "a.jsonl", "a", "", None]),
    st.sampled_from(["text/csv", "application/json", "x", "", None]),
)
def test_uploaded_files(content, name, media_type):
    with contextlib.suppress(InvalidRequestError):
        pairs, where = files.read_pairs(name, media_type, content)
        for place, pair in enumerate(pairs):
            assert where(place)
            assert pair.sentence1.strip()
            assert pair.sentence2.strip()


@pytest.mark.parametrize(("ending", "examples"), [("csv", 60), ("tsv", 60), ("jsonl", 4), ("json", 4), ("parquet", 4)])
def test_files_to_learn_from(ending, examples, write):
    columns = ("sentence", "label")
    headerless = Headerless(columns, "the columns sentence and label", lambda rows: rows[0][-1].isdigit())

    @looking(examples)
    @given(nearly([READ[ending]]))
    def reads(content):
        with contextlib.suppress(DataError):
            assert len(read_file(write(f"train.{ending}", content), columns, headerless))

    reads()


@pytest.mark.parametrize("ending", ["json", "jsonl", "parquet"])
def test_questions_to_learn_from(ending, write):
    right = {"json": json.dumps(ARTICLES).encode(), "jsonl": lines(QUESTIONS), "parquet": parquet(QUESTIONS)}[ending]

    @looking(100)
    @given(nearly([right]))
    def reads(content):
        with contextlib.suppress(DataError):
            for each in read_questions(write(f"train.{ending}", content)):
                assert len(each["answers"]["text"]) == len(each["answers"]["answer_start"])

    reads()


@looking(100)
@given(content=nearly(CONFIGURATIONS))
def test_configurations(content, write):
    file = write("config.pbtxt", content)
    folder = file.parent / "models" / "sts"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_bytes(content)
    with contextlib.suppress(BenchError):
        bench_repository.configuration(folder.parent, "sts")
    with contextlib.suppress(RepositoryError):
        ModelSet(folder.parent, TASKS["sts"], "sts").parameters("")
    with contextlib.suppress(ServedRepositoryError):
        check_repository(folder.parent)


@looking(100)
@given(content=nearly([CALIBRATION]))
def test_calibrations(content, write):
    with contextlib.suppress(ValueError):
        assert Calibration.read(write("calibration.json", content).parent).temperature > 0


def test_adapters(tiny_checkpoint, tmp_path):
    base = tiny_checkpoint("bert")
    adapter = tmp_path / "adapter"
    save_adapter(base, str(base), adapter, {})
    weights = {"encoder.layer.0.output.dense.bias": torch.zeros(32), "other": torch.zeros(2)}
    right = [(adapter / "adapter.safetensors").read_bytes(), save({name: weights[name] for name in list(weights)[:1]})]

    @looking(6)
    @given(nearly([*right, save(weights)]))
    def merges(content):
        (adapter / "adapter.safetensors").write_bytes(content)
        with contextlib.suppress(CheckpointError):
            merge_adapter(adapter, str(base))

    merges()


@pytest.fixture(scope="module")
def facade():
    def similar(request):
        zeros = np.zeros((len(request.inputs["SENTENCE_1"]), 1), np.int32)
        return {"SIMILARITY": zeros.astype(np.float32), "TRUNCATED_TOKENS_1": zeros, "TRUNCATED_TOKENS_2": zeros}

    configurations = {"sts": {"parameters": {"task": {"string_value": "sts"}}}}
    transport = AsyncFakeTransport(similar, configurations=configurations)
    app = create_app(ApiSettings(), lambda settings: AsyncTridentClient(transport=transport))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("squeeze", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_forms(facade, squeeze):
    headers = {"content-encoding": "gzip"} if squeeze is gzip.compress else {}

    @looking(60)
    @given(nearly([FORM]), st.sampled_from(["multipart/form-data; boundary=x", "multipart/form-data", "text/csv"]))
    def reads(content, content_type):
        answer = facade.post("/pred/file", content=squeeze(content), headers=headers | {"content-type": content_type})
        assert answer.status_code in {200, 422}, answer.text
        assert facade.post(
            "/pred/file", content=FORM, headers={"content-type": "multipart/form-data; boundary=x"}
        ).json()["sentences"] == [["a", "b"]]

    reads()


def test_compressed_bodies(facade):
    @looking(60)
    @given(nearly([gzip.compress(FORM, mtime=0)]))
    def reads(content):
        headers = {"content-encoding": "gzip", "content-type": "multipart/form-data; boundary=x"}
        assert facade.post("/pred/file", content=content, headers=headers).status_code in {200, 422}

    reads()
