"""The tokenizer and the span decoder of question answering, run in this process."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from trident_client.text import is_blank

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "##s",
    "고",
    "##양",
    "##이",
    "[",
    "]",
]
CLS, SEP = WORDS.index("[CLS]"), WORDS.index("[SEP]")
MAX_LENGTH, STRIDE = 48, 8
#: What text is made of where offsets are easily lost.
ODD_TEXT = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "the",
                "cats",
                " ",
                "Mat",
                ".",
                "   ",
                "\t",
                "\r\n",
                "😀",
                "👩\u200d👧",
                "e\u0301",
                "고양이",
                "\u1100\u1161",
            ]
        ),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=150,
).map("".join)

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory, fake_triton: Any, repository: Path) -> Any:
    plain = Tokenizer(models.WordPiece({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    plain.normalizer = normalizers.BertNormalizer(lowercase=True)
    plain.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    plain.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    plain.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    folder: Path = tmp_path_factory.mktemp("qa_tokenizer") / "1"
    folder.mkdir()
    plain.save(str(folder / "tokenizer.json"))
    shutil.copy(repository / "qa_tokenizer" / "1" / "model.py", folder)
    return fake_triton.load(folder / "model.py", {"max_length": str(MAX_LENGTH), "doc_stride": str(STRIDE)})


@pytest.fixture(scope="module")
def cut(tokenizer: Any, fake_triton: Any) -> Ask:
    """Run one execution of several questions, each with its context."""
    return lambda *pairs: tokenizer.execute(
        [
            fake_triton.request(QUESTION=fake_triton.texts(question), CONTEXT=fake_triton.texts(context))
            for question, context in pairs
        ]
    )


@pytest.fixture
def load_decoder(tmp_path: Path, fake_triton: Any, repository: Path) -> Ask:
    def load(calibration: dict[str, Any] | None = None, **parameters: str) -> Any:
        folder = tmp_path / "1"
        shutil.copytree(repository / "qa_span_decoder" / "1", folder, dirs_exist_ok=True)
        content = {"temperature": 1.0, "may_be_unanswerable": False} | (calibration or {})
        (folder / "calibration.json").write_text(json.dumps(content))
        return fake_triton.load(folder / "model.py", {"strip": "", "longest_answer": "0"} | parameters)

    return load


@pytest.fixture
def decode(load_decoder: Ask, fake_triton: Any) -> Ask:
    """Decode one window of single words whose logits are given; the first token is no part of the context."""
    decoder = load_decoder()

    def run(context: str, start: list[float], end: list[float], model: Any = decoder, **numbers: int) -> Any:
        ends = [place for place, letter in enumerate(f"{context} ") if letter == " "]
        offsets = list(zip([0, *(each + 1 for each in ends)], ends, strict=False))
        return model.execute(
            [
                fake_triton.request(
                    CONTEXT=fake_triton.texts(context),
                    START_LOGITS=np.array([[0, *start]], np.float32),
                    END_LOGITS=np.array([[0, *end]], np.float32),
                    WINDOWS=np.array([[[0, 1, len(start), 0]]], np.int32),
                    OFFSETS=np.array([offsets], np.int32),
                    **{name: np.array([[value]], np.int32) for name, value in numbers.items()},
                )
            ]
        )[0]

    return run


def test_a_short_passage_is_one_window(cut: Ask) -> None:
    (response,) = cut(("the cat", "a mats sat"))
    outputs = {name: value[0].tolist() for name, value in response.outputs.items()}
    assert [WORDS[token] for token in outputs["INPUT_IDS"]] == [
        *("[CLS]", "the", "cat", "[SEP]"),
        *("a", "mat", "##s", "sat", "[SEP]"),
    ]
    assert outputs["TYPE_IDS"] == [0] * 4 + [1] * 5
    assert outputs["WINDOW_LENGTHS"] == [9]
    assert outputs["WINDOWS"] == [[0, 4, 4, 0]]
    assert outputs["OFFSETS"] == [[0, 1], [2, 5], [5, 6], [7, 10]]
    assert outputs["UNKNOWN_TOKENS"] == [0]
    assert all(value.dtype == np.int32 for value in response.outputs.values())


def test_windows_overlap_by_the_stride_and_leave_nothing_out(cut: Ask) -> None:
    context = "the cat sat on a mat " * 30
    (response,) = cut(("a cat", context))
    outputs = {name: value[0] for name, value in response.outputs.items()}
    assert outputs["WINDOW_LENGTHS"].sum() == len(outputs["INPUT_IDS"]) == len(outputs["TYPE_IDS"])
    assert max(outputs["WINDOW_LENGTHS"]) == MAX_LENGTH
    words = [context[start:end] for start, end in outputs["OFFSETS"]]
    assert words == context.split()
    after = 0
    for begin, place, count, first in outputs["WINDOWS"].tolist():
        assert outputs["INPUT_IDS"][begin] == CLS
        assert [WORDS[token] for token in outputs["INPUT_IDS"][place : place + count]] == words[first : first + count]
        assert first == max(0, after - STRIDE)
        after = first + count
    assert after == len(words)


def test_what_the_vocabulary_cannot_read_is_counted_in_question_and_passage_once_a_token(cut: Ask) -> None:
    # Windows share tokens, which count but once.
    passage = ("the cat sat 👍 on a mat " * 30).strip()
    counts = [
        response.outputs["UNKNOWN_TOKENS"].tolist()
        for response in cut(("the 👍 cat 🐟", "a mat"), ("the cat", passage), ("the 👍", passage), ("the cat", "a mat"))
    ]
    assert counts == [[[2]], [[30]], [[31]], [[0]]]


@given(ODD_TEXT)
@settings(max_examples=300)
def test_every_span_of_any_text_is_cut_out_of_it_to_the_character(cut: Ask, context: str) -> None:
    (response,) = cut(("a cat", context))
    if is_blank(context):
        assert "CONTEXT is empty" in str(response.error)
        return
    if response.error is not None:
        assert "CONTEXT has nothing that the vocabulary can read" in str(response.error)
        return
    offsets = response.outputs["OFFSETS"][0]
    assert (offsets[:, 0] < offsets[:, 1]).all()
    assert (offsets[1:, 0] >= offsets[:-1, 0]).all()
    for (start, end), token in zip(offsets, _context_ids(response), strict=True):
        if WORDS[token] != "[UNK]":
            assert _plain(context[start:end]) == WORDS[token].removeprefix("##")


def _context_ids(response: Any) -> list[int]:
    seen: list[int] = []
    for _, place, count, first in response.outputs["WINDOWS"][0].tolist():
        ids = response.outputs["INPUT_IDS"][0][place : place + count].tolist()
        seen += ids[len(seen) - first :]
    return seen


def _plain(text: str) -> str:
    """Return the text as the tokenizer's normalizer leaves it."""
    return str(normalizers.BertNormalizer(lowercase=True).normalize_str(text))


