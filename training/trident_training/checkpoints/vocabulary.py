"""A new vocabulary on the body of a pretrained encoder, for a language that its own does not know."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from trident_training.checkpoints.errors import CheckpointError

SPECIALS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
#: Characters that get a token of their own: all of Hangul's common syllables fit.
ALPHABET = 4_000
#: A piece of a word that stands less often is spelled by smaller ones.
LEAST_OFTEN = 2


def learn_vocabulary(texts: Iterable[str], size: int, max_length: int) -> PreTrainedTokenizerBase:
    """Learn word pieces, in BERT's form, but with accents kept: taking them off would break Hangul into letters.

    Source: Schuster and Nakajima, Japanese and Korean Voice Search (2012), as Devlin et al., BERT (2019), use it.

    Args:
        texts: what to learn from.
        size: tokens in the vocabulary at most.
        max_length: tokens that the encoder takes.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token=SPECIALS["unk_token"]))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.BertNormalizer(strip_accents=False, lowercase=True)]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=LEAST_OFTEN,
        limit_alphabet=ALPHABET,
        special_tokens=list(SPECIALS.values()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    first, last = SPECIALS["cls_token"], SPECIALS["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:1 {last}:1",
        special_tokens=[(each, tokenizer.token_to_id(each)) for each in (first, last)],
    )
    # BERT's own class would set its own normaliser, accents taken off, when it is read back.
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **SPECIALS,
    )


def word_embeddings(encoder: PreTrainedModel) -> torch.nn.Embedding:
    """Return an encoder's table of word embeddings.

    Raises:
        CheckpointError: it embeds words in another way.
    """
    embeddings = encoder.get_input_embeddings()
    if not isinstance(embeddings, torch.nn.Embedding):
        raise CheckpointError(f"{type(encoder).__name__} has no table of word embeddings")
    return embeddings


def with_vocabulary(
    encoder: PreTrainedModel, before: PreTrainedTokenizerBase, after: PreTrainedTokenizerBase, seed: int
) -> int:
    """Give an encoder the embeddings of another vocabulary.

    A token that both know keeps its embedding. That of a new one is a sum of vectors drawn for all that it is spelled
    with, so that words of one stem begin alike, with the mean and the spread of those that were there, which is what
    the body expects. Source: Bojanowski et al., Enriching Word Vectors with Subword Information (2017).

    Args:
        encoder: changed in place.
        before: its tokenizer.
        after: the new one.
        seed: of the draw.

    Returns:
        How many tokens were known.
    """
    old = word_embeddings(encoder).weight.detach()
    mean, spread = old.mean(0), old.std(0)
    generator = torch.Generator().manual_seed(seed)
    vectors: dict[str, torch.Tensor] = {}
    new = torch.empty(len(after), old.size(1))
    for token, index in sorted(after.get_vocab().items(), key=lambda entry: entry[1]):
        parts = _spelling(token)
        for part in parts:
            if part not in vectors:
                vectors[part] = torch.randn(old.size(1), generator=generator)
        made = torch.stack([vectors[part] for part in parts]).sum(0)
        new[index] = mean + spread * made / made.std()
    known = before.get_vocab()
    shared = {index: known[token] for token, index in after.get_vocab().items() if token in known}
    new[list(shared)] = old[list(shared.values())]
    encoder.set_input_embeddings(torch.nn.Embedding.from_pretrained(new, freeze=False, padding_idx=after.pad_token_id))
    encoder.config.vocab_size = len(after)
    encoder.config.pad_token_id = after.pad_token_id
    return len(shared)


def _spelling(token: str) -> list[str]:
    """Return the characters of a token, its pairs of characters, the whole, and threes of letters within syllables."""
    text = token.removeprefix("##")
    letters = unicodedata.normalize("NFD", text)
    pairs = [text[place : place + 2] for place in range(len(text) - 1)]
    # Syllables carry the meaning, letters its inflection.
    weighed = 2 * [*(f"character {each}" for each in text), *(f"pair {each}" for each in pairs), f"whole {text}"]
    return weighed + [f"letters {letters[place : place + 3]}" for place in range(max(1, len(letters) - 2))]
