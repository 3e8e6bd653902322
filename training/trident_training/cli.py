"""``trident-train``: the table of its commands. What a command does lives in a module of its own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from trident_training.checkpoints.pooling import Pooling
from trident_training.checkpoints.precision import Precision
from trident_training.cleaning import Cleaning
from trident_training.finetune.choices import HEADS, Kind, PairSettings, Space
from trident_training.finetune.settings import Settings, SettingsError, takes_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train, evaluate and export Trident's models.")
finetune_app = typer.Typer(no_args_is_help=True, help="Fine-tune a pretrained model.")
sweep_app = typer.Typer(no_args_is_help=True, help="Fine-tune several models alike and keep the best.")
tune_app = typer.Typer(no_args_is_help=True, help="Search for hyper-parameters; may be interrupted and shared.")
evaluate_app = typer.Typer(no_args_is_help=True, help="Score a checkpoint or a running server.")
export_app = typer.Typer(no_args_is_help=True, help="Export a checkpoint into the model repository.")
soup_app = typer.Typer(
    no_args_is_help=True,
    help="Average the weights of several fine-tunings, each taken in only where the validation set gets no worse.",
)
app.add_typer(finetune_app, name="finetune")
app.add_typer(sweep_app, name="sweep")
app.add_typer(tune_app, name="tune")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(export_app, name="export")
app.add_typer(soup_app, name="soup")

Repository = Annotated[
    Path, typer.Option(envvar="TRIDENT_REPOSITORY", help="The Triton model repository to install into.")
]
Dtype = Annotated[
    Precision,
    typer.Option(envvar="TRIDENT_DTYPE", help="auto computes in bfloat16 where the processor is fast at it."),
]
Data = Annotated[
    str, typer.Option(help="Folder with train.* and dev.*, file (.tsv, .csv, .jsonl, .parquet), or hub name.")
]
ValidationFraction = Annotated[
    float, typer.Option(min=0, max=0.5, help="Carved off the train set to choose by; 0 chooses by the data's dev set.")
]
SplitSeed = Annotated[int, typer.Option(help="Of what is carved off to choose by.")]
COLA = "nyu-mll/glue:cola"
STSB = "nyu-mll/glue:stsb"
PairSources = Annotated[
    list[str] | None, typer.Option(help="STS-B, KLUE-STS or KorSTS: file, folder or hub name; repeatable.")
]
QuestionSources = Annotated[list[str] | None, typer.Option(help="SQuAD-form JSON, folder, or hub name; repeatable.")]
DocStride = Annotated[int, typer.Option(min=1, help="Tokens that neighbouring windows share.")]
Ingredients = Annotated[list[Path], typer.Argument(help="Folders of models fine-tuned from one checkpoint.")]
SoupOutput = Annotated[Path, typer.Option("--output", help="The averaged model's folder.")]
Uniform = Annotated[bool, typer.Option("--uniform", help="Take all of them in, whatever it does.")]
PairKind = Annotated[Kind, typer.Option(help="How two sentences are compared; the bi-encoder is served.")]
PairPooling = Annotated[Pooling | None, typer.Option(help="Of a bi-encoder; the checkpoint's own by default.")]
PairLoss = Annotated[Literal["mse", "cosent"], typer.Option(help="cosent is of a bi-encoder.")]
PairMetric = Annotated[Literal["spearman", "pearson", "f1"], typer.Option(help="Chooses the best epoch.")]
PairCleaning = Annotated[Cleaning, typer.Option(help="Done to texts, here and when served.")]
PairLanguages = Annotated[list[str] | None, typer.Option(help="BCP 47 tag of the data's language; repeatable.")]
Trials = Annotated[int, typer.Option(min=1, help="Trials in the study, of all its processes together.")]
Storage = Annotated[
    str | None, typer.Option(help="URL of a database that several machines share; a file in --output by default.")
]
Study = Annotated[str, typer.Option(help="The study's name in its storage.")]
Rates = Annotated[tuple[float, float], typer.Option(help="Least and greatest learning rate.", metavar="FROM TO")]
Decays = Annotated[tuple[float, float], typer.Option(help="Least and greatest weight decay.", metavar="FROM TO")]
BatchSizes = Annotated[list[int] | None, typer.Option(min=1, help="To choose from; repeatable; 16, 32, 64 by default.")]
MostEpochs = Annotated[int, typer.Option(min=1, help="A trial has 1 to so many.")]
Models = Annotated[str, typer.Option(help="Paths, hub names or bundled ones, with commas between.")]
SEARCHED = ("learning_rate", "weight_decay", "batch_size", "epochs")
SPACE = Space()


def _choices(kind: Kind, pooling: Pooling | None, loss: str, metric: str, clean: Cleaning) -> PairSettings:
    try:
        return PairSettings(kind, pooling, loss, metric, clean)
    except SettingsError as error:
        raise typer.BadParameter(str(error)) from error


def _heads(names: str) -> dict[str, PairSettings]:
    named = list(HEADS) if names == "all" else [name.strip() for name in names.split(",")]
    unknown = [name for name in named if name not in HEADS]
    if unknown:
        raise typer.BadParameter(f"there is no head '{unknown[0]}'; {', '.join(HEADS)} and all are accepted")
    return {name: HEADS[name] for name in named}


def _space(rates: tuple[float, float], decays: tuple[float, float], sizes: list[int] | None, most: int) -> Space:
    try:
        return Space(rates, decays, tuple(sizes or SPACE.batch_sizes), most)
    except SettingsError as error:
        raise typer.BadParameter(str(error)) from error


@app.command()
def models(repository: Repository = Path("model_repository"), dtype: Dtype = Precision.AUTO) -> None:
    """Build the served models that are missing or stale."""
    from trident_training.commands import build_models

    build_models(repository, dtype)


@finetune_app.command("cola")
@takes_settings(output=Path("runs/cola"))
def finetune_cola(
    settings: Settings,
    data: Data = COLA,
    validation_fraction: ValidationFraction = 0.1,
    split_seed: SplitSeed = 0,
) -> None:
    """Fine-tune a sequence classifier on CoLA; what is not given is as the architecture's paper has it."""
    from trident_training import cola_commands

    cola_commands.finetune_cola(data, validation_fraction, split_seed, settings)


