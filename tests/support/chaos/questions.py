"""What the long forms ask: every endpoint of the shipped models, and every kind of bad request."""

from __future__ import annotations

import gzip
import itertools

import numpy as np
from trident_client import Request

from chaos.asking import GRPC, Question

SENTENCES = [
    "A man is playing a guitar.",
    "The boys eats an apple.",
    "기타를 치는 남자",
    "It rained all day, so we stayed in.",
]
PASSAGE = "The river rises in the hills of Kent and flows east. It was named by the Romans. " * 12
QUESTION = {"question": "Where does the river rise?", "context": PASSAGE}
LIST = {"model": "sts", "input": [f"{SENTENCES[index % 4]} {index}" for index in range(200)]}

MIXED = [
    *(Question("/generate", {"passage": each}) for each in SENTENCES),
    Question("/generate", {"sentence_1": SENTENCES[0], "sentence_2": SENTENCES[1]}),
    Question("/acceptability", {"sentences": SENTENCES * 5}),
    Question("/similarity", {"pairs": [{"sentence_1": a, "sentence_2": b} for a in SENTENCES for b in SENTENCES]}),
    Question("/embed", {"sentences": SENTENCES}),
    Question("/v1/embeddings", LIST),
    Question("/pred/sentences", {"sentence_1": SENTENCES[0], "sentence_2": SENTENCES[3]}),
    Question("/qa", QUESTION),
    Question("/qa", {"questions": [QUESTION] * 3, "top_k": 2}),
    Question("/generate", {"passage": ""}, status=422),
    Question("/generate", {"passage": "a", "sentence_1": "b"}, status=422),
    Question("/embed", {"sentences": ["a"], "model": "nobody"}, status=422),
    Question("/acceptability", {"sentences": ["a", " "]}, status=422),
    Question("/nowhere", {}, status=404),
]

PAIRS = b"sentence1,sentence2\nA man sings.,Someone sings.\nA dog runs.,The sea is calm.\n"
GOOD = [
    Question("/predict/sts", {"items": [{"sentence_1": SENTENCES[0], "sentence_2": SENTENCES[3]}]}),
    Question("/predict/cola", {"items": SENTENCES}),
    Question("/pred/file", sent={"files": {"file": ("pairs.csv", PAIRS)}}),
    Question("/pred/multi", sent={"files": {"file": ("pairs.csv", PAIRS)}, "headers": {"accept": "text/csv"}}),
    Question("/pred/file/multi", sent={"files": {"file": ("pairs.csv", PAIRS)}, "data": {"model": "sts"}}),
    Question("/", {"inputs": SENTENCES}),
    Question("/embed", {"inputs": SENTENCES[0]}),
    Question("/similarity", {"inputs": {"source_sentence": SENTENCES[0], "sentences": SENTENCES[1:]}}),
    Question("/predict", {"inputs": SENTENCES}),
    Question("/tokenize", {"inputs": SENTENCES}),
    Question("/decode", {"ids": [[101, 2158, 102], [101, 102]], "skip_special_tokens": False}),
    Question("/rerank", {"query": SENTENCES[0], "texts": SENTENCES, "return_text": True}),
    Question("/v1/rerank", {"query": SENTENCES[3], "documents": SENTENCES}, sent={"headers": {"x-request-id": "one"}}),
    Question("/v2/rerank", {"query": SENTENCES[0], "documents": SENTENCES}, sent={"headers": {"x-request-id": "two"}}),
    Question("/qa", {"inputs": QUESTION, "parameters": {"top_k": 2}}),
    Question("/qa", {"question": QUESTION["question"], "context": PASSAGE * 10}),
    Question("/v1/embeddings", {"model": "sts_ko", "input": SENTENCES[2]}),
    Question("/v1/embeddings", {"input": [[101, 2158, 102], [101, 102]], "model_token_ids": True}),
    Question(
        "/embed", sent={"content": gzip.compress(b'{"sentences": ["packed"]}'), "headers": {"content-encoding": "gzip"}}
    ),
    *(Question(path, method="GET") for path in ("/models", "/v1/models", "/v1/models/sts", "/info", "/openapi.json")),
    *(Question(path, method="GET") for path in ("/health/live", "/health/ready")),
    Question("/metrics", method="GET", steady=False),
    Question(GRPC, ("acceptability", SENTENCES)),
    Question(GRPC, ("similarity", [(SENTENCES[0], SENTENCES[3]), (SENTENCES[1], SENTENCES[1])])),
    Question(GRPC, ("embed", [f"{SENTENCES[0]} {index}" for index in range(150)])),
    Question(GRPC, ("answer", QUESTION["question"], PASSAGE)),
    Question(GRPC, ("models",)),
]


