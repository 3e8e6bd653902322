"""Haystack's components for OpenAI's servers and for text-embeddings-inference."""

import asyncio

from calling import CONTEXT, GUITAR, QUESTION, TEXTS, URL, call, check, embeddings, main
from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret
from haystack_integrations.components.embedders.huggingface_api import (
    HuggingFaceAPIDocumentEmbedder,
    HuggingFaceAPITextEmbedder,
)
from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker

TEI = {"api_type": "text_embeddings_inference", "api_params": {"url": URL}}
OPTIONS = {"model": "sts", "api_base_url": f"{URL}/v1", "api_key": Secret.from_token("none")}


@call("haystack-ai", '`OpenAITextEmbedder(model="sts", api_base_url=...)`')
def embeds_text() -> None:
    check(OpenAITextEmbedder(**OPTIONS).run(GUITAR)["embedding"], embeddings()[0])


@call("haystack-ai", '`OpenAIDocumentEmbedder(model="sts", api_base_url=...)`')
def embeds_documents() -> None:
    embedder = OpenAIDocumentEmbedder(progress_bar=False, **OPTIONS)
    found = embedder.run([Document(content=each) for each in TEXTS])["documents"]
    check([each.embedding for each in found], embeddings())


@call("huggingface-api-haystack", '`HuggingFaceAPITextEmbedder(api_type="text_embeddings_inference", ...)`')
def embeds_text_as_tei() -> None:
    embedder = HuggingFaceAPITextEmbedder(**TEI)
    check(embedder.run(GUITAR)["embedding"], embeddings()[0])
    check(asyncio.run(embedder.run_async(GUITAR))["embedding"], embeddings()[0])


@call("huggingface-api-haystack", '`HuggingFaceAPIDocumentEmbedder(api_type="text_embeddings_inference", ...)`')
def embeds_documents_as_tei() -> None:
    embedder = HuggingFaceAPIDocumentEmbedder(progress_bar=False, **TEI)
    found = embedder.run([Document(content=each) for each in TEXTS])["documents"]
    check([each.embedding for each in found], embeddings())


@call("huggingface-api-haystack", "`HuggingFaceTEIRanker(url=...)`")
def ranks_as_tei() -> None:
    found = HuggingFaceTEIRanker(url=URL, top_k=2).run(QUESTION, [Document(content=each) for each in (*TEXTS, CONTEXT)])
    if len(found["documents"]) != 2 or found["documents"][0].content != CONTEXT:
        raise ValueError(f"{found} where the passage about the Danube is expected first")


main()