@finetune_app.command("qa")
@takes_settings("label_smoothing", output=Path("runs/qa"), max_length=256)
def finetune_qa(
    settings: Settings,
    data: QuestionSources = None,
    doc_stride: DocStride = 96,
    unambiguous: Annotated[bool, typer.Option(help="Leave out answers whose text stands more than once.")] = False,
    questions: Annotated[int | None, typer.Option(min=1, help="Learn from so many, drawn from the train set.")] = None,
    validation_fraction: ValidationFraction = 0.05,
    split_seed: SplitSeed = 0,
) -> None:
    """Fine-tune a span reader on questions; what is not given is as the architecture's paper has it."""
    from trident_training import qa_commands

    qa_commands.finetune_qa(
        data or ["squad"], unambiguous, questions, validation_fraction, split_seed, doc_stride, settings
    )


@finetune_app.command("sts")
@takes_settings("label_smoothing", output=Path("runs/sts"))
def finetune_sts(
    settings: Settings,
    data: PairSources = None,
    kind: PairKind = Kind.BI_ENCODER,
    pooling: PairPooling = None,
    loss: PairLoss = "mse",
    metric: PairMetric = "spearman",
    clean: PairCleaning = Cleaning.NONE,
    language: PairLanguages = None,
    validation_fraction: ValidationFraction = 0.1,
    split_seed: SplitSeed = 0,
) -> None:
    """Fine-tune a model of sentence similarity, and find the threshold from which two sentences are similar."""
    from trident_training import sts_commands

    choices = _choices(kind, pooling, loss, metric, clean)
    sts_commands.finetune_sts(data or [STSB], validation_fraction, split_seed, language or ["en"], choices, settings)


