"""The tokenizer model, run in this process with a tiny word-piece vocabulary of the test's own."""

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from trident_client import text

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "the",
    "cat",
    "sat",
    "[",
    "]",
    "sep",
    "##s",
    "é",
    "고",
    "##양",
    "##이",
    "😀",
]
CLS, SEP = WORDS.index("[CLS]"), WORDS.index("[SEP]")
MAX_LENGTH = 6
PADDING, PAIR = -1, -2

#: Zero width, byte-order mark, soft hyphen, control, private use, variation selectors, a mark alone, fillers.
INVISIBLE = ("\u200b", "\u200d", "\ufeff", "\xad", "\x00", "\ue000", "\ufe0f", "\U000e0100", "\u0301", "\u3164 \u2800")

Ask = Callable[..., Any]
Execute = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, fake_triton: Any, repository: Path) -> Any:
    tokenizer = Tokenizer(models.WordPiece({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False, handle_chinese_chars=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    # As many checkpoints come: with padding and truncation of their own, which serving must not use.
    tokenizer.enable_padding(length=32)
    tokenizer.enable_truncation(3)
    folder: Path = tmp_path_factory.mktemp("sts_tokenizer") / "1"
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    shutil.copy(repository / "sts_tokenizer" / "1" / "model.py", folder)
    return fake_triton.load(folder / "model.py", {"max_length": str(MAX_LENGTH)})


@pytest.fixture(scope="module")
def execute(model: Any, fake_triton: Any) -> Execute:
    """Run one execution of several requests, each a list of texts."""
    return lambda *batch: model.execute([fake_triton.request(TEXT=fake_triton.texts(*each)) for each in batch])


@pytest.fixture(scope="module")
def ask(execute: Execute) -> Ask:
    """Run one request alone."""
    return lambda *values: execute(values)[0]


def pieces(response: Any, row: int = 0) -> list[str]:
    return [WORDS[token] for token in response.outputs["INPUT_IDS"][row] if token >= 0]


def test_rows_are_padded_with_minus_one_to_the_requests_own_longest(ask: Ask) -> None:
    response = ask("the cat sat", "cat")
    assert response.outputs["INPUT_IDS"].tolist() == [[CLS, 4, 5, 6, SEP], [CLS, 5, SEP, -1, -1]]
    assert response.outputs["INPUT_IDS"].dtype == np.int32
    assert response.outputs["TOKEN_COUNT"].tolist() == [[5], [3]]
    assert response.outputs["TRUNCATED_TOKENS"].tolist() == [[0], [0]]


def test_a_pair_is_one_row_with_a_mark_between(model: Any, fake_triton: Any) -> None:
    texts = fake_triton.texts
    first, second = texts("the cat", "cat " * 9), texts("sat", "sat " * 7)
    alone, pairs = model.execute([fake_triton.request(TEXT=first), fake_triton.request(TEXT=first, TEXT_2=second)])
    rows = [row[row != -1].tolist() for row in alone.outputs["INPUT_IDS"]]
    assert "TRUNCATED_TOKENS_2" not in alone.outputs
    assert [row[row != -1].tolist() for row in pairs.outputs["INPUT_IDS"]] == [
        [*rows[0], -2, CLS, 6, SEP],
        [*rows[1], -2, CLS, *[6] * (MAX_LENGTH - 2), SEP],
    ]
    assert pairs.outputs["TOKEN_COUNT"].tolist() == [[4 + 3], [2 * MAX_LENGTH]]
    assert pairs.outputs["TRUNCATED_TOKENS"].tolist() == [[0], [9 + 2 - MAX_LENGTH]]
    assert pairs.outputs["TRUNCATED_TOKENS_2"].tolist() == [[0], [7 + 2 - MAX_LENGTH]]


@pytest.fixture(scope="module")
def joining(model: Any, fake_triton: Any, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tokenizer of a set that reads the texts of a pair as one sequence, with BERT's template."""
    tokenizer = Tokenizer.from_str(model.tokenizer.to_str())
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
    folder: Path = tmp_path_factory.mktemp("classify_tokenizer") / "1"
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    shutil.copy(repository / "sts_tokenizer" / "1" / "model.py", folder)
    return fake_triton.load(folder / "model.py", {"max_length": str(MAX_LENGTH), "pairs": "joined"})


PAIRS = [("the", "cat"), ("the", ""), ("the cat", "sat " * 9), ("cat " * 9, "sat"), ("cat " * 9, "sat " * 20)]


def test_joined_pairs_are_what_the_library_makes_of_both_texts(joining: Any, fake_triton: Any) -> None:
    first, second = zip(*PAIRS, strict=True)
    request = fake_triton.request(TEXT=fake_triton.texts(*first), TEXT_2=fake_triton.texts(*second))
    (found,) = joining.execute([request])
    assert found.error is None
    whole = Tokenizer.from_str(joining.tokenizer.to_str())
    whole.no_truncation()
    for row, (one, other) in enumerate(PAIRS):
        expected = joining.tokenizer.encode(one, other or None)
        ids = [token for token in found.outputs["INPUT_IDS"][row].tolist() if token != PADDING]
        # The mark stands where the second token type begins.
        assert [token for token in ids if token != PAIR] == expected.ids
        place = ids.index(PAIR) if other else len(ids)
        assert [int(index >= place) for index in range(len(expected.ids))] == expected.type_ids
        assert found.outputs["TOKEN_COUNT"][row] == len(expected.ids)
        lost = len(whole.encode(one, other or None).ids) - len(expected.ids)
        assert found.outputs["TRUNCATED_TOKENS"][row] == lost


def test_joined_pairs_need_a_first_text_and_one_alone_is_framed_alone(joining: Any, fake_triton: Any) -> None:
    texts = fake_triton.texts
    alone, empty, blank, untold = joining.execute(
        [
            fake_triton.request(TEXT=texts("the cat")),
            fake_triton.request(TEXT=texts("cat", ""), TEXT_2=texts("sat", "sat")),
            fake_triton.request(TEXT=texts("cat"), TEXT_2=texts(" ")),
            fake_triton.request(TEXT=texts("cat", "cat"), TEXT_2=texts("sat", "👍 👎")),
        ]
    )
    assert pieces(alone) == ["[CLS]", "the", "cat", "[SEP]"]
    assert "TEXT 1 is empty" in str(empty.error)
    assert "TEXT_2 0 is empty" in str(blank.error)
    assert "TEXT_2 1 has nothing that the vocabulary can read" in str(untold.error)


@pytest.mark.parametrize(("default", "prompt"), [("query", ["the", "cat"]), ("passage", ["sat"]), ("", [])])
def test_the_default_prompt_stands_in_front_of_every_text(
    model: Any, fake_triton: Any, tmp_path: Path, repository: Path, default: str, prompt: list[str]
) -> None:
    (tmp_path / "tokenizer.json").write_text(model.tokenizer.to_str())
    shutil.copy(repository / "sts_tokenizer" / "1" / "model.py", tmp_path)
    prompts = {"prompts": json.dumps({"query": "the cat ", "passage": "sat "}), "default_prompt_name": default}
    prompted = fake_triton.load(tmp_path / "model.py", {"max_length": str(MAX_LENGTH)} | prompts)
    texts = fake_triton.texts
    request = fake_triton.request(TEXT=texts("cat", "cat " * 9), TEXT_2=texts("sat", "sat"))
    (answer,) = prompted.execute([request])
    assert pieces(answer)[: len(prompt) + 3] == ["[CLS]", *prompt, "cat", "[SEP]"]
    # The row's second text, behind the mark.
    assert pieces(answer)[len(prompt) + 3 :] == ["[CLS]", *prompt, "sat", "[SEP]"]
    assert answer.outputs["TRUNCATED_TOKENS"].tolist() == [[0], [9 + len(prompt) + 2 - MAX_LENGTH]]
    # A text that brings a prompt of the set has that one, and no other.
    (own,) = prompted.execute([fake_triton.request(TEXT=texts("sat cat"))])
    assert pieces(own) == ["[CLS]", "sat", "cat", "[SEP]"]
    (refused,) = prompted.execute([fake_triton.request(TEXT=texts(" "))])
    assert "TEXT 0 is empty" in str(refused.error)


def test_a_bad_second_text_is_named(model: Any, fake_triton: Any) -> None:
    texts = fake_triton.texts
    (bad,) = model.execute([fake_triton.request(TEXT=texts("cat", "sat"), TEXT_2=texts("cat", " "))])
    assert "TEXT_2 1 is empty" in str(bad.error)


@pytest.mark.parametrize(("words", "lost"), [(3, 0), (4, 0), (5, 1), (17, 13), (400, 396)])
def test_truncation_says_how_many_tokens_were_lost(ask: Ask, words: int, lost: int) -> None:
    response = ask(" ".join(["cat"] * words))
    assert response.outputs["TOKEN_COUNT"].tolist() == [[min(words + 2, MAX_LENGTH)]]
    assert response.outputs["TRUNCATED_TOKENS"].tolist() == [[lost]]


def test_a_row_that_asks_for_it_loses_its_beginning(model: Any, joining: Any, fake_triton: Any) -> None:
    texts, flags = fake_triton.texts("the cat sat the cat sat", "the cat", "the the cat cat sat"), [[1], [1], [0]]
    request = fake_triton.request(TEXT=texts, TRUNCATE_LEFT=np.array(flags, np.int32))
    plain = fake_triton.request(TEXT=fake_triton.texts("the cat sat the cat sat"))
    for asked, other in ([request, plain], [plain, request]):
        found = dict(zip(map(id, (asked, other)), model.execute([asked, other]), strict=True))
        answer = found[id(request)]
        assert [pieces(answer, row)[1:-1] for row in range(3)] == [
            ["sat", "the", "cat", "sat"],
            ["the", "cat"],
            ["the", "the", "cat", "cat"],
        ]
        assert answer.outputs["TRUNCATED_TOKENS"].tolist() == [[2], [0], [1]]
        assert pieces(found[id(plain)])[1:-1] == ["the", "cat", "sat", "the"]
    pair = {"TEXT": fake_triton.texts("the cat sat"), "TEXT_2": fake_triton.texts("the the cat")}
    (left,) = joining.execute([fake_triton.request(**pair, TRUNCATE_LEFT=np.ones((1, 1), np.int32))])
    assert left.outputs["TRUNCATED_TOKENS"].tolist() == [[3]]
    assert pieces(left)[-2:] == ["cat", "[SEP]"]


def test_all_tokens_are_told_with_their_characters_where_they_are_asked_for(
    model: Any, fake_triton: Any, tmp_path: Path, repository: Path
) -> None:
    texts, wanted = fake_triton.texts, np.ones((2, 1), np.int32)
    asked = fake_triton.request(TEXT=texts("The  고양이 👍 sat", "cat " * 9), WITH_TOKENS=wanted)
    cut = fake_triton.request(TEXT=texts("cat " * 9))
    model.execute([cut])
    told, plain = model.execute([asked, cut])
    assert "TOKENS" not in plain.outputs
    assert plain.outputs["TOKEN_COUNT"].tolist() == [[MAX_LENGTH]], "what is told of uncut is still cut for the encoder"
    first, second = (json.loads(row) for row in told.outputs["TOKENS"][:, 0])
    assert first == [
        [CLS, "[CLS]", True, None, None],
        [4, "the", False, 0, 3],
        [12, "고", False, 5, 6],
        [13, "##양", False, 6, 7],
        [14, "##이", False, 7, 8],
        [1, "[UNK]", False, 9, 10],
        [6, "sat", False, 11, 14],
        [SEP, "[SEP]", True, None, None],
    ]
    assert [each[3:] for each in second[1:-1]] == [[4 * place, 4 * place + 3] for place in range(9)]

    # What a prompt has in front is no part of the text.
    (tmp_path / "tokenizer.json").write_text(model.tokenizer.to_str())
    shutil.copy(repository / "sts_tokenizer" / "1" / "model.py", tmp_path)
    prompts = {"prompts": '{"query": "the cat "}', "default_prompt_name": "query"}
    prompted = fake_triton.load(tmp_path / "model.py", {"max_length": str(MAX_LENGTH)} | prompts)
    (answer,) = prompted.execute([fake_triton.request(TEXT=texts("sat"), WITH_TOKENS=wanted[:1])])
    assert [each[1:] for each in json.loads(answer.outputs["TOKENS"][0, 0])][1:-1] == [
        ["the", False, None, None],
        ["cat", False, None, None],
        ["sat", False, 0, 3],
    ]


def test_more_text_than_is_told_of_at_once_is_refused(model: Any, fake_triton: Any) -> None:
    long = fake_triton.texts(*["cat " * 150_000] * 2)
    (refused,) = model.execute([fake_triton.request(TEXT=long, WITH_TOKENS=np.ones((2, 1), np.int32))])
    assert "1200000 bytes together; WITH_TOKENS takes at most 1000000" in str(refused.error)


def test_tokens_that_the_vocabulary_does_not_know_are_counted(model: Any, ask: Ask, fake_triton: Any) -> None:
    texts = fake_triton.texts
    response = ask("the 👍 xylophone", "the cat")
    assert response.outputs["UNKNOWN_TOKENS"].tolist() == [[2], [0]]
    pair = fake_triton.request(TEXT=texts("the cat", "the"), TEXT_2=texts("the 👍", "sat"))
    bad = fake_triton.request(TEXT=texts("the cat", "the"), TEXT_2=texts("the", "👍 👎"))
    answered, refused = model.execute([pair, bad])
    assert answered.outputs["UNKNOWN_TOKENS"].tolist() == [[0], [0]]
    assert answered.outputs["UNKNOWN_TOKENS_2"].tolist() == [[1], [0]]
    assert "TEXT_2 1 has nothing that the vocabulary can read" in str(refused.error)


def test_what_is_blank_is_one_rule_everywhere(repository: Path) -> None:
    def rule(file: Path) -> str:
        tree = ast.parse(file.read_text("utf-8"))
        return next(ast.unparse(each) for each in tree.body if getattr(each, "name", None) == "is_blank")

    files = [*repository.glob("*/1/model.py"), Path(str(text.__file__))]
    rules = [rule(file) for file in files if "def is_blank" in file.read_text("utf-8")]
    assert len(rules) >= 4
    assert set(rules) == {rule(files[-1])}
    assert all(map(text.is_blank, ("", *INVISIBLE)))
    assert not any(map(text.is_blank, ("a", "고", "?", "👍", "\u200ba", " \u0e01", "1\ufe0f\u20e3")))


def test_control_tokens_in_a_text_are_ordinary_text(ask: Ask) -> None:
    assert pieces(ask("[SEP]")) == ["[CLS]", "[", "sep", "]", "[SEP]"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("고양이", ["고", "##양", "##이"]),
        ("😀", ["😀"]),
        ("é", ["é"]),
        ("cat\x00sat the", ["[UNK]", "the"]),
        # A word of more than a hundred letters, in pieces; as one it would be unknown.
        ("é" + "s" * 99 + "cat", ["é", *["##s"] * 3]),
    ],
)
def test_any_unicode_text_is_taken(ask: Ask, text: str, expected: list[str]) -> None:
    assert pieces(ask(text)) == ["[CLS]", *expected, "[SEP]"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "TEXT 0 is empty; text with at least one visible character is accepted"),
        (" \t\n\u3000".encode(), "TEXT 0 is empty"),
        *((text.encode(), "TEXT 0 is empty") for text in INVISIBLE),
        ("xylophone 👍".encode(), "TEXT 0 has nothing that the vocabulary can read"),
        (b"cat \xff", "TEXT 0 is not UTF-8 at byte 4; text is accepted in UTF-8 only"),
        ("\ud800".encode("utf-8", "surrogatepass"), "TEXT 0 is not UTF-8 at byte 0"),
        (b"a" * 1_000_001, "TEXT 0 has 1000001 bytes; at most 1000000 are accepted"),
    ],
)
def test_a_bad_text_is_an_invalid_argument(ask: Ask, text: bytes, message: str) -> None:
    response = ask(text)
    assert response.error is not None
    assert response.error.code == "INVALID_ARG"
    assert message in str(response.error)


def test_a_request_without_rows_is_an_invalid_argument(model: Any, fake_triton: Any) -> None:
    (response,) = model.execute([fake_triton.request(TEXT=np.empty((0, 1), dtype=np.object_))])
    assert response.error is not None
    assert response.error.code == "INVALID_ARG"


def test_a_bad_request_harms_no_other_of_its_batch(execute: Execute) -> None:
    good, bad, mixed, last = execute(["the cat"], [b"\xff"], ["cat", ""], ["sat"])
    assert good.error is None
    assert pieces(good) == ["[CLS]", "the", "cat", "[SEP]"]
    assert "TEXT 0 is not UTF-8" in str(bad.error)
    assert "TEXT 1 is empty" in str(mixed.error)
    assert pieces(last) == ["[CLS]", "sat", "[SEP]"]


@pytest.fixture
def calls(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each call of the Rust tokenizer has."""
    counted: list[int] = []

    class Counting:
        def encode_batch_fast(self, batch: list[str]) -> list[Any]:
            counted.append(len(batch))
            return tokenizer.encode_batch_fast(batch)

    tokenizer = model.tokenizer
    monkeypatch.setattr(model, "tokenizer", Counting())
    return counted


def test_all_requests_reach_the_rust_tokenizer_in_one_call(execute: Execute, calls: list[int]) -> None:
    responses = execute(["cat"], ["the cat", "sat"])
    assert calls == [3]
    assert [len(response.outputs["INPUT_IDS"]) for response in responses] == [1, 2]


def test_long_texts_are_tokenized_in_parts_and_answered_the_same(
    model: Any, execute: Execute, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = (["the cat sat the cat", "cat"], ["the"], ["sat", "sat sat"])
    together = execute(*batch)
    monkeypatch.setitem(type(model).execute.__globals__, "CHARACTERS_AT_A_TIME", 7)
    parts = execute(*batch)
    assert calls == [5, 1, 2, 1, 1]
    for one, other in zip(together, parts, strict=True):
        assert {name: value.tolist() for name, value in one.outputs.items()} == {
            name: value.tolist() for name, value in other.outputs.items()
        }


def test_ids_are_turned_into_text_beside_other_requests(model: Any, fake_triton: Any) -> None:
    ids = np.array([[CLS, 4, 12, 13, SEP], [6, -1, -1, -1, -1], [CLS, SEP, -1, -1, -1]], np.int32)
    plain = fake_triton.request(TEXT=fake_triton.texts("the cat"))
    wanted = np.array([[0], [0], [1]], np.int32)
    asked, bare, both = model.execute(
        [fake_triton.request(IDS=ids, WITH_SPECIAL=wanted), fake_triton.request(IDS=ids[:1]), plain]
    )
    assert [text.decode() for text in asked.outputs["DECODED"][:, 0]] == ["the 고양", "sat", "[CLS] [SEP]"]
    assert [text.decode() for text in bare.outputs["DECODED"][:, 0]] == ["the 고양"]
    assert set(asked.outputs) == {"DECODED"}
    assert pieces(both)[1:-1] == ["the", "cat"]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "TEXT is missing"),
        ({"IDS": np.full((2, 3), -1, np.int32)}, "IDS has 0 ids"),
        ({"IDS": np.ones((64, 10_001), np.int32)}, "1 to 640000 are accepted"),
        ({"IDS": np.array([[4, 99_999]], np.int32)}, "IDS has 99999; 0 to"),
        ({"IDS": np.array([[4, -2]], np.int32)}, "IDS has -2; 0 to"),
    ],
)
def test_ids_that_are_none_harm_nobody(model: Any, fake_triton: Any, inputs: Any, said: str) -> None:
    good = fake_triton.request(TEXT=fake_triton.texts("the cat"))
    bad, answered = model.execute([fake_triton.request(**inputs), good])
    assert said in str(bad.error)
    assert pieces(answered)[1:-1] == ["the", "cat"]
