"""The clients over a fake transport: splitting, order, joining, errors."""

import asyncio
import pickle
import threading
import warnings

import numpy as np
import pytest
import trident_client
from trident_client import (
    Answer,
    AsyncFakeTransport,
    AsyncTridentClient,
    BadInputError,
    FakeTransport,
    LanguageWarning,
    ModelInfo,
    NotReadyError,
    Request,
    Retry,
    ServerError,
    Timeout,
    TransportError,
    TridentClient,
    TruncationWarning,
    UnknownTokensWarning,
    UsageError,
)

DIM = 3


def answer(request: Request) -> dict[str, np.ndarray]:
    """Answer with a number made of each text's length, so that mixed-up rows show."""
    columns = list(request.inputs.values())
    lengths = np.array([[len(text)] for text in columns[0][:, 0]], dtype=np.float32)
    cut = {name: (lengths > 1000).astype(np.int32) for name in request.outputs if name.startswith("TRUNCATED")}
    unknown = np.array([["👍".encode() in text] for text in columns[0][:, 0]], dtype=np.int32)
    cut |= {name: unknown for name in request.outputs if name.startswith("UNKNOWN")}
    value = lengths.repeat(DIM, axis=1) if request.outputs[0] == "EMBEDDING" else lengths
    return {request.outputs[0]: value, **cut}


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport(answer)


def test_public_surface_is_pinned():
    assert trident_client.__all__ == [
        "Answer",
        "AsyncFakeTransport",
        "AsyncTransport",
        "AsyncTridentClient",
        "BadInputError",
        "Balancing",
        "ConnectTimeoutError",
        "DeadlineError",
        "FakeTransport",
        "Label",
        "LanguageWarning",
        "ModelInfo",
        "ModelStatistics",
        "NotReadyError",
        "OverloadedError",
        "Ranked",
        "ReadTimeoutError",
        "Request",
        "Response",
        "Retry",
        "ServerError",
        "ServerStatus",
        "Timeout",
        "Tls",
        "Transport",
        "TransportError",
        "TridentClient",
        "TridentError",
        "TruncationWarning",
        "UnknownTokensWarning",
        "UsageError",
        "pipeline",
    ]
    assert all(hasattr(trident_client, name) for name in trident_client.__all__)


def test_long_lists_are_split_and_answered_in_order(transport):
    texts = ["x" * (1 + index % 200) for index in range(150)]
    with TridentClient(transport=transport) as client:
        embeddings = client.embed(texts)
    assert sorted(len(request.inputs["TEXT"]) for request in transport.requests) == [22, 64, 64]
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (150, DIM)
    assert embeddings[:, 0].tolist() == [len(text) for text in texts]


ENGLISH = {"parameters": {"task": {"string_value": "cola"}, "languages": {"string_value": "en"}}}


@pytest.mark.parametrize("known", [{"cola": ENGLISH}, {}])
def test_text_in_a_language_that_a_set_was_not_made_for_is_warned_of_once_and_answered(known):
    transport = FakeTransport(answer, configurations=known)
    with TridentClient(transport=transport) as client, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.acceptability(["Good."])
        assert [client.acceptability(["Good.", "나는 소년이다"]).shape for _ in range(2)] == [(2,)] * 2
        assert len(list(client.stream_acceptability(["나는 소년이다"]))) == 1
    assert [each.category for each in caught] == [LanguageWarning] * len(known)
    assert all("cola was made for en alone" in str(each.message) for each in caught)


def test_languages_are_looked_up_for_korean_text_alone_and_not_at_all_where_nobody_wants_it(transport):
    asked = []
    transport.configuration = lambda name: asked.append(name) or ENGLISH
    with TridentClient(transport=transport) as client:
        client.acceptability(["Good.", "Très bon, 김치."])
    with TridentClient(transport=transport, check_languages=False) as client:
        client.acceptability(["나는 소년이다"])
    assert asked == []