@tune_app.command("cola")
@takes_settings(*SEARCHED, output=Path("runs/tune-cola"))
def tune_cola(
    settings: Settings,
    data: Data = COLA,
    validation_fraction: ValidationFraction = 0.1,
    split_seed: SplitSeed = 0,
    trials: Trials = 20,
    storage: Storage = None,
    study: Study = "cola",
    learning_rates: Rates = SPACE.learning_rate,
    weight_decays: Decays = SPACE.weight_decay,
    batch_sizes: BatchSizes = None,
    most_epochs: MostEpochs = SPACE.most_epochs,
) -> None:
    """Search for what fine-tunes a model best on CoLA."""
    from trident_training import tune_commands

    space = _space(learning_rates, weight_decays, batch_sizes, most_epochs)
    task = partial(tune_commands.cola, data, validation_fraction, split_seed)
    tune_commands.tune(task, study, trials, storage, space, settings)


@tune_app.command("qa")
@takes_settings("label_smoothing", *SEARCHED, output=Path("runs/tune-qa"), max_length=256)
def tune_qa(
    settings: Settings,
    data: QuestionSources = None,
    doc_stride: DocStride = 96,
    unambiguous: Annotated[bool, typer.Option(help="Leave out answers whose text stands more than once.")] = False,
    questions: Annotated[int | None, typer.Option(min=1, help="Learn from so many, drawn from the train set.")] = None,
    validation_fraction: ValidationFraction = 0.05,
    split_seed: SplitSeed = 0,
    trials: Trials = 20,
    storage: Storage = None,
    study: Study = "qa",
    learning_rates: Rates = SPACE.learning_rate,
    weight_decays: Decays = SPACE.weight_decay,
    batch_sizes: BatchSizes = None,
    most_epochs: MostEpochs = SPACE.most_epochs,
) -> None:
    """Search for what fine-tunes a span reader best."""
    from trident_training import tune_commands

    space = _space(learning_rates, weight_decays, batch_sizes, most_epochs)
    sources = data or ["squad"]
    task = partial(tune_commands.qa, sources, unambiguous, questions, validation_fraction, split_seed, doc_stride)
    tune_commands.tune(task, study, trials, storage, space, settings)


@tune_app.command("sts")
@takes_settings("label_smoothing", *SEARCHED, output=Path("runs/tune-sts"))
def tune_sts(
    settings: Settings,
    data: PairSources = None,
    kind: PairKind = Kind.BI_ENCODER,
    pooling: PairPooling = None,
    loss: PairLoss = "mse",
    metric: PairMetric = "spearman",
    clean: PairCleaning = Cleaning.NONE,
    language: PairLanguages = None,
    validation_fraction: ValidationFraction = 0.1,
    split_seed: SplitSeed = 0,
    trials: Trials = 20,
    storage: Storage = None,
    study: Study = "sts",
    learning_rates: Rates = SPACE.learning_rate,
    weight_decays: Decays = SPACE.weight_decay,
    batch_sizes: BatchSizes = None,
    most_epochs: MostEpochs = SPACE.most_epochs,
) -> None:
    """Search for what fine-tunes a model of similarity best."""
    from trident_training import tune_commands

    space = _space(learning_rates, weight_decays, batch_sizes, most_epochs)
    choices = _choices(kind, pooling, loss, metric, clean)
    task = partial(tune_commands.sts, data or [STSB], validation_fraction, split_seed, language or [], choices)
    tune_commands.tune(task, study, trials, storage, space, settings)


@sweep_app.command("cola")
@takes_settings("model", output=Path("runs/cola-sweep"))
def sweep_cola(
    settings: Settings,
    models: Models = "",
    preset: Annotated[
        Literal["", "cola-base", "cola-bundled"], typer.Option(help="Models by name; cola-bundled needs no network.")
    ] = "",
    data: Data = COLA,
    validation_fraction: ValidationFraction = 0.1,
    split_seed: SplitSeed = 0,
) -> None:
    """Fine-tune several models on CoLA, evaluate each after every epoch, and keep the best."""
    from trident_training import sweep_commands

    sweep_commands.cola(models, preset, data, validation_fraction, split_seed, settings)


