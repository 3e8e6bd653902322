"""Scores a served set of models on a file of pairs, through mteb's wrapper of OpenAI's package.

Runs in an environment with mteb, openai and tiktoken. Each row has two sentences and how similar people find them, on
any scale: CSV with the columns ``sentence1``, ``sentence2`` and ``score``, or STS-B's and KorSTS's own form, with tabs
between. What is printed is Spearman's correlation of that with the cosines.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import mteb
import openai
import tiktoken
from datasets import Dataset, DatasetDict
from mteb.models.model_implementations.openai_models import OpenAIModel

# mteb cuts texts by an encoding of OpenAI's, which it would fetch; one of bytes cuts nothing that a model takes.
tiktoken.registry.ENCODINGS["bytes"] = tiktoken.Encoding(
    "bytes", pat_str=".", mergeable_ranks={bytes([each]): each for each in range(256)}, special_tokens={}
)
MOST_BYTES = 1_000_000
COLUMNS = ("sentence1", "sentence2", "score")
#: Where those stand in STS-B's own files, which have no header, and may have further columns behind.
OWN = (5, 6, 4)


def read(file: Path) -> Dataset:
    """Return the rows of a file of pairs, as :func:`score` takes them.

    Raises:
        ValueError: a row is none; says which and why.
    """
    with file.open(encoding="utf-8-sig", newline="") as lines:
        tabs = "\t" in lines.readline()
        lines.seek(0)
        # A quotation mark beside tabs is a character of the text.
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(lines)
        numbered = [(rows.line_num, row) for row in rows if row]
    header = numbered[0][1] if numbered else []
    named = set(COLUMNS) <= set(header)
    if not named and not tabs:
        raise ValueError(f"{file} has no header with {', '.join(COLUMNS)}, nor tabs between its columns")
    places = [header.index(name) for name in COLUMNS] if named else OWN
    columns: list[tuple[str, str, float]] = []
    for number, row in numbered[named:]:
        try:
            first, second, given = (row[place] for place in places)
            columns.append((first, second, float(given)))
        except (IndexError, ValueError) as error:
            raise ValueError(f"{file}, line {number}: two sentences and a number are accepted: {error}") from error
    if len(columns) < 2:
        raise ValueError(f"{file} has {len(columns)} pairs; 2 or more are accepted")
    return Dataset.from_dict(dict(zip(COLUMNS, zip(*columns, strict=True), strict=True)))


def score(data: Dataset, model: str, url: str, key: str) -> float:
    """Return Spearman's correlation, -1 to 1, of the pairs' scores and their embeddings' cosines.

    Args:
        data: the columns ``sentence1``, ``sentence2`` and ``score``.
        model: the set of models.
        url: of the facade, with ``/v1``.
        key: of the facade; any where it asks for none.
    """
    client = openai.OpenAI(base_url=url, api_key=key)
    width = len(client.embeddings.create(model=model, input="a").data[0].embedding)
    task = mteb.get_task("STSBenchmark")
    task.dataset, task.data_loaded = DatasetDict({"test": data}), True
    served = OpenAIModel(model, max_tokens=MOST_BYTES, tokenizer_name="bytes", embed_dim=width, client=client)
    return float(mteb.evaluate(served, [task], cache=None, co2_tracker=False)[0].get_score())


def main() -> None:
    """Score a file of pairs, and print the correlation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, help="CSV with the columns sentence1, sentence2 and score, or STS-B's form")
    parser.add_argument("--model", default="sts", help="the set of models; %(default)s by default")
    parser.add_argument("--url", default="http://localhost:8000/v1", help="of the facade; %(default)s by default")
    parser.add_argument("--key", default="none", help="of the facade, where it asks for one")
    chosen = parser.parse_args()
    try:
        print(f"{score(read(chosen.pairs), chosen.model, chosen.url, chosen.key):.4f}")
    except (OSError, ValueError, openai.OpenAIError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
