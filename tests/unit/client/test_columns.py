"""Tasks over columns of Arrow, as the workers of Ray and Spark run them, over a fake transport."""

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trident_client import BadInputError, FakeTransport, Retry, TransportError
from trident_client._columns import PATIENCE
from trident_client.ray import Acceptability, Answer, Embed, Similarity

DIM = 3
NULL = [None, "  ", "refuse"]


def reply(request):
    """Answer with a hundredth of the first text's length; refuse the text ``refuse``."""
    texts = next(iter(request.inputs.values()))[:, 0]
    if b"refuse" in texts:
        raise BadInputError("TEXT is refused", request.model, server="a:1")
    if request.outputs[0] == "ANSWER":
        words = [text.split()[0] for text in request.inputs["CONTEXT"][:, 0]]
        column = np.array([[word] for word in words], dtype=np.object_)
        ends = np.array([[len(word)] for word in words], dtype=np.int32)
        return {"ANSWER": column, "SCORE": np.full(ends.shape, 0.5, np.float32), "START": ends * 0, "END": ends}
    values = np.array([[len(text) / 100] for text in texts], dtype=np.float32)
    return {request.outputs[0]: values.repeat(DIM, axis=1) if request.outputs[0] == "EMBEDDING" else values}


@pytest.fixture
def fake():
    return FakeTransport(reply)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()], ids=str)
def test_text_that_is_not_declared_as_text_is_read_and_carried_on_as_it_is(fake, kind):
    column = pa.array(["고양이", b"\xff\xd8", None], kind)
    found = Acceptability(transport=fake)(pa.table({"sentence": column}))
    assert found.column("probability").to_pylist() == [np.float32(0.09), None, None]
    assert found.column("error").to_pylist()[1] == "sentence must be str, got bytes"
    assert found.column("sentence").combine_chunks().equals(column)


@pytest.mark.parametrize(
    ("task", "names", "field"),
    [
        (Acceptability, ["sentence"], "probability"),
        (Similarity, ["sentence_1", "sentence_2"], "similarity"),
        (Embed, ["text"], "embedding"),
        (Answer, ["question", "context"], "answers"),
    ],
)
def test_a_bad_row_has_nulls_and_a_reason_and_the_others_their_answers(fake, task, names, field):
    texts = ["I am a boy.", *NULL, "Fine."]
    table = pa.table({"id": range(5), **dict.fromkeys(names, texts)})
    found = task(transport=fake)(table)
    assert found.column_names == ["id", *names, field, "error"]
    answers = found.column(field).to_pylist()
    assert [each is None for each in answers] == [False, True, True, True, False]
    errors = found.column("error").to_pylist()
    assert [each is None for each in errors] == [True, False, False, False, True]
    assert errors[1] == f"{names[0]} must be str, got NoneType"
    assert errors[2].startswith(f"{names[0]} is empty")
    assert "refused" in errors[3]
    expected = np.float32(0.11)
    assert (
        answers[0]
        == {
            "probability": expected,
            "similarity": expected,
            "embedding": [expected] * DIM,
            "answers": [{"answer": "I", "score": 0.5, "start": 0, "end": 1}],
        }[field]
    )


@pytest.mark.parametrize(
    ("task", "names"), [(Acceptability, ["sentence"]), (Similarity, ["sentence_1", "sentence_2"]), (Embed, ["text"])]
)
def test_a_text_that_is_too_long_loses_the_end_that_is_said(fake, task, names):
    task(transport=fake, truncate="left")(pa.table({each: ["Fine."] for each in names}))
    assert fake.requests[-1].inputs["TRUNCATE_LEFT"].tolist() == [[1]]


@pytest.mark.parametrize("texts", [["Fine.", None, "Good."], NULL, []])
def test_embeddings_are_of_one_type_whatever_a_batch_holds_and_parquet_gives_them_back(fake, texts, tmp_path):
    found = Embed(transport=fake)(pa.table({"text": pa.array(texts, pa.string())}))
    assert found.schema.field("embedding").type == pa.list_(pa.float32())
    found.validate(full=True)
    pq.write_table(found, tmp_path / "found.parquet")
    assert pq.read_table(tmp_path / "found.parquet").equals(found)
    lengths = [None if each is None else len(each) for each in found.column("embedding").to_pylist()]
    assert lengths == [DIM if text in ("Fine.", "Good.") else None for text in texts]


@pytest.mark.parametrize(
    ("form", "numbers", "kind"), [("int8", [127] * DIM, pa.int8()), ("ubinary", [224], pa.uint8())]
)
def test_embeddings_are_columns_of_the_format_that_is_asked_for(fake, form, numbers, kind):
    task = Embed(transport=fake, encoding_format=form)
    for texts, expected in ((["Fine.", None], [numbers, None]), ([None], [None])):
        column = task(pa.table({"text": pa.array(texts, pa.string())})).column("embedding")
        assert (column.to_pylist(), column.type) == (expected, pa.list_(kind))
    assert task.types == {"embedding": pa.list_(kind)}


def test_columns_of_other_names_are_read_and_keep_theirs(fake):
    table = pa.table({"said": ["Fine."], "error": ["before"], "probability": [7]})
    found = Acceptability(transport=fake, columns=["said"])(table)
    assert found.to_pylist() == [
        {
            "said": "Fine.",
            "error": "before",
            "probability": 7,
            "trident_probability": pytest.approx(0.05),
            "trident_error": None,
        }
    ]
    with pytest.raises(ValueError, match="columns must name 2: sentence_1, sentence_2"):
        Similarity(columns=["said"])
    with pytest.raises(TypeError, match="batch_format='pyarrow'"):
        Acceptability(transport=fake)({"sentence": ["Fine."]})


@pytest.mark.parametrize(
    "task", [Embed("a:1", prompt_name="query"), Similarity(["a:1", "b:2"]), Answer(top_k=3), Acceptability(model="x")]
)
def test_a_task_is_pickled_as_its_settings_and_a_process_has_one_client_of_them(task):
    twin = pickle.loads(pickle.dumps(task))
    assert vars(twin) == vars(task)
    assert twin.client is task.client


def test_a_task_pickles_without_the_client_that_it_made_and_makes_another_elsewhere():
    task = Similarity(["a:1", "b:2"])
    assert [each.url for each in task.client.servers()] == ["a:1", "b:2"]
    code = (
        "import pickle, sys; task = pickle.load(sys.stdin.buffer); "
        "print([each.url for each in task.client.servers()], task.client is task.client)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(task), capture_output=True, timeout=60)
    assert done.stdout.decode().strip() == "['a:1', 'b:2'] True", done.stderr


def test_a_batch_waits_for_a_server_that_is_away(fake):
    failures = iter([TransportError("away")] * 20)

    def infer(request):
        if error := next(failures, None):
            raise error
        return reply(request)

    table = pa.table({"sentence": ["Fine."]})
    impatient = Acceptability(transport=FakeTransport(infer), retry=Retry(attempts=2, first_wait=0))
    with pytest.raises(TransportError):
        impatient(table)
    patient = Acceptability(transport=FakeTransport(infer), retry=replace(PATIENCE["retry"], first_wait=0.0))
    assert patient(table).column("error").to_pylist() == [None]