def test_special_tokens_in_a_text_are_text(cut: Ask) -> None:
    (response,) = cut(("the [SEP] cat", "a [CLS] mat"))
    ids = response.outputs["INPUT_IDS"][0].tolist()
    assert ids.count(CLS) == 1
    assert ids.count(SEP) == 2


@pytest.mark.parametrize(
    ("question", "context", "says"),
    [
        ("", "a cat", "QUESTION is empty"),
        ("a cat", " \n\t", "CONTEXT is empty"),
        (b"\xff", "a cat", "QUESTION is not UTF-8 at byte 0"),
        ("a cat", b"a \xff", "CONTEXT is not UTF-8 at byte 2"),
        ("the cat " * 12, "a cat", "QUESTION has 24 tokens; at most 21 are accepted"),
        ("x" * 10_001, "a cat", "QUESTION has 10001 bytes; at most 10000"),
        ("a cat", "x" * 1_000_001, "CONTEXT has 1000001 bytes; at most 1000000"),
    ],
)
def test_a_bad_text_is_refused_and_its_neighbours_are_answered(
    cut: Ask, question: Any, context: Any, says: str
) -> None:
    good, bad, further = cut(("the cat", "a mat"), (question, context), ("a mat", "the cat sat"))
    assert says in str(bad.error)
    assert bad.error.code == "INVALID_ARG"
    assert good.outputs["WINDOW_LENGTHS"].tolist() == [[7]]
    assert further.outputs["WINDOW_LENGTHS"].tolist() == [[8]]


def test_a_passage_of_too_many_windows_is_refused_and_its_neighbours_are_answered(
    cut: Ask, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer, "most_window_tokens", 10 * MAX_LENGTH)
    # 45 tokens a window, less the question's 20 and the 8 shared: 17 further ones each.
    long = "the cat " * 10
    good, most, more = cut(("the cat", "a mat"), (long, "sat " * (25 + 9 * 17)), (long, "sat " * (25 + 9 * 17 + 1)))
    assert len(good.outputs["WINDOW_LENGTHS"][0]) == 1
    assert len(most.outputs["WINDOW_LENGTHS"][0]) == 10
    assert "has 528 tokens; at most 480 are accepted" in str(more.error)
    assert more.error.code == "INVALID_ARG"
    # The same passage has few enough windows beside a short question.
    (short,) = cut(("a cat", "sat " * (25 + 9 * 17 + 1)))
    assert len(short.outputs["WINDOW_LENGTHS"][0]) < 10


