"""Question answering as it is served, from Triton up to the facade."""

import json
import random
import re
import shutil
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from passages import FILLER, FOUNDED, ask_beside_long_passages
from tiny_variants import add_head
from trident_client import BadInputError, Request, Timeout, TridentClient, contract
from trident_training.cli import app
from trident_training.tasks.qa.calibration import Calibration
from trident_training.tasks.qa.scoring import CheckpointReader
from tritonclient.grpc import InferenceServerClient, InferInput
from typer.testing import CliRunner

pytestmark = pytest.mark.serving
#: Marks what is the reader's alone, and dear: over which protocol it is asked matters nothing.
ONE_PROTOCOL = pytest.mark.parametrize("client", ["grpc"], indirect=True)

SOURCE = Path(__file__).resolve().parents[2] / "model_repository"
DANUBE = "The Danube rises in the Black Forest and flows through ten countries into the Black Sea."
#: Written for this test: a context, a question and the answers that are right.
QUESTIONS = [
    (DANUBE, "Where does the Danube rise?", {"the Black Forest", "Black Forest", "in the Black Forest"}),
    (DANUBE, "How many countries does the Danube flow through?", {"ten", "ten countries"}),
    (FOUNDED, "Who founded the observatory?", {"Clara Whitmore"}),
    (FOUNDED, "When was the observatory founded?", {"1874", "in 1874"}),
    ("Ann sold her old bicycle to Peter for thirty dollars.", "Who bought the bicycle?", {"Peter"}),
    ("Ann sold her old bicycle to Peter for thirty dollars.", "How much did Peter pay?", {"thirty dollars"}),
    (
        "Water boils at 100 degrees Celsius at sea level.",
        "At what temperature does water boil?",
        {"100 degrees Celsius"},
    ),
    ("The committee meets on the first Monday of every month.", "When does the committee meet?", None),
]
ODD = (" ", "   ", "\t", "\r\n", "😀", "👩\u200d👧", "e\u0301", "고양이가", "\u1100\u1161\u11a8", "[SEP]")
ODD_TEXT = st.lists(
    st.one_of(st.sampled_from([*DANUBE.split(), *ODD]), st.characters(exclude_categories=["Cs"])),
    min_size=1,
    max_size=60,
).map(" ".join)
KOREAN_DANUBE = "다뉴브강은 독일의 검은 숲에서 시작하여 흑해로 흘러간다. 길이는 2,850km이고 열 나라를 지난다."
KOREAN_OBSERVATORY = "천문대는 1874년에 클라라 위트모어가 세웠으며, 지금은 부산 대학교가 운영하고 있다."
#: The same for the Korean reader; a particle may stay on what ends a word.
KOREAN_QUESTIONS = [
    (KOREAN_DANUBE, "다뉴브강은 어디에서 시작되는가?", {"독일의 검은 숲", "독일의 검은 숲에서", "검은 숲", "독일"}),
    (KOREAN_DANUBE, "다뉴브강의 길이는?", {"2,850km"}),
    (KOREAN_DANUBE, "다뉴브강은 어느 바다로 흘러가는가?", {"흑해", "흑해로"}),
    (KOREAN_OBSERVATORY, "천문대를 세운 사람은 누구인가?", {"클라라 위트모어", "클라라 위트모어가"}),
    (KOREAN_OBSERVATORY, "천문대는 언제 세워졌는가?", {"1874년", "1874년에"}),
    (KOREAN_OBSERVATORY, "천문대를 운영하는 곳은?", {"부산 대학교", "부산 대학교가"}),
]


def test_questions_are_answered(client):
    found = client.answer_many([(question, context) for context, question, _ in QUESTIONS])
    right = 0
    for (context, _, accepted), (answer,) in zip(QUESTIONS, found, strict=True):
        assert answer.answer == context[answer.start : answer.end]
        assert 0 < answer.score <= 1
        right += "Monday" in answer.answer if accepted is None else answer.answer in accepted
    assert right >= len(QUESTIONS) - 1, found