PROMPTED = {
    "prompts": {"string_value": '{"query": "query: ", "passage": "passage: ", "plain": ""}'},
    "default_prompt_name": {"string_value": "query"},
}


def test_a_sets_prompts_stand_in_front_of_texts_where_they_are_asked_for():
    known = {"mine": {"parameters": {"task": {"string_value": "sts"}}}, "mine_tokenizer": {"parameters": PROMPTED}}
    transport = FakeTransport(answer, configurations=known | {"sts_tokenizer": {}})

    def sent():
        return [text.decode() for text in transport.requests[-1].inputs["TEXT"][:, 0]]

    with TridentClient(transport=transport) as client:
        assert client.embed(["a", "b"], model="mine", prompt_name="passage").shape == (2, DIM)
        assert sent() == ["passage: a", "passage: b"]
        assert len(list(client.stream_embeddings(["c"], model="mine", prompt_name="query"))) == 1
        assert sent() == ["query: c"]
        client.embed(["a"], model="mine")
        assert sent() == ["a"], "the default is the tokenizer's to put there"
        # An empty one cannot stand in the default's place.
        for model, name, accepted in (("mine", "plain", "query, passage"), ("sts", "query", "none")):
            with pytest.raises(BadInputError, match=f"accepted are: {accepted}") as caught:
                client.embed(["a"], model=model, prompt_name=name)
            assert caught.value.field == "prompt_name"
        for kind, prompt in (("query", "query: "), ("search_document", "passage: "), ("passage", "passage: ")):
            client.embed(["a"], model="mine", input_type=kind)
            assert sent() == [prompt + "a"]
            list(client.stream_similarity([("a", "b")], model="mine", input_type=kind))
            assert transport.requests[-1].inputs["SENTENCE_2"].tolist() == [[f"{prompt}b".encode()]]
        list(client.stream_embeddings(["a"], input_type="query"))
        assert sent() == ["a"], "a set without prompts takes all texts alike"
        for options, message in (
            (
                {"input_type": "clustering"},
                "input_type must be query, passage, document, search_query, search_document",
            ),
            ({"input_type": "query", "prompt_name": "query"}, "input_type is given beside prompt_name"),
        ):
            with pytest.raises(BadInputError, match=message):
                client.similarity([("a", "b")], model="mine", **options)
        (info,) = client.models()
    assert (info.prompts["passage"], info.default_prompt_name) == ("passage: ", "query")


def test_long_texts_lose_the_end_that_is_said_or_are_refused_by_their_place(transport):
    texts = ["x" * (1001 if index in {3, 70} else 1 + index) for index in range(100)]
    with TridentClient(transport=transport) as client:
        with pytest.warns(TruncationWarning, match="3, 70"):
            client.embed(texts, truncate="left")
        assert [each.inputs["TRUNCATE_LEFT"].tolist() for each in transport.requests] == [[[1]] * 64, [[1]] * 36]
        with pytest.warns(TruncationWarning):
            client.embed(texts)
        assert "TRUNCATE_LEFT" not in transport.requests[-1].inputs, "a set of before the input still answers"
        with pytest.raises(BadInputError, match=r"texts\[3\] is longer than the model takes") as caught:
            client.embed(texts, truncate="error")
        assert (caught.value.index, caught.value.model) == (3, "sts_embedding")
        bad = {}
        with warnings.catch_warnings(action="error"):
            found = list(
                client.stream_embeddings(
                    texts, truncate="error", on_bad_item=lambda index, error: bad.update({index: error.reason})
                )
            )
        assert bad.keys() == {3, 70}
        assert [index for index, each in enumerate(found) if not len(each)] == [3, 70]
        assert [each[0] for each in found if len(each)] == [1 + index for index in range(100) if index not in {3, 70}]
        with pytest.raises(BadInputError, match="truncate must be right, left, error, got 'none'"):
            client.embed(["a"], truncate="none")


