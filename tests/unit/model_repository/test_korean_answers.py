"""Korean questions through windows and back: a thousand passages with particles, line ends and decomposed text."""

import itertools
import random
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import regex
from datasets import Dataset
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast
from trident_training.tasks.qa.training import cut, decode

NOUNS = [
    "서울",
    "부산",
    "한강",
    "고양이",
    "세종대왕",
    "훈민정음",
    "대한민국",
    "1443년",
    "3,000원",
    "Seoul",
    "José",
    "NASA",
    "李舜臣",
    "김치찌개",
    "각하",
    "값",
    "ㅋㅋ",
    "👩\u200d👧",
]
PARTICLES = ["은", "는", "이", "가", "을", "를", "에서", "에게", "으로부터", "까지", "의", "와", "과", "이라고", "처럼"]
VERBS = ["간다", "왔다", "만들었다", "읽는다", "시작하였다", "rises"]
SPACES = (" ", "  ", "\n", "\r\n", "\t", " (", ") ", ", ")
MAX_LENGTH, STRIDE, PASSAGES = 48, 12, 1000
#: How many of the answers are told exactly, of a thousand, by what a vocabulary's pieces are: those that are learned
#: from this text often hold a noun and its particle, and often do not.
EXACT = {"words": (200, 800), "letters": (1000, 1000), "bytes": (1000, 1000)}


def passage(generator: random.Random) -> tuple[str, str, int]:
    """Return a passage, one of its nouns, and where it stands: in half of them with letters taken apart."""
    form = generator.choice(["NFC", "NFD"])
    text, places = "", []
    for _ in range(generator.randrange(2, 40)):
        noun, particle = generator.choice(NOUNS), generator.choice(PARTICLES)
        word = unicodedata.normalize(form, noun)
        places.append((word, len(text)))
        text += word + unicodedata.normalize(form, particle) + generator.choice(SPACES)
        if generator.random() < 0.3:
            text += unicodedata.normalize(form, generator.choice(VERBS)) + ". "
    return text, *generator.choice(places)


@pytest.fixture(scope="module")
def questions() -> list[dict[str, Any]]:
    generator = random.Random(5)
    made = (passage(generator) for _ in range(PASSAGES))
    return [
        {
            "id": str(number),
            "question": "어디에서?",
            "context": context,
            "answers": {"text": [answer], "answer_start": [start]},
        }
        for number, (context, answer, start) in enumerate(made)
    ]


@pytest.fixture(scope="module", params=EXACT)
def kind(request: pytest.FixtureRequest) -> str:
    """Return what a vocabulary's pieces are."""
    return str(request.param)


