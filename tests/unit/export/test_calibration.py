"""What int8 is fitted to: text as the tokenizer frames it, and random tokens."""

from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedModel
from trident_training.export import calibration
from trident_training.export.calibration import CHECK, LONGEST, SAMPLE, sample, texts
from trident_training.export.packing import PAIR

FIRST, LAST, UNKNOWN = 2, 3, 1
FOLDER = Path(calibration.__file__).parent
Maker = Callable[[str], PreTrainedModel]


def framing(stop: int = 96) -> str:
    """Return a tokenizer of words, most of them unknown, that puts two tokens around every text."""
    words = {"[PAD]": 0, "[UNK]": UNKNOWN, "[CLS]": FIRST, "[SEP]": LAST, "the": 5, "a": 6, "이": 7, ".": stop}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", LAST), ("[CLS]", FIRST))
    return str(tokenizer.to_str())


def test_it_has_text_and_random_tokens_in_the_frame_that_every_text_has(tiny_encoder: Maker) -> None:
    sequences = sample(framing(), tiny_encoder("bert"))
    assert all((each[0], each[-1]) == (FIRST, LAST) for each in sequences)
    assert all(3 <= len(each) <= LONGEST for each in sequences)
    seen = torch.cat(sequences).unique()
    assert {5, 6, 96} <= set(seen.tolist()), "words of the sample's sentences"
    assert len(seen) > 90, "random tokens of a vocabulary of 97"


def test_without_a_tokenizer_and_beyond_a_vocabulary_it_keeps_to_what_the_encoder_has(tiny_encoder: Maker) -> None:
    encoder = tiny_encoder("bert")
    assert max(len(each) for each in sample(None, encoder)) <= LONGEST
    assert max(int(each.max()) for each in sample(framing(stop=5000), encoder)) == encoder.config.vocab_size - 1


def test_it_is_judged_by_texts_that_it_was_not_fitted_to(tiny_encoder: Maker) -> None:
    fitted, judging = (set((FOLDER / name).read_text("utf-8").splitlines()) for name in (SAMPLE, CHECK))
    assert not fitted & judging
    assert all(each.strip() for each in judging)
    encoder = tiny_encoder("bert")
    found = texts(framing(stop=5000), encoder)
    assert len(found) == len(judging)
    assert all((each[0], each[-1]) == (FIRST, LAST) for each in found)
    assert max(int(each.max()) for each in found) == encoder.config.vocab_size - 1


def test_what_reads_pairs_is_judged_by_pairs_that_have_nothing_in_common_and_that_have_much(
    tiny_encoder: Maker,
) -> None:
    encoder = tiny_encoder("bert")
    alone, pairs, both = (texts(framing(), encoder, ("en",), counts) for counts in ((1,), (2,), (1, 2)))
    assert [each.tolist() for each in both] == [each.tolist() for each in (*alone, *pairs)]
    assert len(pairs) == 2 * len(alone)
    for before, line, pair, halved in zip([alone[-1], *alone], alone, pairs, pairs[len(alone) :], strict=False):
        assert max(len(pair), len(halved)) <= LONGEST + 1
        # The frame's end stands behind each text, its beginning in front of the first.
        if len(pair) <= LONGEST:
            assert pair.tolist() == [*before.tolist(), PAIR, *line.tolist()[1:]]
        if len(halved) <= LONGEST:
            first = halved.tolist().index(PAIR)
            assert halved.tolist() == [*line.tolist()[: first - 1], LAST, PAIR, *line.tolist()[1:]]
            assert 2 < first < len(line)


def test_it_is_judged_by_texts_of_its_own_languages(tiny_encoder: Maker) -> None:
    counts = {which: len(texts(framing(), tiny_encoder("bert"), which)) for which in ((), ("en",), ("ko",))}
    lines = (FOLDER / CHECK).read_text("utf-8").splitlines()
    korean = sum(any("가" <= letter <= "힣" for letter in line) for line in lines)
    assert counts[("en",)] == len(lines) - korean > 15
    assert counts[("ko",)] >= korean > 10
    assert counts[()] == len(lines)
