"""Haystack's components for OpenAI's servers."""

from calling import GUITAR, TEXTS, URL, call, check, embeddings, main
from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret

OPTIONS = {"model": "sts", "api_base_url": f"{URL}/v1", "api_key": Secret.from_token("none")}


@call("haystack-ai", '`OpenAITextEmbedder(model="sts", api_base_url=...)`')
def embeds_text() -> None:
    check(OpenAITextEmbedder(**OPTIONS).run(GUITAR)["embedding"], embeddings()[0])


@call("haystack-ai", '`OpenAIDocumentEmbedder(model="sts", api_base_url=...)`')
def embeds_documents() -> None:
    embedder = OpenAIDocumentEmbedder(progress_bar=False, **OPTIONS)
    found = embedder.run([Document(content=each) for each in TEXTS])["documents"]
    check([each.embedding for each in found], embeddings())


main()