def _raw(path: str, content: bytes, status: int = 422, **headers: str) -> Question:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Question(path, status=status, sent={"content": content, "headers": named})


def _tensors(model: str, output: str, status: int = 422, **inputs: np.ndarray) -> Question:
    return Question(GRPC, Request(model, inputs, (output,)), status=status)


def _texts(*shape: int, content: bytes = b"A man sings.") -> np.ndarray:
    return np.full(shape, content, dtype=object)


BAD = [
    _raw("/embed", b""),
    _raw("/embed", b'{"sentences": ["a"'),
    _raw("/embed", b'{"sentences": ["\xff\xfe"]}'),
    _raw("/embed", b'{"sentences": ["\\ud800"]}'),
    _raw("/embed", b"[" * 5000),
    _raw("/embed", b'{"sentences": ["a"]}', 415, content_encoding="br"),
    _raw("/embed", b"no gzip", 422, content_encoding="gzip"),
    _raw("/generate", b'{"passage": "' + b"x" * 1_000_001 + b'"}'),
    _raw("/pred/file", b"no form", content_type="multipart/form-data"),
    Question("/generate", status=405, method="PUT"),
    Question("/v1/models/nobody", status=404, method="GET"),
    Question("/predict/nothing", {"items": ["a"]}, status=404),
    Question("/predict/sts", {"items": ["a"]}, status=422),
    Question("/generate", {"passage": 1}, status=422),
    Question("/generate", {"passage": None}, status=422),
    Question("/generate", {}, status=422),
    Question("/generate", {"passage": "\u200b\ufeff"}, status=422),
    Question("/acceptability", {"sentences": ["a"] * 4097}, status=422),
    Question("/similarity", {"pairs": [{"sentence_1": "a"}]}, status=422),
    Question("/qa", {"question": "", "context": PASSAGE}, status=422),
    Question("/qa", {**QUESTION, "top_k": 0}, status=422),
    Question("/qa", {**QUESTION, "max_answer_tokens": 10**30}, status=422),
    Question("/v1/embeddings", {"model": "nobody", "input": "a"}, status=404),
    Question("/v1/embeddings", {"model": "sts", "input": "a", "dimensions": 100_000}, status=400),
    Question("/v1/embeddings", {"model": "sts", "input": [[1, 2, 3]]}, status=400),
    Question("/v1/embeddings", {"model": "sts", "input": []}, status=400),
    Question("/embeddings", {"input": "a"}, status=404),
    Question("/rerank", {"query": "a", "texts": []}, status=422),
    Question("/embed", {"inputs": "a " * 5000, "truncate": False}, status=413),
    Question("/pred/file", sent={"files": {"file": ("pairs.csv", b"one,two\n1,2\n")}}, status=422),
    Question("/pred/file", sent={"files": {"file": ("pairs.parquet", b"PAR1 and no more")}}, status=422),
    Question("/pred/file", sent={"data": {"model": "sts"}, "files": {"other": ("pairs.csv", PAIRS)}}, status=422),
    Question(GRPC, ("acceptability", ["a", " "]), status=422),
    _tensors("cola", "PROBABILITY", TEXT=np.ones((1, 1), np.float32)),
    _tensors("cola", "PROBABILITY", TEXT=_texts(1, 2)),
    _tensors("cola", "PROBABILITY", TEXT=_texts(65, 1)),
    _tensors("cola", "PROBABILITY", TEXT=_texts(1, 1, content=b"\xff")),
    _tensors("cola", "PROBABILITY", OTHER=_texts(1, 1)),
    _tensors("cola", "NOTHING", TEXT=_texts(1, 1)),
    _tensors("sts", "SIMILARITY", SENTENCE_1=_texts(1, 1)),
    # Answered by what is no number.
    _tensors("sts_encoder", "EMBEDDING", 200, INPUT_IDS=np.full((1, 4), 10**6, np.int32)),
    _tensors("nobody", "PROBABILITY", 503, TEXT=_texts(1, 1)),
]
#: Bad ones between good ones: they are to do no harm to who is in a batch with them.
EVERYTHING = [each for pair in itertools.zip_longest([*MIXED, *GOOD], BAD) for each in pair if each is not None]