@pytest.mark.parametrize(
    ("form", "dtype", "width"), [("int8", np.int8, 9), ("binary", np.int8, 2), ("ubinary", np.uint8, 2)]
)
def test_embeddings_come_in_the_format_that_is_asked_for(form, dtype, width):
    vectors = np.random.default_rng(0).normal(size=(70, 9)).astype(np.float32)
    vectors[3] = 0
    told = {"output": [{"name": "EMBEDDING", "dims": [9]}]}

    def reply(request):
        # A text is the place of its vector.
        rows = vectors[[int(text) for text in request.inputs["TEXT"][:, 0]]]
        return {
            "EMBEDDING": rows,
            "TRUNCATED_TOKENS": np.zeros((len(rows), 1)),
            "UNKNOWN_TOKENS": np.zeros((len(rows), 1)),
        }

    texts = [str(place) for place in range(70)]
    with TridentClient(transport=FakeTransport(reply, configurations={"sts_embedding": told})) as client:
        found = client.embed(texts, encoding_format=form)
        assert (found.dtype, found.shape) == (dtype, (70, width))
        assert np.array_equal(list(client.stream_embeddings(texts, encoding_format=form)), found)
        none = client.embed([], encoding_format=form)
        assert (none.dtype, none.shape) == (dtype, (0, width))
        bad = {}
        (left_out,) = client.stream_embeddings([""], encoding_format=form, on_bad_item=bad.__setitem__)
        assert (left_out.dtype, left_out.shape, list(bad)) == (dtype, (0,), [0])
        with pytest.raises(BadInputError, match="encoding_format must be float, int8, binary, ubinary, got 'int4'"):
            client.embed(texts, encoding_format="int4")
    if form == "int8":
        lengths = [np.linalg.norm(each, axis=1) + 1e-9 for each in (found, vectors)]
        cosines = (found * vectors).sum(axis=1) / lengths[0] / lengths[1]
        assert cosines[vectors.any(axis=1)].min() > 0.999
        assert not found[3].any()
    else:
        signs = np.packbits(vectors > 0, axis=1).astype(int)
        assert np.array_equal(found, signs - (128 if form == "binary" else 0))


def test_pairs_have_prompts_and_lose_the_end_that_is_said_or_are_refused(transport):
    prompts = {"prompts": {"string_value": '{"query": "q: "}'}}
    transport.configurations["sts_tokenizer"] = {"parameters": prompts}
    pairs = [("a", "b"), ("x" * 1001, "c")]
    with TridentClient(transport=transport) as client:
        with pytest.warns(TruncationWarning, match=": 1"):
            client.similarity(pairs, prompt_name="query", truncate="left")
        sent = transport.requests[-1].inputs
        assert sent["TRUNCATE_LEFT"].tolist() == [[1], [1]]
        assert (sent["SENTENCE_1"][0, 0], sent["SENTENCE_2"][1, 0]) == (b"q: a", b"q: c")
        bad = {}
        found = client.stream_similarity(
            pairs, truncate="error", on_bad_item=lambda index, error: bad.update({index: error.reason})
        )
        assert [np.isnan(each) for each in found] == [False, True]
        assert "TRUNCATE_LEFT" not in transport.requests[-1].inputs
        assert bad.keys() == {1}
        with pytest.raises(BadInputError, match=r"pairs\[1\] is longer than the model takes"):
            client.similarity(pairs, truncate="error")


def test_sentences_that_are_judged_lose_the_end_that_is_said_or_are_refused(transport):
    sentences = ["a", "x" * 1001]
    with TridentClient(transport=transport) as client:
        for ask in (client.acceptability, lambda *given, **how: list(client.stream_acceptability(*given, **how))):
            with pytest.warns(TruncationWarning, match=": 1"):
                ask(sentences, truncate="left")
            assert transport.requests[-1].inputs["TRUNCATE_LEFT"].tolist() == [[1], [1]]
            with pytest.raises(BadInputError, match=r"sentences\[1\] is longer than the model takes"):
                ask(sentences, truncate="error")
            assert "TRUNCATE_LEFT" not in transport.requests[-1].inputs