@sweep_app.command("sts")
@takes_settings("model", "label_smoothing", output=Path("runs/sts-sweep"))
def sweep_sts(
    settings: Settings,
    models: Models = "",
    preset: Annotated[
        Literal["", "klue-sts", "sts-bundled"], typer.Option(help="Models by name; sts-bundled needs no network.")
    ] = "",
    heads: Annotated[str, typer.Option(help=f"With commas between, or all: {', '.join(HEADS)}.")] = "mean",
    data: PairSources = None,
    metric: PairMetric = "spearman",
    clean: PairCleaning = Cleaning.NONE,
    language: PairLanguages = None,
    validation_fraction: ValidationFraction = 0.1,
    split_seed: SplitSeed = 0,
) -> None:
    """Fine-tune several models of similarity under several heads, evaluate each after every epoch, and keep the best.

    Of the heads only the bi-encoders, which are named by their pooling, can be served.
    """
    from trident_training import sweep_commands

    chosen = {name: replace(head, primary=metric, cleaning=clean) for name, head in _heads(heads).items()}
    sweep_commands.sts(
        models, preset, chosen, data or [STSB], validation_fraction, split_seed, language or [], settings
    )


@evaluate_app.command("cola")
def evaluate_cola(
    checkpoint: Annotated[str | None, typer.Option(help="Path or hub name of a fine-tuned classifier.")] = None,
    server: Annotated[str | None, typer.Option(help="host:port of a running Triton, in place of a checkpoint.")] = None,
    protocol: Annotated[Literal["http", "grpc"], typer.Option(help="What the server speaks at that port.")] = "http",
    data: Data = COLA,
    max_length: Annotated[int, typer.Option(min=2, help="Tokens a checkpoint's sentence is cut to.")] = 128,
) -> None:
    """Score a checkpoint or a server on the data's dev set, or on all of a single file."""
    from trident_training import cola_commands

    cola_commands.evaluate_cola(checkpoint, server, protocol, data, max_length)


@evaluate_app.command("qa")
def evaluate_qa(
    data: Annotated[str, typer.Option(help="SQuAD-form JSON, folder, or hub name.")] = "squad",
    checkpoint: Annotated[str | None, typer.Option(help="Path or hub name of a fine-tuned reader.")] = None,
    server: Annotated[str | None, typer.Option(help="host:port of a running Triton, in place of a checkpoint.")] = None,
    protocol: Annotated[Literal["http", "grpc"], typer.Option(help="What the server speaks at that port.")] = "http",
    model: Annotated[str, typer.Option(help="Which of the server's models that answer questions.")] = "qa",
    validation_fraction: Annotated[
        float, typer.Option(min=0, max=0.5, help="Score what finetune carves off; 0: the dev set, or all of a file.")
    ] = 0.0,
    split_seed: SplitSeed = 0,
    metric: Annotated[Literal["squad", "korquad"], typer.Option(help="Whose normalisation and F1.")] = "squad",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many questions.")] = None,
    max_length: Annotated[int, typer.Option(min=2, help="Tokens in a checkpoint's window.")] = 256,
    doc_stride: DocStride = 96,
    strip: Annotated[str, typer.Option(help="Texts no answer begins or ends with, such as '[CLS] [SEP]'.")] = "",
    longest_answer: Annotated[int | None, typer.Option(min=1, help="Characters above which an answer is none.")] = None,
) -> None:
    """Score a checkpoint or a server: exact match, F1, edit distance, and how right the scores are."""
    from trident_training import qa_commands

    qa_commands.evaluate_qa(
        checkpoint,
        server,
        protocol,
        model,
        data,
        validation_fraction,
        split_seed,
        metric,
        limit,
        max_length,
        doc_stride,
        strip,
        longest_answer,
    )


