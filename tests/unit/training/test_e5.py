"""The file that multilingual-e5-small is read from: one of the same kind, written here with a few small layers."""

from __future__ import annotations

import struct
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer
from trident_training.checkpoints import e5
from trident_training.checkpoints.bundled import MADE
from trident_training.checkpoints.errors import CheckpointError
from trident_training.checkpoints.wheels import CacheSettings, identity

PIECES = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "▁",
    "▁안",
    "녕",
    "안",
    "한",
    "▁한",
    "글",
    "～",
    "~",
    "▁a",
    "b",
    "ABC",
    "👍",
    "<mask>",
]
SIZES = {"hidden": 32, "layers": 2, "heads": 4, "intermediate": 64, "vocabulary": 20, "positions": 16, "types": 2}
#: As the real file: NFKC of single characters, and what SentencePiece's rules have beside it.
NORMALIZED = {"Ａ": "A", "Ｂ": "B", "Ｃ": "C", "\x07": "", "\t": " ", "\n": " ", "\u200b": " ", "▁": " ", "ﬁ": "fi"}


def quantized(weights: np.ndarray) -> bytes:
    """Return Q4_0 blocks of weights that are whole multiples, -8 to 7, of each block's scale, 0.25."""
    blocks = (weights.reshape(-1, 32) / 0.25 + 8).astype(np.uint8)
    return b"".join(np.float16(0.25).tobytes() + (row[:16] | row[16:] << 4).tobytes() for row in blocks)


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = e5._shapes(e5.Sizes(*SIZES.values(), 1e-12))
    return {name: (rng.integers(-8, 8, shape) * 0.25).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def content(weights: dict[str, np.ndarray]) -> bytes:
    text = "".join(PIECES).encode()
    ends = np.cumsum([0, *(len(piece.encode()) for piece in PIECES)]).astype("<u4")
    scores = np.array([0, 0, 0, 0, *(-1.0 - 0.1 * i for i in range(len(PIECES) - 5)), 0], "<f4")
    entries = b"".join(
        struct.pack(f"<IB{len(to)}I", ord(character), len(to), *map(ord, to)) for character, to in NORMALIZED.items()
    )
    head = b"E5S1" + struct.pack("<I7ifi", 1, *SIZES.values(), 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(text)) + ends.tobytes() + scores.tobytes() + text
    head += struct.pack("<iI", len(NORMALIZED), len(entries)) + entries + struct.pack("<i", len(weights))
    data = {
        name: (1, quantized(values)) if values.ndim == 2 and name != "emb.pos" else (0, values.tobytes())
        for name, values in weights.items()
    }
    directory = sum(2 + len(name) + 21 for name in data)
    place, listed = len(head) + directory, b""
    for name, (kind, stored) in data.items():
        listed += struct.pack("<H", len(name)) + name.encode()
        listed += struct.pack("<BIQQ", kind, weights[name].size, place, len(stored))
        place += len(stored)
    return head + listed + b"".join(stored for _, stored in data.values())


@pytest.fixture
def checkpoint(content: bytes, tmp_path: Path) -> Path:
    (tmp_path / "small.bin").write_bytes(content)
    e5.convert(tmp_path / "small.bin", tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_every_weight_is_the_files_and_none_is_left_over(checkpoint: Path, weights: dict[str, np.ndarray]):
    model, report = AutoModel.from_pretrained(checkpoint, add_pooling_layer=False, output_loading_info=True)

    assert not any(report.values())
    state = model.state_dict()
    for name, values in weights.items():
        torch.testing.assert_close(state[e5._transformers_name(name)], torch.from_numpy(values), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("안녕", ["▁안", "녕"]),
        (unicodedata.normalize("NFD", "한글"), ["▁한", "글"]),
        ("한글안", ["▁한", "글", "안"]),
        ("  안  녕 ", ["▁안", "▁", "녕"]),
        ("안\t녕\n", ["▁안", "▁", "녕"]),
        ("안\u200b녕", ["▁안", "▁", "녕"]),
        ("안\x07녕", ["▁안", "녕"]),
        ("안▁녕", ["▁안", "▁", "녕"]),
        ("～~", ["▁", "～", "~"]),
        ("ＡＢＣ", ["▁", "ABC"]),
        ("👍", ["▁", "👍"]),
        ("語", ["▁", "<unk>"]),
        ("", []),
    ],
)
def test_texts_are_cut_as_the_files_rules_have_it(checkpoint: Path, text: str, pieces: list[str]):
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)

    assert tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) == ["<s>", *pieces, "</s>"]


