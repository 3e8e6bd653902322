"""SentencePiece tokenizers converted to Rust, against SentencePiece itself, on Korean text."""

import io
import random
import shutil
import sys
import unicodedata
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertForQuestionAnswering, MT5Config
from trident_training.checkpoints.errors import CheckpointError
from trident_training.checkpoints.loading import load_tokenizer, tokenizer_json
from trident_training.checkpoints.sentencepiece import convert, sentencepiece_file

SUBJECTS = (
    "나는",
    "우리는",
    "학생이",
    "고양이가",
    "할머니께서",
    "서울은",
    "한국어를",
    "그 사람은",
    "어제 친구와",
    "NASA가",
)
OBJECTS = ("밥을", "책을 많이", "도서관에서", "1989년 2월에", "한강 옆을", "영화 '기생충'을", "물 2리터를", "😀")
VERBS = ("먹었다.", "읽습니다.", "걸어갔어요.", "보았다!", "좋아합니까?", "만들었다.", "태어났다.")
SENTENCES = [f"{subject} {thing} {verb}" for subject in SUBJECTS for thing in OBJECTS for verb in VERBS]
ODD = (" ", "  ", "\t", "e\u0301", "한", "\u1112\u1161\u11ab", "Ａ", "①")
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A small unigram model with KoBERT's special tokens."""
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 3),
        model_writer=content,
        vocab_size=400,
        hard_vocab_limit=False,
        model_type="unigram",
        character_coverage=0.999,
        unk_id=0,
        unk_piece="[UNK]",
        pad_id=1,
        pad_piece="[PAD]",
        bos_id=-1,
        eos_id=-1,
        control_symbols=["[CLS]", "[SEP]", "[MASK]"],
        num_threads=1,
        minloglevel=2,
    )
    file = tmp_path_factory.mktemp("kobert") / "tokenizer_78b3.model"
    file.write_bytes(content.getvalue())
    return file


@pytest.fixture(scope="module")
def original(trained) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(trained))


@pytest.fixture(scope="module")
def converted(trained):
    return convert(trained)


def pieces(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_ids_are_sentencepieces_own_on_every_sentence(original, converted):
    for sentence in SENTENCES:
        assert pieces(converted, sentence) == original.encode(sentence), sentence


@pytest.mark.slow
@given(st.lists(st.one_of(st.sampled_from([*WORDS, *ODD]), st.characters(codec="utf-8")), max_size=12).map("".join))
@settings(max_examples=300)
def test_ids_are_sentencepieces_own_on_any_text(original, converted, text):
    assert pieces(converted, text) == original.encode(text)


def test_ids_are_sentencepieces_own_on_whatever_is_not_seen(original, converted):
    for character in map(chr, range(sys.maxunicode + 1)):
        if unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp", "Zs"}:
            for text in (character, f"나는{character}", f"{character} 밥을", f"나는 {character} 밥을"):
                assert pieces(converted, text) == original.encode(text), repr(text)


def test_a_text_of_spaces_is_no_way_to_keep_the_server_busy(original, converted):
    # With the square of their number, these would take half an hour, which no test has.
    text = "나는" + " " * 1_000_000 + "밥을"
    assert pieces(converted, text) == original.encode(text)


def test_offsets_are_sentencepieces_own(original, converted):
    for sentence in SENTENCES[::5]:
        encoded = converted(sentence, add_special_tokens=False, return_offsets_mapping=True)
        # SentencePiece counts in bytes.
        expected = original.encode(sentence, return_type="proto").pieces
        for (start, end), piece in zip(encoded["offset_mapping"], expected, strict=True):
            # The mark of a word's beginning stands for a space, or at the very beginning for nothing.
            if piece.piece != "▁":
                text = sentence.encode()[piece.begin : piece.end].decode()
                assert sentence[start:end].strip() == text.strip()
                assert len(sentence[:end].encode()) == piece.end


def test_a_vocabulary_beside_it_gives_the_ids(trained, original, converted, tmp_path):
    shutil.copy(trained, tmp_path)
    names = [original.id_to_piece(index) for index in range(len(original))]
    shuffled = random.Random(1).sample(names, len(names))
    (tmp_path / "vocab.txt").write_text("\n".join([*shuffled, "[unused1]"]) + "\n", "utf-8")
    other = convert(tmp_path / trained.name)
    assert len(other) == len(names) + 1
    for sentence in SENTENCES[::20]:
        assert [shuffled[index] for index in pieces(other, sentence)] == original.encode_as_pieces(sentence)
    assert other.cls_token_id == shuffled.index("[CLS]")


def test_pairs_are_framed_as_bert_frames_them(converted):
    encoded = converted("나는", "밥을 먹었다.")
    tokens = converted.convert_ids_to_tokens(encoded["input_ids"])
    assert (tokens[0], tokens[-1], tokens.count("[SEP]")) == ("[CLS]", "[SEP]", 2)
    second = tokens.index("[SEP]") + 1
    assert encoded["token_type_ids"] == [0] * second + [1] * (len(tokens) - second)


def test_a_checkpoint_of_that_kind_is_loaded_and_exported_with_it(trained, converted, tmp_path):
    shutil.copy(trained, tmp_path)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
    BertForQuestionAnswering(BertConfig(vocab_size=len(converted), **sizes)).save_pretrained(tmp_path)
    assert sentencepiece_file(tmp_path) is not None
    assert pieces(load_tokenizer(str(tmp_path)), SENTENCES[0]) == pieces(converted, SENTENCES[0])
    assert tokenizer_json(tmp_path) == converted.backend_tokenizer.to_str()
    converted.save_pretrained(tmp_path)
    assert sentencepiece_file(tmp_path) is None, "what has a Rust form needs none"


def test_a_text_of_t5s_kind_has_a_last_token_and_no_first(tmp_path):
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 3),
        model_writer=content,
        vocab_size=400,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    (tmp_path / "spiece.model").write_bytes(content.getvalue())
    MT5Config().save_pretrained(tmp_path)
    original, read = sentencepiece.SentencePieceProcessor(model_proto=content.getvalue()), load_tokenizer(tmp_path)
    first, second = (original.encode(sentence) for sentence in SENTENCES[:2])
    assert dict(read(SENTENCES[0])) == {"input_ids": [*first, 1], "attention_mask": [1] * (len(first) + 1)}
    assert read(*SENTENCES[:2])["input_ids"] == [*first, 1, *second, 1]
    assert (read.pad_token_id, read.unk_token_id) == (0, 2)


def test_other_files_are_refused(tmp_path, trained):
    (tmp_path / "a.model").write_bytes(b"\xff\xff not one")
    with pytest.raises(CheckpointError, match=r"a.model is no (unigram )?model of SentencePiece"):
        convert(tmp_path / "a.model")
    shutil.copy(trained, tmp_path / "b.model")
    (tmp_path / "vocab.txt").write_text("[UNK]\n[PAD]\n▁나\n")
    with pytest.raises(CheckpointError, match=r"b.model has no cls_token; \[CLS\] or <s> is accepted"):
        convert(tmp_path / "b.model")
