"""Served models in loops that were written for transformers' pipelines."""

import warnings

import datasets
import evaluate
import numpy as np
import pytest
from trident_client import FakeTransport, TridentClient, TruncationWarning, pipeline


def answer(request):
    if request.outputs[0] == "ANSWER":
        context = request.inputs["CONTEXT"][0, 0]
        return {
            "ANSWER": np.array([[context.split()[0]]], dtype=np.object_),
            "SCORE": np.full((1, 1), 0.5, dtype=np.float32),
            "START": np.zeros((1, 1), dtype=np.int32),
            "END": np.full((1, 1), len(context.split()[0].decode()), dtype=np.int32),
        }
    texts = next(iter(request.inputs.values()))[:, 0]
    values = np.array([[0.75 if b"good" in text else 0.25] for text in texts], dtype=np.float32)
    cut = {name: np.array([[b"cut" in text] for text in texts], dtype=np.int32) for name in request.outputs[1:]}
    return {request.outputs[0]: values, **cut}


@pytest.fixture
def client():
    with TridentClient(transport=FakeTransport(answer)) as client:
        yield client


@pytest.fixture
def evaluators(monkeypatch):
    """Evaluate's evaluators; version 0.4.6 asks transformers for a class that its version 5 does not have any more."""
    import transformers

    monkeypatch.setattr(transformers, "TFPreTrainedModel", type("TFPreTrainedModel", (), {}), raising=False)


@pytest.mark.usefixtures("evaluators")
def test_evaluate_scores_acceptability_through_the_server(client):

    class Share(evaluate.Metric):
        def _info(self):
            features = datasets.Features(
                {"predictions": datasets.Value("int32"), "references": datasets.Value("int32")}
            )
            return evaluate.MetricInfo(description="", citation="", features=features)

        def _compute(self, predictions, references):
            return {"right": float(np.mean(np.array(predictions) == references))}

    data = datasets.Dataset.from_dict({"sentence": ["good one", "bad", "고양이 good", "good"], "label": [1, 0, 1, 0]})
    result = evaluate.TextClassificationEvaluator().compute(
        model_or_pipeline=pipeline("text-classification", client),
        data=data,
        metric=Share(),
        input_column="sentence",
        label_mapping={"LABEL_0": 0, "LABEL_1": 1},
    )
    assert result["right"] == 0.75
    assert result["samples_per_second"] > 0


@pytest.mark.usefixtures("evaluators")
def test_evaluate_scores_answers_through_the_server(client):

    class Exact(evaluate.Metric):
        def _info(self):
            text, one = datasets.Value("string"), datasets.Value("int32")
            reference = {"id": text, "answers": {"text": [text], "answer_start": [one]}}
            features = datasets.Features(
                {"predictions": {"id": text, "prediction_text": text}, "references": reference}
            )
            return evaluate.MetricInfo(description="", citation="", features=features)

        def _compute(self, predictions, references):
            pairs = zip(predictions, references, strict=True)
            return {"exact": float(np.mean([one["prediction_text"] in two["answers"]["text"] for one, two in pairs]))}

    rows = [
        {"id": "1", "question": "Who?", "context": "Mary ran", "answers": {"text": ["Mary"], "answer_start": [0]}},
        {"id": "2", "question": "Who?", "context": "So Mary ran", "answers": {"text": ["Mary"], "answer_start": [3]}},
    ]
    result = evaluate.QuestionAnsweringEvaluator().compute(
        model_or_pipeline=pipeline("question-answering", client),
        data=datasets.Dataset.from_list(rows),
        metric=Exact(),
        squad_v2_format=False,
    )
    assert result["exact"] == 0.5


def test_one_input_has_one_output_and_many_have_many(client):
    classify = pipeline("text-classification", client)
    assert classify("good") == {"label": "LABEL_1", "score": 0.75}
    assert classify(text for text in ("good", "bad")) == [
        {"label": "LABEL_1", "score": 0.75},
        {"label": "LABEL_0", "score": 0.75},
    ]
    ask = pipeline("question-answering", client)
    assert ask(question="Who?", context="Mary ran") == {"answer": "Mary", "score": 0.5, "start": 0, "end": 4}
    assert len(ask(question=["Who?"] * 3, context=["a b"] * 3)) == 3
    compare = pipeline("sentence-similarity", client)
    assert compare([("good", "b"), {"text": "a", "text_pair": "b"}]) == [0.75, 0.25]


@pytest.mark.parametrize("handled", [False, True])
@pytest.mark.parametrize("question", ["Who?", ["Who?"]])
@pytest.mark.parametrize("when_made", [False, True])
def test_an_answer_may_be_missing_where_that_is_handled(client, question, handled, when_made):
    context = "a b" if isinstance(question, str) else ["a b"]
    options = {"handle_impossible_answer": True} if handled else {}
    ask = pipeline("question-answering", client, **(options if when_made else {}))
    ask(question=question, context=context, **({} if when_made else options))
    sent = client._sender._transports["transport"].requests[-1].inputs
    assert ("NO_ANSWER" in sent) == (not handled)