@evaluate_app.command("sts")
def evaluate_sts(
    data: Annotated[str, typer.Option(help="STS-B, KLUE-STS or KorSTS: file, folder or hub name.")] = STSB,
    checkpoint: Annotated[str | None, typer.Option(help="Path or hub name of a model of similarity.")] = None,
    server: Annotated[str | None, typer.Option(help="host:port of a running Triton, in place of a checkpoint.")] = None,
    protocol: Annotated[Literal["http", "grpc"], typer.Option(help="What the server speaks at that port.")] = "http",
    model: Annotated[str, typer.Option(help="Which of the server's models of similarity.")] = "sts",
    validation_fraction: Annotated[
        float, typer.Option(min=0, max=0.5, help="Score what finetune carves off; 0: the dev set, or all of a file.")
    ] = 0.0,
    split_seed: SplitSeed = 0,
    threshold: Annotated[
        float | None, typer.Option(help="The model's own by default, else the best on these pairs.")
    ] = None,
    max_length: Annotated[int, typer.Option(min=2, help="Tokens a checkpoint's sentence is cut to.")] = 128,
) -> None:
    """Score a checkpoint or a server: correlations, F1 and accuracy, beside the overlap of characters."""
    from trident_training import sts_commands

    sts_commands.evaluate_sts(
        checkpoint, server, protocol, model, data, validation_fraction, split_seed, threshold, max_length
    )


@app.command("intermediate")
@takes_settings("label_smoothing", output=Path("runs/intermediate"))
def intermediate(
    settings: Settings,
    text: Annotated[list[Path], typer.Option(help="SQuAD's JSON, or a file with a sentence a line; may be repeated.")],
    data: Data = COLA,
    examples: Annotated[int, typer.Option(min=1000, help="Sentences to make, half of them broken.")] = 400_000,
    validation_fraction: ValidationFraction = 0.1,
    split_seed: SplitSeed = 0,
) -> None:
    """Before fine-tuning on CoLA: train on sentences broken by rule and on minimal pairs made from templates."""
    from trident_training import cola_commands

    cola_commands.intermediate(data, validation_fraction, split_seed, text, examples, settings)


@soup_app.command("cola")
def soup_cola(
    checkpoints: Ingredients,
    output: SoupOutput,
    data: Data = COLA,
    validation_fraction: ValidationFraction = 0.1,
    split_seed: SplitSeed = 0,
    max_length: Annotated[int, typer.Option(min=2, help="Tokens a sentence is cut to.")] = 128,
    uniform: Uniform = False,
) -> None:
    """Average classifiers of acceptability."""
    from trident_training import cola_commands

    cola_commands.soup(checkpoints, output, data, validation_fraction, split_seed, max_length, uniform)


@soup_app.command("qa")
def soup_qa(
    checkpoints: Ingredients,
    output: SoupOutput,
    data: QuestionSources = None,
    validation_fraction: ValidationFraction = 0.05,
    split_seed: SplitSeed = 0,
    max_length: Annotated[int, typer.Option(min=2, help="Tokens in a window.")] = 256,
    doc_stride: DocStride = 96,
    uniform: Uniform = False,
) -> None:
    """Average span readers, and calibrate what comes of it."""
    from trident_training import qa_commands

    qa_commands.soup(
        checkpoints, output, data or ["squad"], validation_fraction, split_seed, max_length, doc_stride, uniform
    )


@app.command("vocabulary")
def vocabulary(
    data: Annotated[list[str], typer.Option(help="Sentence pairs, as finetune sts takes them; repeatable.")],
    output: Annotated[Path, typer.Option(help="Folder of the encoder with its new vocabulary.")],
    base: Annotated[str, typer.Option(help="The encoder: path, hub name, or small, base, multilingual.")] = "bundled",
    size: Annotated[int, typer.Option(min=100, help="Tokens at most.")] = 8_000,
    validation_fraction: ValidationFraction = 0.1,
    split_seed: SplitSeed = 0,
) -> None:
    """Give an encoder the vocabulary of a language that it does not know, learned from the train set's sentences."""
    from trident_training import sts_commands

    sts_commands.new_vocabulary(data, base, size, validation_fraction, split_seed, output)


