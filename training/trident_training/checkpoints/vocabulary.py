"""Another vocabulary on a pretrained body: a new one, for a language that its own does not know, or its own, cut."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from trident_training.checkpoints.adapters import head_of
from trident_training.checkpoints.bundled import location
from trident_training.checkpoints.errors import CheckpointError
from trident_training.checkpoints.loading import load_config, load_model, load_tokenizer, tokenizer_json
from trident_training.checkpoints.pooling import Pooling
from trident_training.checkpoints.pruning import differing, keep_embeddings, prune, word_embeddings

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
BATCH = 64


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


def texts_of(file: Path) -> Iterator[str]:
    """Yield every text of a file: each string of a JSON document, or each line of anything else.

    Raises:
        CheckpointError: it is not UTF-8, or no JSON though it is called so.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        yield from _strings(json.loads(text)) if file.suffix == ".json" else text.splitlines()
    except ValueError as error:
        raise CheckpointError(f"{file}: neither JSON nor text in UTF-8: {error}") from error


def _strings(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for each in content.values() if isinstance(content, dict) else content:
            yield from _strings(each)


def cut_checkpoint(base: str, output: Path, texts: Iterable[str], held_out: Sequence[str]) -> dict[str, Any]:
    """Write a checkpoint whose vocabulary is cut, and what else stands in its folder, such as its pooling.

    Args:
        base: path, hub name or bundled.
        output: the new checkpoint's folder; ``vocabulary.json`` there holds what is returned.
        texts: what is cut as before.
        held_out: what the loss is measured on.

    Returns:
        ``kept`` and ``of``, tokens; ``texts``, how many were held out, and how many of them are ``cut_otherwise``;
        ``mean_cosine`` and ``smallest_cosine`` of the latter's embeddings before and after, 1 where there are none.

    Raises:
        CheckpointError: nothing can be loaded, or the vocabulary cannot be cut.
    """
    before = tokenizer_json(base)
    after, kept = prune(before, texts)
    former, config = load_tokenizer(base), load_config(base)
    # A head stays, if it is one that is served.
    model = load_model(head_of(config, AutoModel), base, config, max_length=1).eval()
    folder = Path(location(base))
    if folder.is_dir() and folder != output:
        shutil.copytree(folder, output, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(after),
        model_max_length=former.model_max_length,
        model_input_names=former.model_input_names,
        **former.special_tokens_map,
    )
    changed = list(differing(before, after, held_out))
    with_former = _embeddings(model, former, changed)
    keep_embeddings(model, kept, tokenizer.pad_token_id)
    cosines = (with_former * _embeddings(model, tokenizer, changed)).sum(1)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    found = {
        "kept": len(kept),
        "of": len(former),
        "texts": len(held_out),
        "cut_otherwise": len(changed),
        "mean_cosine": float(cosines.mean()) if changed else 1.0,
        "smallest_cosine": float(cosines.min()) if changed else 1.0,
    }
    (output / "vocabulary.json").write_text(json.dumps(found, indent=2) + "\n")
    return found


def _embeddings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> torch.Tensor:
    """Return the mean of each text's last hidden states, of unit norm, ``[n, hidden]``."""
    found = [torch.zeros(0, model.config.hidden_size)]
    for start in range(0, len(texts), BATCH):
        batch = tokenizer(list(texts[start : start + BATCH]), padding=True, truncation=True, return_tensors="pt")
        mask = batch["attention_mask"]
        with torch.inference_mode():
            hidden = model.base_model(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state
        found.append(torch.nn.functional.normalize(Pooling.MEAN.of_padded(hidden, mask), dim=1))
    return torch.cat(found)