@pytest.mark.parametrize("when_made", [False, True])
def test_so_many_answers_of_so_many_tokens_come_whenever_that_is_said(client, when_made):
    transport = client._sender._transports["transport"]
    # As transformers' own takes it, and the server cuts windows in its own way.
    options = {"top_k": 2, "max_answer_len": 7, "doc_stride": 64}
    ask = pipeline("question-answering", client, **(options if when_made else {}))
    given = {} if when_made else options
    span = {"answer": "Mary", "score": 0.5, "start": 0, "end": 4}
    assert ask(question="Who?", context="Mary ran", **given) == [span]
    assert ask(question=["Who?"], context=["Mary ran"], **given) == [[span]]
    sent = transport.requests[-1].inputs
    assert (sent["TOP_K"].tolist(), sent["MAX_ANSWER_TOKENS"].tolist()) == ([[2]], [[7]])
    # What a call says goes before what was said when the pipeline was made.
    assert ask(question="Who?", context="Mary ran", top_k=1) == span


@pytest.mark.parametrize("when_made", [False, True])
def test_so_many_labels_come_whenever_that_is_said(client, when_made):
    def classify(text, **options):
        made = pipeline("text-classification", client, **(options if when_made else {}))
        return made(text, **({} if when_made else options))

    likely, unlikely = {"label": "LABEL_1", "score": 0.75}, {"label": "LABEL_0", "score": 0.25}
    assert classify("good", top_k=None) == classify("good", top_k=2) == [likely, unlikely]
    assert classify(["good"], top_k=1) == [[likely]]
    compare = pipeline("sentence-similarity", client, **({"truncate": "left"} if when_made else {}))
    compare([("a", "b")], **({} if when_made else {"truncate": "left"}))
    assert "TRUNCATE_LEFT" in client._sender._transports["transport"].requests[-1].inputs


def test_model_and_threshold_are_chosen(client):
    strict = pipeline("text-classification", client, model="cola_other", threshold=0.8)
    assert strict("good")["label"] == "LABEL_0"
    assert client._sender._transports["transport"].requests[-1].model == "cola_other"


def test_a_classifier_gives_its_own_labels(client):
    transport = client._sender._transports["transport"]
    parameters = {"task": {"string_value": "classify"}, "labels": {"string_value": '["short", "long", "odd"]'}}
    transport.configurations["topics"] = {"parameters": parameters}

    def scores(request):
        lengths = np.array([len(text) for text in request.inputs["TEXT"][:, 0]])
        return {"SCORES": np.float32(np.stack([0.4 + 0 * lengths, lengths / 100, 0 * lengths], axis=1))}

    transport._answer = scores
    classify = pipeline("text-classification", client, model="topics")
    assert classify("a") == {"label": "short", "score": pytest.approx(0.4)}
    assert [each["label"] for each in classify(["b" * 50, {"text": "a"}])] == ["long", "short"]
    assert classify({"text": "b" * 50, "text_pair": "c"})["label"] == "long"
    assert transport.requests[-1].inputs["TEXT_2"].tolist() == [[b"c"]]
    assert [each["label"] for each in classify("b" * 50, top_k=None)] == ["long", "short", "odd"]
    assert [len(each) for each in classify(["a", "b"], top_k=2)] == [2, 2]
    transport._answer = lambda request: {"LOGITS": 10 * scores(request)["SCORES"]}
    assert classify("a", function_to_apply="none") == {"label": "short", "score": pytest.approx(4.0)}
    with pytest.raises(ValueError, match="a threshold is for sets of the task cola"):
        pipeline("text-classification", client, model="topics", threshold=0.5)("a")


def test_truncation_that_was_asked_for_is_not_warned_of(client):
    classify = pipeline("text-classification", client)
    with pytest.warns(TruncationWarning):
        classify("cut")
    with warnings.catch_warnings():
        warnings.simplefilter("error", TruncationWarning)
        classify("cut", truncation=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda client: pipeline("translation", client), "task must be text-classification"),
        (lambda client: pipeline("text-classification", client, threshold=2), "threshold must be"),
        (lambda client: pipeline("question-answering", client)(question="a", context=["b"]), "must be two strings"),
        (lambda client: pipeline("question-answering", client, top_k=0), "top_k must be a whole number of 1 or more"),
        (lambda client: pipeline("question-answering", client)(question="a", context="b", max_answer_len=0),
         "max_answer_len must be a whole number"),
        (lambda client: pipeline("text-classification", client, top_k=0), "top_k must be a whole number of 1 or more"),
        (lambda client: pipeline("text-classification", client, function_to_apply="sigmoid"), "must be 'none'"),
        (lambda client: pipeline("text-classification", client)("a", function_to_apply="none"), "for classifiers"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(client, make, message):
    with pytest.raises(ValueError, match=message):
        make(client)


@pytest.mark.parametrize("task", ["text-classification", "sentence-similarity", "question-answering"])
def test_an_option_that_is_none_is_named_with_those_that_are(client, task):
    message = f"takes no topk; accepted are {', '.join(type(pipeline(task, client)).accepted)}"
    with pytest.raises(TypeError, match=message):
        pipeline(task, client, topk=2)
    given = {"question": "a", "context": "b"} if task == "question-answering" else {"inputs": [("a", "b")]}
    with pytest.raises(TypeError, match=message):
        pipeline(task, client)(**given, topk=2)
