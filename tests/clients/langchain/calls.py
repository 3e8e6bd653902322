"""LangChain's classes for OpenAI's and for Hugging Face's servers, and its standard tests of embeddings."""

import asyncio
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from calling import GUITAR, TEXTS, URL, call, check, embeddings, main
from huggingface_hub import InferenceClient
from langchain_huggingface import HuggingFaceEndpointEmbeddings
from langchain_openai import OpenAIEmbeddings

SWITCH = "OpenAIEmbeddings(base_url=..., check_embedding_ctx_length=False)"


def openai() -> OpenAIEmbeddings:
    return OpenAIEmbeddings(model="sts", base_url=f"{URL}/v1", api_key="none", check_embedding_ctx_length=False)


@call("langchain-openai", f"`{SWITCH}.embed_documents([...])`, `embed_query`, `aembed_documents`")
def embeds() -> None:
    check(openai().embed_documents(TEXTS), embeddings())
    check(openai().embed_query(GUITAR), embeddings()[0])
    check(asyncio.run(openai().aembed_documents(TEXTS)), embeddings())


@call("langchain-openai", "`embed_documents` of 1,100 texts: its batches of 1,000")
def embeds_many() -> None:
    texts = [f"text {index}" for index in range(1100)]
    found = openai().embed_documents(texts)
    check([found[0], found[1099]], embeddings([texts[0], texts[1099]]))


@call("langchain-tests", "its standard integration tests of embeddings", version("langchain-tests"))
def passes_the_standard_tests() -> None:
    tests = Path(__file__).with_name("standard.py")
    # None of what this project's own tests share is there.
    alone = [
        "--noconftest",
        "-o",
        "asyncio_mode=auto",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        "--rootdir",
        tests.parent,
    ]
    command = [sys.executable, "-m", "pytest", "-q", *alone, tests]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise ValueError(done.stdout[-2000:])


@call("langchain-huggingface", "`HuggingFaceEndpointEmbeddings()`, its `client` set to `InferenceClient(...)`")
def embeds_as_tei() -> None:
    # As `model` it takes the hub's names alone.
    embedder = HuggingFaceEndpointEmbeddings(huggingfacehub_api_token="none")
    embedder.client = InferenceClient(URL, token="none")
    check(embedder.embed_documents(TEXTS), embeddings())
    check(embedder.embed_query(GUITAR), embeddings()[0])


main()
