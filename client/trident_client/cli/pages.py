"""What ``--help`` says: for each command what it does, examples that run, and how it ends."""

from __future__ import annotations

from trident_client.cli.failures import EXIT_CODES

ABOUT = {
    "cola": (
        "Say how probable it is that sentences are grammatically acceptable.",
        "Sentences come from the arguments, from --input (column sentence, text or passage) or, one a line, from "
        "standard input.",
    ),
    "sts": (
        "Say how similar in meaning pairs of sentences are: the cosine of their embeddings, -1 to 1.",
        "Pairs come from the arguments, from --input (columns sentence_1 and sentence_2) or, one a line with a tab "
        "between the two, from standard input.",
    ),
    "classify": (
        "Say what texts, or pairs of them, are by the labels of a classifier.",
        "Texts come from the arguments, from --input (column text, sentence or premise, and text_pair or hypothesis "
        "where there is a second one) or, one a line, from standard input.",
    ),
    "rerank": (
        "Say how well texts belong to a query, by a cross-encoder that reads both: 0 to 1.",
        "A query and its texts come from the arguments, and many from --input (columns query and text) or, one a line "
        "with a tab between the two, from standard input.",
    ),
    "embed": (
        "Embed texts as vectors of unit length.",
        "Texts come from the arguments, from --input (column text, sentence or passage) or, one a line, from standard "
        "input.",
    ),
    "qa": (
        "Find the answers to questions in texts of any length.",
        "A question and its context come from the arguments, or the context from standard input; many come from "
        "--input (columns question and context) or, one a line with a tab between the two, from standard input.",
    ),
    "models": ("List the sets of models that are served.",),
    "ready": ("Say of each server whether every model answers.",),
    "watch": ("Watch what the models do: a live table from Triton's statistics and metrics.",),
    "doctor": (
        "Say what is missing or slow on this machine for asking, serving and training, and what to do.",
        "Nothing is changed. What is not installed, and was not named, is no failure; settings of the server are its "
        "TRIDENT_ variables, or options of trident-serve doctor.",
    ),
}
EXAMPLES = {
    "cola": (
        'trident cola "I am a boy." "I are a boy."',
        r"printf 'I am a boy.\nI are a boy.\n' | trident cola",
        "trident cola --input sentences.csv --output judged.jsonl",
    ),
    "sts": (
        'trident sts "A man plays a guitar." "Someone makes music."',
        r"printf 'A man plays.\tSomeone plays.\n' | trident sts",
        "trident sts --input pairs.csv --output scored.parquet",
        "trident sts --input pairs.csv --output scored.parquet --resume",
        "trident sts --input others.json --columns first,second --output scored.csv",
    ),
    "classify": (
        'trident classify "The parcel never came." --model topics',
        "trident classify --input mails.csv --top-k 3 --output labelled.jsonl",
    ),
    "rerank": (
        'trident rerank "Where does the Danube rise?" "In the Black Forest." "In spring." --top-n 1',
        "trident rerank --input candidates.csv --output scored.parquet",
    ),
    "embed": (
        'trident embed "A man plays a guitar."',
        "trident embed --input sentences.csv --output embeddings.parquet",
        "trident embed --input 'texts/*.parquet' --output embedded",
    ),
    "qa": (
        'trident qa "Where does the Danube rise?" "The Danube rises in the Black Forest."',
        'trident qa "Where does the Danube rise?" --top-k 3 < danube.txt',
        'trident qa --model qa_ko "한강은 어디에서 시작하는가?" "한강은 태백시의 검룡소에서 시작한다."',
        "trident qa --input questions.jsonl --output answers.jsonl",
    ),
    "models": ("trident models", "trident models --json"),
    "ready": ("trident ready", "trident ready --wait 60"),
    "watch": ("trident watch --count 2", "trident watch --interval 0.5 --count 3"),
    "doctor": ("trident doctor client",),
}


DOCTORS_EXIT_CODES = """\b
Exit codes:
  0  nothing is missing, though something may be slow
  1  something is missing
  2  an option is wrong"""


def page(command: str) -> str:
    """Return the help of a command. Lines behind a backspace are kept as they are."""
    examples = "\n".join(f"  {example}" for example in EXAMPLES[command])
    codes = DOCTORS_EXIT_CODES if command == "doctor" else EXIT_CODES
    return "\n\n".join([*ABOUT[command], f"\b\nExamples:\n{examples}", codes])
