"""The commands that only similarity has: ``trident-train vocabulary`` and ``trident-train distill``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.markup import escape
from typer import Option

from trident_training.commands.console import done, reporting
from trident_training.commands.options import Group, training, with_options
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


@with_options(options=Group(VocabularyOptions), split=Group(Data))
def vocabulary(options: VocabularyOptions, split: Data) -> None:
    """Give an encoder the vocabulary of a language that it does not know, learned from the train set's sentences."""
    from transformers import AutoModel

    from trident_training.checkpoints.loading import load_config, load_model, load_tokenizer
    from trident_training.checkpoints.positions import most_tokens
    from trident_training.checkpoints.vocabulary import learn_vocabulary, with_vocabulary
    from trident_training.commands import steps

    with reporting("vocabulary"):
        named = SimilarityOptions(split.validation_fraction, split.split_seed, options.data)
        train = steps.load(TASK, named).splits["train"]
        encoder = load_model(AutoModel, options.base, load_config(options.base), max_length=1)
        texts = [*train["sentence_1"], *train["sentence_2"]]
        tokenizer = learn_vocabulary(texts, options.size, most_tokens(encoder))
        known = with_vocabulary(encoder, load_tokenizer(options.base), tokenizer, seed=split.split_seed)
        encoder.save_pretrained(options.output)
        tokenizer.save_pretrained(options.output)
    done(f"{options.output}: {len(tokenizer)} tokens, {known} of which {escape(options.base)} knew")


@dataclass(frozen=True, kw_only=True)
class DistillOptions:
    """What the student learns from."""

    original: Annotated[str, Option(help="Sentence pairs in the teacher's language, such as STS-B.")]
    translation: Annotated[str, Option(help="The same rows in the student's, such as KorSTS.")]
    teacher: Annotated[str, Option(help="A sentence encoder: path, hub name, or small, base, multilingual.")] = (
        "bundled"
    )


@with_options(options=Group(DistillOptions), settings=training(TASK, "runs/distilled"))
def distill(options: DistillOptions, settings: Settings) -> None:
    """Teach a sentence encoder (--model) another language: its embeddings become those of the translated originals."""
    from trident_training.checkpoints.loading import load_config
    from trident_training.commands import steps
    from trident_training.finetune.run import finetune
    from trident_training.tasks.sts import distillation
    from trident_training.tasks.sts.data import load_translations

    with reporting("distill"):
        translations = load_translations(options.original, options.translation)
        completed = settings.completed(load_config(settings.model))
        result = finetune(distillation.prepare(translations, options.teacher, completed), completed)
    steps.print_result(f"{settings.model}: mean cosine with {options.teacher}", result)