def test_a_set_of_before_there_was_a_choice_is_told_and_no_item_blamed(transport):
    def refuse(request):
        got = "Got input(s) ['TRUNCATE_LEFT','TEXT'], but missing required input(s) []."
        raise BadInputError(f"expected 1 inputs but got 2 inputs for model 'old'. {got}", "old", server="a:1")

    transport._answer = refuse
    with TridentClient(transport=transport) as client:
        asked = (client.acceptability, lambda *given, **how: list(client.stream_acceptability(*given, **how)))
        for number, ask in enumerate(asked, 1):
            with pytest.raises(BadInputError, match="old was exported before it took it; export it again") as caught:
                ask(["a", "b"], model="old", truncate="left")
            assert (caught.value.index, caught.value.field, len(transport.requests)) == (None, "truncate", number)


async def test_async_client_gives_the_same(transport):
    texts = ["x" * (1 + index % 200) for index in range(150)]
    async with AsyncTridentClient(transport=AsyncFakeTransport(answer)) as client:
        twin = await client.embed(texts)
    with TridentClient(transport=transport) as client:
        assert np.array_equal(twin, client.embed(texts))


def test_concurrency_is_bounded():
    under_way, most = 0, 0
    lock, all_in = threading.Lock(), threading.Barrier(3, timeout=10)

    def slow(request: Request) -> dict[str, np.ndarray]:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        all_in.wait()
        with lock:
            under_way -= 1
        return answer(request)

    with TridentClient(transport=FakeTransport(slow), concurrency=3) as client:
        client.embed(["a"] * 64 * 6)
    assert most == 3


async def test_async_concurrency_is_bounded():
    under_way, most = 0, 0

    class Slow(AsyncFakeTransport):
        async def infer(self, request):
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            under_way -= 1
            return answer(request)

    async with AsyncTridentClient(transport=Slow(answer), concurrency=2) as client:
        await client.embed(["a"] * 64 * 5)
    assert most == 2


def test_empty_lists_ask_nothing(transport):
    with TridentClient(transport=transport) as client:
        assert client.similarity([]).shape == (0,)
        assert client.acceptability([]).shape == (0,)
    assert transport.requests == []


def test_text_travels_as_utf8(transport):
    with TridentClient(transport=transport) as client:
        client.similarity([("고양이", "a\0b🙂"), ("e\u0301", "é")])
    (request,) = transport.requests
    assert request.model == "sts"
    assert request.inputs["SENTENCE_1"][:, 0].tolist() == ["고양이".encode(), "e\u0301".encode()]
    assert request.inputs["SENTENCE_2"][:, 0].tolist() == ["a\0b🙂".encode(), "é".encode()]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "list of str, got one str"),
        (["fine", 3], r"texts\[1\] must be str, got int"),
        ([b"bytes"], r"texts\[0\] must be str, got bytes"),
        (["\ud800"], r"texts\[0\] holds a lone surrogate"),
        (["fine", ""], r"texts\[1\] is empty; text with at least one visible character is accepted"),
        (["\u3000\n"], r"texts\[0\] is empty"),
        (["a" * 1_000_001], r"texts\[0\] has 1000001 bytes; at most 1000000 are accepted"),
    ],
)
def test_wrong_types_name_the_item(transport, texts, message):
    with TridentClient(transport=transport) as client, pytest.raises(BadInputError, match=message):
        client.embed(texts)
    assert transport.requests == []