def test_what_the_passage_does_not_say_is_not_answered_unless_it_must_be(client):
    # Two of them may be about one passage, and no more.
    contexts = [context for context, _, _ in QUESTIONS]
    asked = [(question, contexts[place - 2]) for place, (_, question, _) in enumerate(QUESTIONS)]
    found = [answers[0] for answers in client.answer_many(asked)]
    declined = [answer for answer in found if (answer.answer, answer.start, answer.end) == ("", 0, 0)]
    assert len(declined) >= 0.8 * len(asked), found
    assert all(answer.score > 0.5 for answer in declined)
    for (_, context), (answer,) in zip(asked, client.answer_many(asked, no_answer=False), strict=True):
        assert answer.answer == context[answer.start : answer.end] != ""


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_the_korean_reader_answers_korean_composed_and_decomposed(client, form):
    right = 0
    for context, question, accepted in KOREAN_QUESTIONS:
        context = unicodedata.normalize(form, context)
        (answer,) = client.answer(unicodedata.normalize(form, question), context, model="qa_ko")
        assert answer.answer == context[answer.start : answer.end]
        right += unicodedata.normalize("NFC", answer.answer) in accepted
    assert right >= len(KOREAN_QUESTIONS) - 1


@ONE_PROTOCOL
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_server_is_scored_on_questions(triton, client, tmp_path, protocol):
    asked = [(question, context, min(accepted, key=len)) for context, question, accepted in KOREAN_QUESTIONS]
    found = client.answer_many([(question, context) for question, context, _ in asked], model="qa_ko")
    right = sum(answer.answer == said for (answer,), (*_, said) in zip(found, asked, strict=True))
    assert 0 < right < len(asked), "the score tells something"
    rows = []
    for question, context, said in asked:
        answers = {"text": [said], "answer_start": [context.index(said)]}
        rows.append({"id": question, "question": question, "context": context, "answers": answers})
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    url = triton.http_url if protocol == "http" else triton.grpc_url
    command = ["evaluate", "qa", "--server", url, "--protocol", protocol, "--model", "qa_ko"]
    done = CliRunner().invoke(app, [*command, "--data", str(tmp_path / "questions.jsonl")], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    (scores,) = (line.split("│")[2:-1] for line in done.output.splitlines() if line.startswith("│"))
    assert float(scores[1]) == pytest.approx(100 * right / len(asked), abs=0.01)


@pytest.mark.parametrize(
    ("client", "model", "question"),
    [("http", "qa", "Where does the Danube rise?"), ("grpc", "qa_ko", "한강은 어디에서 시작하는가?")],
    indirect=["client"],
)
@given(context=ODD_TEXT)
@settings(max_examples=60)
def test_answers_are_cut_out_of_any_text_to_the_character(client, model, question, context):
    try:
        answers = client.answer(question, context, model=model, top_k=5, no_answer=False)
    except BadInputError as error:
        # A text of spaces, or of what the tokenizer drops or does not know.
        assert re.search(r"contexts\[0\] is empty|CONTEXT has nothing|CONTEXT holds no text", str(error))  # noqa: PT017
        return
    assert answers
    for answer in answers:
        assert answer.answer == context[answer.start : answer.end]
        assert answer.answer.strip() == answer.answer != ""
    assert [answer.score for answer in answers] == sorted((answer.score for answer in answers), reverse=True)


def test_the_last_sentence_of_a_hundred_thousand_characters_is_read(triton):
    context = FILLER * (100_000 // len(FILLER)) + FOUNDED
    assert len(context) > 99_000
    with TridentClient(triton.grpc_url, protocol="grpc", timeout=Timeout(read=120)) as client:
        (answer,) = client.answer("Who founded the observatory?", context, model="qa_small")
    assert answer.answer == "Clara Whitmore"
    assert answer.start == context.index("Clara")


def test_a_passage_that_makes_too_many_windows_is_refused_with_the_limit(client):
    # 139 of a window's 256 tokens are the question's, and few are left for the passage.
    with pytest.raises(BadInputError, match=r"has \d{6} tokens; at most 65536 are accepted"):
        client.answer("Why " * 139 + "?", "!" * 20_000)
    assert client.answer("Who founded the observatory?", FOUNDED)[0].answer == "Clara Whitmore"


@ONE_PROTOCOL
def test_one_who_asks_the_reader_wrongly_changes_nobodys_answer(triton, client):
    """Whoever reaches Triton can ask its models directly."""

    def reads(windows, types):
        inputs = []
        for name, values in (("INPUT_IDS", range(1000, 1008)), ("TYPE_IDS", types), ("WINDOW_LENGTHS", windows)):
            tensor = InferInput(name, [1, len(values)], "INT32")
            tensor.set_data_from_numpy(np.array([values], np.int32))
            inputs.append(tensor)
        return server.infer("qa_reader", inputs).as_numpy("START_LOGITS")

    with InferenceServerClient(triton.grpc_url) as server:
        expected = reads([8], [0] * 8)
        assert np.isfinite(expected).all()
        unfit = [([4], [0] * 8), ([2**31 - 1], [0] * 8), ([-8, 16], [0] * 8), ([8], [0] * 5)]
        with ThreadPoolExecutor(16) as pool:
            bad = [pool.submit(reads, *each) for each in unfit * 40]
            good = [pool.submit(reads, [8], [0] * 8) for _ in range(160)]
            asked = client.answer("Who founded the observatory?", FOUNDED)
        assert all(np.isnan(each.result()).all() for each in bad)
        for each in good:
            np.testing.assert_allclose(each.result(), expected, atol=0.3)
    assert asked[0].answer == "Clara Whitmore"


def test_a_short_question_is_answered_before_two_long_passages(triton):
    if "in Triton's process" not in triton.log_file.read_text():
        pytest.skip("test_container_stand_in.py has a process for each instance, and two of the reader's")
    with TridentClient(triton.http_url, timeout=Timeout(read=120)) as client:
        # Each by itself is long enough to be read apart, and there are two threads for all others.
        assert ask_beside_long_passages(triton, client, 45_000, passages=2, model="qa_small") == ["Clara Whitmore"] * 3


def test_an_answer_is_found_wherever_windows_end(triton):
    # Of 256 tokens, less the question's: every place of the first border is tried.
    contexts = [f"{'Well, ' * words}{FOUNDED} {FILLER * 8}" for words in range(100, 130)]
    with TridentClient(triton.grpc_url, protocol="grpc", timeout=Timeout(read=120)) as client:
        found = client.answer_many([("Who founded the observatory?", each) for each in contexts], model="qa_small")
    assert [answers[0].answer for answers in found] == ["Clara Whitmore"] * len(contexts)


def test_many_questions_join_in_few_executions_and_are_answered_as_if_alone(triton):
    questions = [
        ("Who founded the observatory?", FILLER * (index % 7) + FOUNDED.replace("1874", str(1800 + index)))
        for index in range(96)
    ]
    with InferenceServerClient(triton.grpc_url) as statistics, TridentClient(triton.http_url) as client:

        def executions() -> int:
            found = statistics.get_inference_statistics("qa_reader", as_json=True)["model_stats"][0]
            return int(found.get("execution_count", 0))

        alone = [client.answer(*question)[0] for question in questions]
        before = executions()
        with ThreadPoolExecutor(len(questions)) as pool:
            together = list(pool.map(lambda question: client.answer(*question)[0], questions))
        assert executions() - before <= len(questions) // 3
    for one, other in zip(alone, together, strict=True):
        assert (one.answer, one.start, one.end) == (other.answer, other.start, other.end)
        # Where bfloat16 is served, sums of other orders round otherwise.
        assert one.score == pytest.approx(other.score, abs=0.05)


@pytest.mark.parametrize(
    ("question", "context", "says"),
    [
        ("", DANUBE, r"questions\[0\] is empty"),
        ("Who?", " \n", r"contexts\[0\] is empty"),
        ("why " * 300, DANUBE, "QUESTION has 300 tokens; at most 140 are accepted"),
        ("Who?", "\u200b\u200b", r"contexts\[0\] is empty"),
    ],
)
def test_what_cannot_be_asked_is_refused_and_the_next_is_answered(client, api, question, context, says):
    with pytest.raises(BadInputError, match=says):
        client.answer(question, context)
    assert api.post("/qa", json={"question": question, "context": context}).status_code == 422
    assert client.answer("Who founded the observatory?", FOUNDED)[0].answer == "Clara Whitmore"


@pytest.mark.parametrize("number", contract.QA.main.numbers, ids=lambda number: number.field)
def test_the_server_holds_numbers_to_their_limits(client, number):
    # The client would not send it.
    texts = {"QUESTION": np.array([[b"Who?"]], np.object_), "CONTEXT": np.array([[DANUBE.encode()]], np.object_)}
    beyond = np.array([[number.maximum + 1]], np.int32)
    accepted = f"one number from {number.minimum} to {number.maximum} is accepted"
    with pytest.raises(BadInputError, match=f"{number.tensor} is {number.maximum + 1}; {accepted}"):
        client.infer(Request("qa", texts | {number.tensor: beyond}, ("ANSWER",)))


def test_the_facade_answers_with_one_span_or_several(api):
    question = {"question": "Where does the Danube rise?", "context": DANUBE}
    (one, generated) = (api.post(path, json=question).json() for path in ("/qa", "/generate"))
    assert set(one) == set(generated) == {"answer", "score", "start", "end"}
    assert one["answer"] == DANUBE[one["start"] : one["end"]]
    several = api.post("/generate", json=question | {"top_k": 3}).json()
    # Answers that are hardly ones are not told.
    assert 0 < len(several) <= 3
    assert min(each["score"] for each in several) >= several[0]["score"] / 101
    assert several[0]["answer"] == one["answer"]
    assert sum(each["score"] for each in several) <= 1.001


@pytest.fixture(scope="module")
def tiny_reader(tiny_checkpoint, tmp_path_factory, serve_models):
    """A tiny reader served in float32: its checkpoint, and a client."""
    folder = tmp_path_factory.mktemp("reader")
    checkpoint = add_head(tiny_checkpoint("roberta"), "qa", folder / "checkpoint")
    models = folder / "models"
    for source in SOURCE.glob("qa*"):
        if not source.name.startswith(("qa_ko", "qa_small")):
            shutil.copytree(source, models / source.name, ignore=shutil.ignore_patterns("model.pt", "*.json"))
    for file in models.glob("*/config.pbtxt"):
        text = file.read_text().replace('"256"', '"48"').replace('"96"', '"8"')
        file.write_text(text.replace("dims: [ 256 ]", "dims: [ 48 ]"))
    (models / "qa_reader" / "warmup" / "window").write_bytes(np.int32(48).tobytes())
    exported = ["--checkpoint", str(checkpoint), "--repository", str(models), "--dtype", "float32"]
    done = CliRunner().invoke(app, ["export", "qa", *exported])
    assert done.exit_code == 0, done.output
    with serve_models(models) as process, TridentClient(process.http_url) as client:
        yield checkpoint, client


def test_served_answers_are_the_checkpoints_own(tiny_reader, make_question):
    checkpoint, client = tiny_reader
    rng = random.Random(9)
    questions = [make_question(index, rng, words=rng.randrange(20, 900)) for index in range(60)]
    offline = CheckpointReader(str(checkpoint), 48, 8).answerer(Calibration.read(checkpoint))(questions)
    served = client.answer_many([(each["question"], each["context"]) for each in questions])
    assert [answers[0].answer for answers in served] == [text for text, _ in offline]
    assert [answers[0].score for answers in served] == pytest.approx([score for _, score in offline], abs=1e-4)
    assert len({text for text, _ in offline}) > 2, "all answers are alike, so that nothing would be compared"