@pytest.fixture(scope="module")
def tokenizer(questions: list[dict[str, Any]], kind: str) -> Tokenizer:
    """A tokenizer as multilingual encoders have one: compatibility forms composed, no space in any piece.

    In ``letters``, a word's first letter has the mark of a space before it as a token of its own, both with the same
    offsets; in ``bytes``, several tokens stand for one letter, all with its offsets.
    """
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    contexts = [each["context"] for each in questions]
    if kind == "bytes":
        made = Tokenizer(models.BPE(unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        bpe = trainers.BpeTrainer(vocab_size=270, special_tokens=specials, initial_alphabet=alphabet)
        made.train_from_iterator(contexts[:300], bpe)
    else:
        made = Tokenizer(models.Unigram())
        if kind == "letters":
            known = sorted({*unicodedata.normalize("NFKC", "".join(contexts)), "\u2581"})
            scores = [(piece, -1.0) for piece in [*specials, *known] if not piece.isspace()]
            made.model = models.Unigram(scores, specials.index("<unk>"))
        made.normalizer = normalizers.NFKC()
        made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    if kind == "words":
        unigram = trainers.UnigramTrainer(
            vocab_size=300, special_tokens=specials, unk_token="<unk>", show_progress=False
        )
        made.train_from_iterator(contexts[:300], unigram)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return made


@pytest.fixture(scope="module")
def windows(questions: list[dict[str, Any]], tokenizer: Tokenizer) -> Any:
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )
    return cut(Dataset.from_list(questions), fast, MAX_LENGTH, STRIDE)


def letters(text: str) -> set[int]:
    """Return the places between the letters of a text, by a library of its own."""
    return {0, *(found.end() for found in regex.finditer(r"\X", text))}


def test_what_is_learned_of_an_answer_is_what_is_answered(
    questions: list[dict[str, Any]], kind: str, windows: Any
) -> None:
    rows, passages = windows
    longest = max(len(row["input_ids"]) for row in rows)
    start, end = np.zeros((2, len(rows), longest), np.float32)
    held = set()
    for index, (first, last) in enumerate(zip(rows["start_positions"], rows["end_positions"], strict=True)):
        assert first <= last
        if first:
            start[index, first] = end[index, last] = 20
            held.add(index)
    found = decode(questions, passages, start, end)
    exact = 0
    for question, each, (best,) in zip(questions, passages, found, strict=True):
        context, wanted = question["context"], question["answers"]["text"][0]
        begins = question["answers"]["answer_start"][0]
        assert held & set(each.rows), question
        assert {best.start, best.end} <= letters(context)
        # Where a token holds more than the answer, what is answered still shares a letter with it.
        assert best.start < begins + len(wanted)
        assert begins < best.end
        same = context[best.start : best.end] == wanted and best.start == begins
        assert same or each.rounded, question
        exact += same
    least, most = EXACT[kind]
    assert least <= exact <= most
    assert any(unicodedata.is_normalized("NFC", each["context"]) for each in questions)
    assert not all(unicodedata.is_normalized("NFC", each["context"]) for each in questions)


def test_any_span_of_tokens_is_cut_out_between_letters(questions: list[dict[str, Any]], windows: Any) -> None:
    rows, passages = windows
    generator = np.random.default_rng(3)
    start, end = generator.normal(0, 3, (2, len(rows), max(len(row["input_ids"]) for row in rows))).astype(np.float32)
    for question, spans in zip(questions, decode(questions, passages, start, end, top_k=5), strict=True):
        borders = letters(question["context"])
        assert spans
        ordered = sorted(spans)
        assert all(one.end <= other.start for one, other in itertools.pairwise(ordered))
        for span in spans:
            text = question["context"][span.start : span.end]
            assert {span.start, span.end} <= borders
            assert text
            assert text == text.strip()


def test_the_served_windows_are_those_that_were_learned_from(
    questions: list[dict[str, Any]],
    tokenizer: Tokenizer,
    windows: Any,
    fake_triton: Any,
    repository: Path,
    tmp_path: Path,
) -> None:
    rows, passages = windows
    folder = tmp_path / "1"
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    shutil.copy(repository / "qa_tokenizer" / "1" / "model.py", folder)
    served = fake_triton.load(folder / "model.py", {"max_length": str(MAX_LENGTH), "doc_stride": str(STRIDE)})
    requests = [
        fake_triton.request(QUESTION=fake_triton.texts(each["question"]), CONTEXT=fake_triton.texts(each["context"]))
        for each in questions
    ]
    for each, response in zip(passages, served.execute(requests), strict=True):
        outputs = {name: value[0].tolist() for name, value in response.outputs.items()}
        assert outputs["OFFSETS"] == each.offsets.tolist()
        assert outputs["INPUT_IDS"] == [token for row in each.rows for token in rows[row]["input_ids"]]
        assert [tuple(place[1:]) for place in outputs["WINDOWS"]] == [
            (begin + place, count, first)
            for begin, (place, count, first) in zip(
                np.cumsum([0, *outputs["WINDOW_LENGTHS"][:-1]]).tolist(), each.places, strict=True
            )
        ]