@app.command("distill")
@takes_settings("label_smoothing", output=Path("runs/distilled"))
def distill(
    settings: Settings,
    original: Annotated[str, typer.Option(help="Sentence pairs in the teacher's language, such as STS-B.")],
    translation: Annotated[str, typer.Option(help="The same rows in the student's, such as KorSTS.")],
    teacher: Annotated[
        str, typer.Option(help="A sentence encoder: path, hub name, or small, base, multilingual.")
    ] = "bundled",
) -> None:
    """Teach a sentence encoder (--model) another language: its embeddings become those of the translated originals."""
    from trident_training import sts_commands

    sts_commands.distill(original, translation, teacher, settings)


@app.command("adapter")
def adapter(
    checkpoint: Annotated[Path, typer.Option(help="Folder of a fine-tuned classifier.")],
    output: Annotated[Path, typer.Option(help="The adapter's folder.")],
    base: Annotated[
        str, typer.Option(help="What it was fine-tuned from: path, hub name, or small, base, multilingual.")
    ] = "bundled",
) -> None:
    """Write what a fine-tuning changed in its base, in float16: small enough to ship."""
    from trident_training import cola_commands

    cola_commands.write_adapter(checkpoint, base, output)


@export_app.command("cola")
def export_cola(
    checkpoint: Annotated[str | None, typer.Option(help="Path or hub name; the shipped adapter by default.")] = None,
    name: Annotated[str, typer.Option(help="Another name makes a variant beside the first.")] = "cola",
    data: Annotated[
        str | None, typer.Option(help="What the new and the served model are scored on; taken as finetune takes it.")
    ] = None,
    validation_fraction: ValidationFraction = 0.1,
    split_seed: SplitSeed = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the served model whatever it scores.")] = False,
    max_tokens: Annotated[int | None, typer.Option(min=2, help="A variant's longest sequence.")] = None,
    repository: Repository = Path("model_repository"),
    dtype: Dtype = Precision.AUTO,
) -> None:
    """Export a CoLA classifier, softmax inside; one that scores worse than the served model is refused."""
    from trident_training import cola_commands

    cola_commands.export_cola(
        checkpoint, name, max_tokens, repository, dtype, data, validation_fraction, split_seed, replace
    )


@export_app.command("qa")
def export_qa(
    checkpoint: Annotated[str | None, typer.Option(help="Path or hub name; the shipped adapter by default.")] = None,
    name: Annotated[str, typer.Option(help="Another name makes a variant beside the first.")] = "qa",
    max_tokens: Annotated[int | None, typer.Option(min=2, help="Tokens in a variant's windows.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Divides the logits; what stands in the checkpoint's folder by default.")
    ] = None,
    unanswerable: Annotated[
        bool | None, typer.Option(help="Whether it may answer with none; as the checkpoint's folder says by default.")
    ] = None,
    repository: Repository = Path("model_repository"),
    dtype: Dtype = Precision.AUTO,
) -> None:
    """Export a span reader: packed windows in, start and end logits out."""
    from trident_training import qa_commands

    qa_commands.export_qa(checkpoint, name, max_tokens, repository, dtype, temperature, unanswerable)


@export_app.command("sts")
def export_sts(
    checkpoint: Annotated[str | None, typer.Option(help="Path or hub name; the shipped adapter by default.")] = None,
    name: Annotated[str, typer.Option(help="Another name makes a variant beside the first.")] = "sts",
    max_tokens: Annotated[int | None, typer.Option(min=2, help="A variant's longest sequence.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Cosine from which sentences are similar; the card's by default."),
    ] = None,
    language: Annotated[list[str] | None, typer.Option(help="BCP 47 tag; repeatable; the card's by default.")] = None,
    repository: Repository = Path("model_repository"),
    dtype: Dtype = Precision.AUTO,
) -> None:
    """Export a sentence encoder: pooling and unit norm inside, no padding computed."""
    from trident_training.commands import export_model
    from trident_training.repository import STS

    told = {"threshold": threshold, "languages": ",".join(language or []) or None}
    facts = {name: value for name, value in told.items() if value is not None}
    export_model(STS, checkpoint, name, max_tokens, repository, dtype, facts=facts)


def main() -> None:
    """Run the command line."""
    app()