def test_a_pair_is_laid_out_as_xlm_r_has_it(checkpoint: Path):
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)

    assert tokenizer.decode(tokenizer("안", "녕")["input_ids"]).replace(" ", "") == "<s>안</s></s>녕</s>"
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.model_max_length) == (1, 3, 16)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.999])
def test_a_file_that_is_cut_off_is_refused(content: bytes, tmp_path: Path, share: float):
    (tmp_path / "cut.bin").write_bytes(content[: int(len(content) * share)])

    with pytest.raises(CheckpointError, match=r"cut\.bin"):
        e5.convert(tmp_path / "cut.bin", tmp_path / "out")


def test_a_file_of_another_kind_is_refused(content: bytes, tmp_path: Path):
    (tmp_path / "other.bin").write_bytes(b"GGUF" + content[4:])

    with pytest.raises(CheckpointError, match="not a model of the kind E5S1"):
        e5.read(tmp_path / "other.bin")


@pytest.fixture(scope="module")
def multilingual():
    """The real encoder's tokenizer, where the encoder was made before; 91 MB are not fetched for a test."""
    folder = CacheSettings().cache_dir.expanduser() / "encoders" / identity("multilingual", MADE["multilingual"])
    if not folder.is_dir():
        pytest.skip("the encoder 'multilingual' is not in the cache")
    return AutoTokenizer.from_pretrained(folder)


#: Ids of XLM-R's own tokenizer, without those of the frame: what the tests of transformers and of
#: onnxruntime-extensions expect of xlm-roberta-base.
PUBLISHED = {
    "Hello World!": [35378, 6661, 38],
    "This is a test sentence": [3293, 83, 10, 3034, 149357],
    "The quick brown fox jumps over the lazy dog.": (
        [581, 63773, 119455, 6, 147797, 88203, 7, 645, 70, 21, 3285, 10269, 5]
    ),
    "This is a test 😊\nI was born in 92000, and this is falsé.": (
        [3293, 83, 10, 3034, 6, 82803, 87, 509, 103122, 23, 483, 13821, 4, 136, 903, 83, 84047, 446, 5]
    ),
    "生活的真谛是\nHi  Hello\nHi   Hello\n\n \n  \n Hello": [
        6,
        62668,
        5364,
        245875,
        354,
        2673,
        35378,
        2673,
        35378,
        35378,
    ],
    "But ird and ปี   ird   ด": [4966, 193, 71, 136, 10249, 193, 71, 48229],
    'characters, such as: . , ~ ? ( ) " [ ] ! : - . Also': (
        [124850, 4, 6044, 237, 12, 6, 5, 6, 4, 6780, 705, 15, 1388, 44, 378, 10114, 711, 152, 20, 6, 5, 22376]
    ),
    "tokenized to <unk>, such as saoneuhaoesuth": [
        47,
        1098,
        29367,
        47,
        3,
        6,
        4,
        6044,
        237,
        6284,
        50901,
        528,
        31,
        90,
        34,
        927,
    ],
}
#: What was told of it elsewhere, and other spellings of the same.
TOLD = {
    "안녕하세요": [107687],
    unicodedata.normalize("NFD", "안녕하세요"): [107687],
    "\u3000안녕하세요\u00a0\n": [107687],
    "Hello world": [35378, 8999],
    " \tＨｅｌｌｏ \u2003 world  ": [35378, 8999],
    "👍": [6, 118280],
    "Hello👍 안녕하세요👍": [35378, 118280, 107687, 118280],
}


@pytest.mark.parametrize(("text", "ids"), [*PUBLISHED.items(), *TOLD.items()])
def test_the_real_encoder_has_xlm_rs_ids(multilingual, text: str, ids: list[int]):
    assert multilingual(text)["input_ids"] == [0, *ids, 2]


def test_two_characters_come_out_otherwise_than_the_file_has_it(multilingual):
    normalizer = multilingual.backend_tokenizer.normalizer

    # The page of training tells of both.
    assert [normalizer.normalize_str(character) for character in ("\U0001f23b", "\ufdd0")] == ["配", "～"]