def answer_first_words(request: Request) -> dict[str, np.ndarray]:
    """Answer a question with the first words of its context."""
    words = request.inputs["CONTEXT"][0, 0].decode().split()[: request.inputs["TOP_K"][0, 0]]
    return {
        "ANSWER": np.array([[word.encode() for word in words]], dtype=np.object_),
        "SCORE": np.array([[0.5 / (place + 1) for place in range(len(words))]], dtype=np.float32),
        "START": np.arange(len(words), dtype=np.int32)[None] * 2,
        "END": np.arange(len(words), dtype=np.int32)[None] * 2 + 1,
    }


async def test_questions_are_asked_one_a_request_and_answered_in_order():
    questions = [("Who?", f"{index}고 b c") for index in range(9)]
    transport = FakeTransport(answer_first_words)
    with TridentClient(transport=transport) as client:
        answers = client.answer_many(questions, top_k=2)
        assert client.answer("Who?", "a b") == [Answer("a", 0.5, 0, 1)]
    assert [spans[0].answer for spans in answers] == [f"{index}고" for index in range(9)]
    assert answers[0][1] == Answer("b", 0.25, 2, 3)
    assert {request.model for request in transport.requests} == {"qa"}
    assert len(transport.requests) == 10
    async with AsyncTridentClient(transport=AsyncFakeTransport(answer_first_words)) as client:
        assert await client.answer_many(questions, top_k=2) == answers
        assert await client.answer("Who?", "a b", max_answer_tokens=3) == [Answer("a", 0.5, 0, 1)]
        assert await client.answer_many([]) == []


def test_whether_there_may_be_no_answer_is_the_models_matter_unless_it_may_not():
    transport = FakeTransport(answer_first_words)
    with TridentClient(transport=transport) as client:
        client.answer("Who?", "a b")
        client.answer("Who?", "a b", no_answer=False)
        list(client.stream_answers([("Who?", "a b")], no_answer=False))
        client.predict("qa", [("Who?", "a b")], numbers={"top_k": 1, "no_answer": 0})
    sent = [request.inputs.get("NO_ANSWER") for request in transport.requests]
    assert sent[0] is None
    assert [each.tolist() for each in sent[1:]] == [[[0]]] * 3


@pytest.mark.parametrize(
    ("questions", "numbers", "message"),
    [
        (["Who?"], {}, r"questions\[0\] must be a question and its context"),
        ([("Who?", "a"), ("Who?",)], {}, r"questions\[1\] must be a question and its context"),
        ([("Who?", 3)], {}, r"contexts\[0\] must be str"),
        ([("Who?", "a")], {"top_k": 0}, "top_k must be a whole number of 1 or more, got 0"),
        ([("Who?", "a")], {"top_k": 101}, "top_k must be a whole number of 100 or less, got 101"),
        ([("Who?", "a")], {"top_k": 2**40}, "top_k must be a whole number of 100 or less"),
        ([("Who?", "a")], {"max_answer_tokens": 513}, "max_answer_tokens must be a whole number of 512 or less"),
        ([("Who?", "a")], {"top_k": True}, "top_k must be"),
        ([("Who?", "a")], {"max_answer_tokens": 1.5}, "max_answer_tokens must be a whole number"),
    ],
)
def test_questions_that_cannot_be_asked_are_named(transport, questions, numbers, message):
    with TridentClient(transport=transport) as client, pytest.raises(BadInputError, match=message):
        client.answer_many(questions, **numbers)
    assert transport.requests == []


@pytest.mark.parametrize("pair", [("one",), ("one", "two", "three"), "ab", {"one": 1, "two": 2}, {"one", "two"}])
def test_a_pair_is_two_sentences(transport, pair):
    with TridentClient(transport=transport) as client, pytest.raises(BadInputError, match=r"pairs\[1\] must be two"):
        client.similarity([("a", "b"), pair])


