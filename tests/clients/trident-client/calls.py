"""This project's own client by itself, with the newest releases of what it is made on."""

import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path

from calling import CONTEXT, GUITAR, QUESTION, TEXTS, TRITON_GRPC, TRITON_HTTP, ask, call, check, embeddings, main

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "client"))
from trident_client import TridentClient  # from the sources

VERSION = ", ".join(f"{name} {version(name)}" for name in ("numpy", "tritonclient"))


def asks(protocol: str, address: str) -> None:
    with TridentClient(address, protocol=protocol, check_languages=False) as client:
        check(client.embed(TEXTS).tolist(), embeddings(), 0.02)
        check(client.similarity([(GUITAR, GUITAR)]), [1.0], 0.02)
        check(client.acceptability([GUITAR]), [ask("/generate", {"passage": GUITAR})["prob"]], 0.02)
        [answer] = client.answer(QUESTION, CONTEXT)
        if "Black Forest" not in CONTEXT[answer.start : answer.end]:
            raise ValueError(answer)
        if "sts" not in {each.name for each in client.models()}:
            raise ValueError("sts is not among the models")


for name, server in (("http", TRITON_HTTP), ("grpc", TRITON_GRPC)):
    shown = f'`TridentClient(..., protocol="{name}")`: `embed`, `similarity`, `acceptability`, `answer`, `models`'
    call("trident-client", shown, f"with {VERSION}")(partial(asks, name, server))

main()