def test_long_passages_are_tokenized_in_parts_and_answered_the_same(
    cut: Ask, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [("the cat", "a mat " * count) for count in (1, 90, 2, 3)]
    together = cut(*pairs)
    calls: list[int] = []

    class Counting:
        def encode_batch(self, batch: list[Any]) -> list[Any]:
            calls.append(len(batch))
            return whole.encode_batch(batch)

    whole = tokenizer.tokenizer
    monkeypatch.setattr(tokenizer, "tokenizer", Counting())
    monkeypatch.setitem(type(tokenizer).execute.__globals__, "BYTES_AT_A_TIME", 40)
    parts = cut(*pairs)
    assert calls == [1, 1, 2]
    for one, other in zip(together, parts, strict=True):
        assert all(one.outputs[name].tolist() == other.outputs[name].tolist() for name in one.outputs)


def test_lengths_that_leave_no_room_fail_the_load(tokenizer: Any, fake_triton: Any, repository: Path) -> None:
    with pytest.raises(ValueError, match="max_length 30 has no room for a question beside doc_stride 20"):
        type(tokenizer)().initialize(
            {
                "model_config": json.dumps(
                    {"parameters": {"max_length": {"string_value": "30"}, "doc_stride": {"string_value": "20"}}}
                )
            }
        )


def test_the_best_span_is_answered_with_its_probability(decode: Ask) -> None:
    answer = decode("one two six", [0, 9, 0], [0, 0, 9]).outputs
    assert answer["ANSWER"].tolist() == [[b"two six"]]
    assert (answer["START"].tolist(), answer["END"].tolist()) == ([[4]], [[11]])
    others = [0, 0, 9, 9, 9]
    assert answer["SCORE"][0, 0] == pytest.approx(math.exp(18) / (math.exp(18) + sum(map(math.exp, others))), rel=1e-4)
    assert {name: value.dtype.name for name, value in answer.items()} == {
        "ANSWER": "object",
        "SCORE": "float32",
        "START": "int32",
        "END": "int32",
    }


def test_numbers_ask_for_more_and_shorter_answers(decode: Ask) -> None:
    more = decode("one two six", [3, 2, 1], [3, 2, 1], TOP_K=5, MAX_ANSWER_TOKENS=1).outputs
    assert more["ANSWER"].tolist() == [[b"one", b"two", b"six"]]
    assert (np.diff(more["SCORE"][0]) < 0).all()


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("TOP_K", 0, "1 to 100"),
        ("TOP_K", 101, "1 to 100"),
        ("MAX_ANSWER_TOKENS", -1, "1 to 512"),
        ("NO_ANSWER", 2, "0 to 1"),
    ],
)
def test_a_number_out_of_range_is_refused(decode: Ask, name: str, value: int, accepted: str) -> None:
    error = decode("one two", [0, 0], [0, 0], **{name: value}).error
    assert f"{name} is {value}; one number from {accepted} is accepted" in str(error)


def test_a_context_that_the_model_cannot_read_is_refused(decode: Ask, load_decoder: Ask, fake_triton: Any) -> None:
    request = fake_triton.request(
        CONTEXT=fake_triton.texts("\u200b"),
        START_LOGITS=np.zeros((1, 4), np.float32),
        END_LOGITS=np.zeros((1, 4), np.float32),
        WINDOWS=np.array([[[0, 4, 0, 0]]], np.int32),
        OFFSETS=np.zeros((1, 0, 2), np.int32),
    )
    (response,) = load_decoder().execute([request])
    assert "CONTEXT holds no text that the model reads" in str(response.error)


def test_calibration_and_clean_up_are_configured(decode: Ask, load_decoder: Ask) -> None:
    cool, warm = (
        decode("one two", [4, 0], [4, 0], model=load_decoder({"temperature": each})).outputs["SCORE"][0, 0]
        for each in (1.0, 4.0)
    )
    assert cool > warm
    short = load_decoder({"length_penalty": 1.0})
    assert decode("one two", [1, 0], [0.5, 1], model=short).outputs["ANSWER"].tolist() == [[b"one"]]
    assert decode("one two", [1, 0], [0.5, 1]).outputs["ANSWER"].tolist() == [[b"one two"]]
    null = load_decoder({"may_be_unanswerable": True})
    answer = decode("one two", [-4, -4], [-4, -4], model=null).outputs
    assert (answer["ANSWER"].tolist(), answer["START"].tolist(), answer["END"].tolist()) == ([[b""]], [[0]], [[0]])
    # Who asks may want an answer all the same, and a threshold may want more of the null logits.
    assert decode("one two", [-4, -4], [-4, -4], model=null, NO_ANSWER=0).outputs["ANSWER"].tolist() == [[b"one"]]
    wary = load_decoder({"may_be_unanswerable": True, "no_answer_threshold": 9})
    assert decode("one two", [-4, -4], [-4, -4], model=wary, NO_ANSWER=1).outputs["ANSWER"].tolist() == [[b"one"]]
    clean = load_decoder(strip="one", longest_answer="3")
    assert decode("one two", [9, 0], [0, 9], model=clean).outputs["ANSWER"].tolist() == [[b"two"]]
    assert decode("one two six", [0, 9, 0], [0, 0, 9], model=clean).outputs["ANSWER"].tolist() == [[b""]]


@pytest.mark.parametrize("wrong", [{"temperature": 0}, {"temperature": -1}, {"length_penalty": -1}])
def test_a_calibration_that_cannot_be_fails_the_load(load_decoder: Ask, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"a number (above 0|of 0 or more) is accepted"):
        load_decoder(wrong)