def test_what_the_vocabulary_cannot_read_is_reported_with_the_index(transport):
    texts = ["x"] * 70 + ["x 👍"]
    with TridentClient(transport=transport) as client:
        with pytest.warns(UnknownTokensWarning, match=": 70$"):
            client.acceptability(texts)
        unknown: list[int] = []
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            client.embed(texts, on_unknown=unknown.extend)
            list(client.stream_similarity([(each, "x") for each in texts], on_unknown=unknown.extend))
            client.predict("cola", texts, on_unknown=unknown.extend)
            client.embed(["x"])
            assert unknown == [70, 70, 70]
    answered = {"ANSWER": b"x", "SCORE": np.float32(1), "START": np.int32(0), "END": np.int32(1)}

    def read(request: Request) -> dict[str, np.ndarray]:
        unread = np.array([["👍".encode() in request.inputs["QUESTION"][0, 0]]], dtype=np.int32)
        return {name: np.array([[value]]) for name, value in answered.items()} | {"UNKNOWN_TOKENS": unread}

    questions = [("What is up?", "x"), ("What is 👍?", "x")]
    with TridentClient(transport=FakeTransport(read)) as client:
        with pytest.warns(UnknownTokensWarning, match=": 1$"):
            assert client.answer_many(questions) == [[("x", 1, 0, 1)]] * 2
        with pytest.warns(UnknownTokensWarning, match=": 0$"):
            client.answer(*questions[1])
        list(client.stream_answers(questions, on_unknown=unknown.extend))
    assert unknown == [70, 70, 70, 1]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_client_pickles_to_its_settings(protocol):
    with TridentClient("127.0.0.1:1", protocol=protocol, timeout=Timeout(connect=1), retry=Retry(attempts=1)) as client:
        with pytest.raises(TransportError):
            client.ready()
        twin = pickle.loads(pickle.dumps(client))
    # What it was made of, and not that the other is closed.
    with twin, pytest.raises(TransportError):
        twin.ready()
    assert [each.url for each in pickle.loads(pickle.dumps(AsyncTridentClient("127.0.0.1:1"))).servers()] == [
        "127.0.0.1:1"
    ]


def test_a_closed_client_says_so(transport):
    client = TridentClient(transport=transport)
    client.close()
    for ask in (
        client.ready,
        client.models,
        client.statistics,
        lambda: client.embed(["x"]),
        lambda: client.similarity([]),
        lambda: client.acceptability([]),
        lambda: client.answer_many([]),
        lambda: client.rerank("a", []),
        lambda: client.predict("cola", []),
        lambda: list(client.stream_similarity([])),
    ):
        with pytest.raises(UsageError, match="closed"):
            ask()


def test_no_texts_have_embeddings_of_the_models_width(transport):
    transport.configurations["sts_embedding"] = {"output": [{"name": "EMBEDDING", "dims": ["384"]}]}
    with TridentClient(transport=transport) as client:
        assert client.embed([]).shape == (0, 384)
        with pytest.raises(NotReadyError):
            client.embed([], model="unheard_of")
    assert transport.requests == []


def test_a_model_that_nobody_serves_is_told_with_those_that_are_served():
    def unknown(request: Request) -> dict[str, np.ndarray]:
        raise NotReadyError("unknown model", request.model)

    names = ("sts", "sts_embedding", "sts_encoder", "sts_tokenizer", "cola", "cola_classifier", "cola_tokenizer")
    fake = FakeTransport(unknown, configurations={name: {} for name in names})
    with TridentClient(transport=fake) as client:
        for texts in (["x"], []):
            with pytest.raises(NotReadyError, match=r"served are: cola, sts$"):
                client.embed(texts, model="unheard_of")


