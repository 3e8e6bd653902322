"""A passage as long as one wants it, and who is asked about it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from trident_client import TridentClient
from trident_server.process import TritonProcess
from tritonclient.grpc import InferenceServerClient

FILLER = "Nothing much happened in the village that year, and the harvest was good. "
FOUNDED = "The observatory was founded by Clara Whitmore in 1874."


def ask_beside_a_long_passage(triton: TritonProcess, client: TridentClient, characters: int = 30_000) -> None:
    """Ask about a short passage while the reader has a long one; fail where the short one waits for it."""
    context = FILLER * (characters // len(FILLER)) + FOUNDED
    with InferenceServerClient(triton.grpc_url) as statistics, ThreadPoolExecutor(1) as pool:

        def tokenized() -> int:
            found = statistics.get_inference_statistics("qa_tokenizer", as_json=True)["model_stats"][0]
            return int(found.get("execution_count", 0))

        before = tokenized()
        long = pool.submit(client.answer, "Who founded the observatory?", context)
        while tokenized() == before and not long.done():
            time.sleep(0.01)
        (short,) = client.answer("Who founded the observatory?", FOUNDED)
        assert not long.done(), "the short question waited for the long passage"
        assert short.answer == long.result()[0].answer == "Clara Whitmore"
