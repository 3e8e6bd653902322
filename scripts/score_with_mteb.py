"""Scores a served set of models on a file of pairs, through mteb's wrapper of OpenAI's package.

Runs in an environment with mteb, openai and tiktoken. A row of the CSV has ``sentence1``, ``sentence2`` and ``score``:
how similar people find them, on any scale. What is printed is Spearman's correlation of that with the cosines.
"""

from __future__ import annotations

import argparse
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
    parser.add_argument("pairs", type=Path, help="a CSV with the columns sentence1, sentence2 and score")
    parser.add_argument("--model", default="sts", help="the set of models; %(default)s by default")
    parser.add_argument("--url", default="http://localhost:8000/v1", help="of the facade; %(default)s by default")
    parser.add_argument("--key", default="none", help="of the facade, where it asks for one")
    chosen = parser.parse_args()
    print(f"{score(Dataset.from_csv(str(chosen.pairs)), chosen.model, chosen.url, chosen.key):.4f}")


if __name__ == "__main__":
    main()