def test_a_model_of_another_task_is_told_as_such():
    def refuse(request: Request) -> dict[str, np.ndarray]:
        raise BadInputError("what the server says", request.model)

    tensors = {"input": [{"name": "TEXT"}], "output": [{"name": "SIMILARITY"}]}
    sts = {**tensors, "parameters": {"task": {"string_value": "sts"}}}
    answered = ("SCORES", "TRUNCATED_TOKENS", "UNKNOWN_TOKENS", "TOKEN_COUNT")
    rerank = {"input": [{"name": "TEXT"}, {"name": "TEXT_2"}], "output": [{"name": each} for each in answered]}
    models = {"sts": sts, "sts_part": tensors, "rerank": rerank, "bare": {}}
    fake = FakeTransport(refuse, configurations=models)
    with TridentClient(transport=fake) as client:
        for model, said in (
            ("sts", "sts is of the task sts and has no TEXT_2; models() says of which task each model is"),
            ("sts_part", "sts_part has no TEXT_2; models() says of which task each model is"),
        ):
            with pytest.raises(BadInputError) as caught:
                client.rerank("x", ["y"], model=model)
            assert caught.value.message == caught.value.reason == said
        # What they do not refuse for its tensors, and what cannot be known, is told as the server told it.
        for model in ("rerank", "bare", "unheard_of"):
            with pytest.raises(BadInputError, match="what the server says"):
                client.rerank("x", ["y"], model=model)
        # What a model can be asked is looked up once: bad items may be many.
        fake.configurations["rerank"] = tensors
        with pytest.raises(BadInputError, match="what the server says"):
            client.rerank("x", ["y"], model="rerank")


def test_truncation_is_reported_with_the_index(transport):
    texts = ["short"] * 70 + ["long" * 300]
    with TridentClient(transport=transport) as client:
        with pytest.warns(TruncationWarning, match="70"):
            client.embed(texts)
        cut: list[int] = []
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            client.embed(texts, on_truncation=cut.extend)
        assert cut == [70]


@pytest.mark.parametrize("chunks", [1, 3])
def test_a_failure_reaches_the_caller(chunks):
    def fail(request: Request) -> dict[str, np.ndarray]:
        raise ServerError("broken", request.model)

    with TridentClient(transport=FakeTransport(fail)) as client, pytest.raises(ServerError) as caught:
        client.embed(["a"] * 64 * chunks)
    assert caught.value.model == "sts_embedding"


async def test_an_async_failure_reaches_the_caller_bare():
    def fail(request: Request) -> dict[str, np.ndarray]:
        raise ServerError("broken", request.model)

    async with AsyncTridentClient(transport=AsyncFakeTransport(fail)) as client:
        with pytest.raises(ServerError):
            await client.embed(["a"] * 64 * 3)


def test_leaving_closes_the_transport(transport):
    with TridentClient(transport=transport) as client:
        assert client.ready()
    assert transport.closed


@pytest.mark.parametrize(
    "make",
    [
        lambda: TridentClient(protocol="smtp"),
        lambda: TridentClient(concurrency=0),
        lambda: TridentClient(timeout=600),
        lambda: AsyncTridentClient(retry=3),
        lambda: TridentClient(balancing="round robin"),
        lambda: TridentClient(tls=True),
        lambda: Timeout(connect=0),
        lambda: Timeout(read=-1),
    ],
)
def test_impossible_settings_are_refused(make):
    with pytest.raises(ValueError, match="must be"):
        make()


@pytest.mark.parametrize("client", [TridentClient, AsyncTridentClient])
@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost", "localhost:", ":8010", "http://localhost:8010", "localhost:8010/v1", "local host:8010"),
        *("localhost:http", "localhost:0", "localhost:65536", "localhost:\u0663", 8010),
    ],
)
def test_a_bad_address_is_refused_with_what_is_accepted(client, url):
    with pytest.raises(BadInputError, match=r"url must be host:port such as 127\.0\.0\.1:8010") as caught:
        client([url])
    assert caught.value.field == "url"
    if url != 8010:
        with pytest.raises(BadInputError, match="url must be"):
            client(url)


