"""The commands that only similarity has: ``trident-train vocabulary`` and ``contrast``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rich.markup import escape
from trident_client.options import Group, with_options
from typer import Option

from trident_training.commands.console import done, note, reporting
from trident_training.commands.options import training
from trident_training.finetune.settings import Settings
from trident_training.tasks.base import Data
from trident_training.tasks.sts.task import TASK, SimilarityOptions


@dataclass(frozen=True, kw_only=True)
class VocabularyOptions:
    """What the vocabulary is learned from, and whose it becomes."""

    data: Annotated[list[str], Option(help="Sentence pairs, as finetune sts takes them; repeatable.")]
    output: Annotated[Path, Option(help="Folder of the encoder with its new vocabulary.")]
    base: Annotated[str, Option(help="The encoder: path, hub name, or small, base, multilingual.")] = "bundled"
    size: Annotated[int, Option(min=100, help="Tokens at most.")] = 8_000
    keep: Annotated[
        bool, Option("--keep", help="Learn none: keep the encoder's own pieces that the texts use, and no others.")
    ] = False
    text: Annotated[
        list[Path],
        Option(
            help="Of --keep: further text, a JSON file's strings or another's lines; repeatable.", show_default=False
        ),
    ] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.text and not self.keep:
            raise ValueError("--text is of --keep; a vocabulary is learned from the sentences of --data")


@with_options(options=Group(VocabularyOptions), split=Group(Data))
def vocabulary(options: VocabularyOptions, split: Data) -> None:
    """Give an encoder a vocabulary that is learned from the train set's sentences, or (--keep) cut its own to them."""
    from transformers import AutoModel

    from trident_training.checkpoints.loading import load_config, load_model, load_tokenizer
    from trident_training.checkpoints.positions import most_tokens
    from trident_training.checkpoints.vocabulary import learn_vocabulary, with_vocabulary
    from trident_training.commands import steps
    from trident_training.tasks.sts.data import MOST

    with reporting("vocabulary"):
        # The libraries that write say nothing where a file has the folder's place.
        options.output.mkdir(parents=True, exist_ok=True)
        # Of the pairs only the sentences count, whatever their scores end at.
        named = SimilarityOptions(split.validation_fraction, split.split_seed, options.data, scale=[MOST])
        splits = steps.load(TASK, named).splits
        texts = {name: [*rows["sentence_1"], *rows["sentence_2"]] for name, rows in splits.items()}
        train = texts.pop("train")
        if options.keep:
            said = _cut(options, train, [text for held_out in texts.values() for text in held_out])
        else:
            encoder = load_model(AutoModel, options.base, load_config(options.base), max_length=1)
            tokenizer = learn_vocabulary(train, options.size, most_tokens(encoder))
            known = with_vocabulary(encoder, load_tokenizer(options.base), tokenizer, seed=split.split_seed)
            encoder.save_pretrained(options.output)
            tokenizer.save_pretrained(options.output)
            said = f"{len(tokenizer)} tokens, {known} of which {options.base} knew"
    done(f"{options.output}: {escape(said)}")


def _cut(options: VocabularyOptions, train: Sequence[str], held_out: Sequence[str]) -> str:
    """Cut an encoder's vocabulary to the pieces of texts, and say what held-out texts lose by it."""
    from trident_training.checkpoints.vocabulary import cut_checkpoint, texts_of

    further = (text for file in options.text for text in texts_of(file))
    lost = cut_checkpoint(options.base, options.output, itertools.chain(train, further), held_out)
    return (
        f"{lost['kept']} of {lost['of']} tokens; {lost['cut_otherwise']} of {lost['texts']} held-out texts are cut "
        f"into other pieces, and their embeddings have a mean cosine of {lost['mean_cosine']:.4f} with the former ones"
    )


@dataclass(frozen=True, kw_only=True)
class ContrastOptions:
    """What is learned from, and what the best epoch is chosen by."""

    data: Annotated[
        list[Path],
        Option(help="Sentences that mean the same: anchor, positive, negative; NLI; or set, sentence; repeatable."),
    ]
    validation: Annotated[str, Option(help="Pairs with their similarity, as evaluate sts takes them.")]
    pairs_per_set: Annotated[int, Option(min=1, help="Pairs drawn of a set of paraphrases, at most.")] = 2


@with_options(options=Group(ContrastOptions), settings=training(TASK, "runs/contrast"))
def contrast(options: ContrastOptions, settings: Settings) -> None:
    """Before fine-tuning on graded pairs: teach an encoder (--model) which sentences mean the same."""
    from trident_training.checkpoints.loading import load_config
    from trident_training.commands import steps
    from trident_training.commands.console import console
    from trident_training.finetune.run import finetune
    from trident_training.tasks.sts.contrast import prepare
    from trident_training.tasks.sts.data import load_rows
    from trident_training.tasks.sts.triplets import load_triplets

    with reporting("contrast"):
        triplets = load_triplets(options.data, pairs_per_set=options.pairs_per_set, seed=settings.seed)
        negatives = sum(triplet.negative is not None for triplet in triplets)
        console.print(f"{len(triplets)} pairs that mean the same, {negatives} with a hard negative")
        completed = settings.completed(load_config(settings.model))
        result = finetune(prepare(triplets, load_rows(options.validation), completed), completed, say=note)
    steps.print_result(settings.model, result)