DESCRIBED = {
    "sts": {"parameters": {"task": {"string_value": "sts"}}},
    "sts_ko": {
        "parameters": {
            "task": {"string_value": "sts"},
            "languages": {"string_value": "ko,en"},
            "threshold": {"string_value": "0.43"},
            "metrics": {"string_value": '{"f1": 0.8}'},
            "dimensions": {"string_value": "64,128"},
            "export": {"string_value": '{"dtype": "int8"}'},
        }
    },
    # gRPC gives 64-bit numbers as text.
    "sts_ko_embedding": {"output": [{"name": "EMBEDDING", "dims": ["384"]}, {"name": "TOKEN_COUNT", "dims": ["1"]}]},
    "sts_ko_encoder": {"parameters": {"ENABLE_JIT_PROFILING": {"string_value": "false"}}},
    "sts_ko_tokenizer": {"parameters": {"max_length": {"string_value": "256"}, "vocabulary": {"string_value": "9"}}},
}


async def test_models_are_told_by_their_configurations():
    expected = [
        ModelInfo("sts", "sts"),
        ModelInfo(
            *("sts_ko", "sts", ("ko", "en"), 384, 0.43, {"f1": 0.8}, (64, 128)),
            export={"dtype": "int8"},
            max_tokens=256,
            vocabulary=9,
        ),
    ]
    with TridentClient(transport=FakeTransport(dict, configurations=DESCRIBED)) as client:
        assert client.models() == expected
    async with AsyncTridentClient(transport=AsyncFakeTransport(dict, configurations=DESCRIBED)) as client:
        assert await client.models() == expected


@pytest.mark.parametrize("bad", [{"threshold": "high"}, {"metrics": "{"}])
def test_parameters_that_no_export_wrote_are_refused(bad):
    reported = {"task": "sts"} | bad
    described = {"sts": {"parameters": {key: {"string_value": value} for key, value in reported.items()}}}
    with (
        TridentClient(transport=FakeTransport(dict, configurations=described)) as client,
        pytest.raises(ServerError, match="the model's parameters cannot be read"),
    ):
        client.models()


def test_every_task_can_be_asked_of_another_set_of_models():
    requested = []

    def answer(request):
        requested.append(request.model)
        raise NotReadyError("no such model", request.model)

    with TridentClient(transport=FakeTransport(answer)) as client:
        for call in (
            lambda: client.acceptability(["a"], model="cola_x"),
            lambda: client.similarity([("a", "b")], model="sts_ko"),
            lambda: client.embed(["a"], model="sts_ko"),
            lambda: client.answer("a", "b", model="qa_ko"),
        ):
            with pytest.raises(NotReadyError):
                call()
    assert requested == ["cola_x", "sts_ko", "sts_ko_embedding", "qa_ko"]


async def test_any_model_can_be_asked_and_is_asked_again_when_that_may_help():
    request = Request("my_model", {"TEXT": np.array([[b"abc"]], dtype=np.object_)}, ("LENGTH",))
    requested = []

    def fails_once(request: Request) -> dict[str, np.ndarray]:
        requested.append(request)
        if len(requested) % 2:
            raise TransportError("away")
        return answer(request)

    with TridentClient(transport=FakeTransport(fails_once), retry=Retry(first_wait=0, longest_wait=0)) as client:
        assert client.infer(request)["LENGTH"].tolist() == [[3]]
    transport = AsyncFakeTransport(fails_once)
    async with AsyncTridentClient(transport=transport, retry=Retry(first_wait=0, longest_wait=0)) as client:
        assert (await client.infer(request))["LENGTH"].tolist() == [[3]]
    assert [each.model for each in requested] == ["my_model"] * 4


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_arrays_of_any_type_that_triton_knows_travel(protocol):
    def ask(dtype):
        client.infer(Request("my_model", {"X": np.zeros((1, 1), dtype)}, ("Y",)))

    with TridentClient("127.0.0.1:1", protocol=protocol, retry=Retry(attempts=1)) as client:
        for dtype in (np.float64, np.float16, np.int8, np.uint64, np.bool_):
            with pytest.raises(TransportError):
                ask(dtype)
        with pytest.raises(BadInputError, match="complex64 has no type that Triton knows"):
            ask(np.complex64)
