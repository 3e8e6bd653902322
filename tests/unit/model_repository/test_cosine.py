"""The cosine model, run in this process."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def model(fake_triton: Any, repository: Path) -> Any:
    return fake_triton.load(repository / "sts_cosine" / "1" / "model.py", {})


def unit(*rows: list[float]) -> np.ndarray:
    array = np.array(rows, dtype=np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def test_each_row_gets_its_own_cosine(model: Any, fake_triton: Any) -> None:
    first, second = unit([1, 0], [1, 0], [1, 1]), unit([1, 0], [-1, 0], [1, 0])
    (response,) = model.execute([fake_triton.request(EMBEDDING_1=first, EMBEDDING_2=second)])
    similarity = response.outputs["SIMILARITY"]
    assert similarity.dtype == np.float32
    np.testing.assert_allclose(similarity, [[1], [-1], [np.sqrt(0.5)]], atol=1e-6)


def test_rounding_never_leaves_the_range(model: Any, fake_triton: Any) -> None:
    rows = unit(*np.random.default_rng(1).normal(size=(64, 384)).tolist())
    rows *= np.float32(1 + 3e-7)
    (response,) = model.execute([fake_triton.request(EMBEDDING_1=rows, EMBEDDING_2=rows)])
    assert response.outputs["SIMILARITY"].max() <= 1


def test_different_shapes_are_a_bad_request_and_harm_no_other(model: Any, fake_triton: Any) -> None:
    good = fake_triton.request(EMBEDDING_1=unit([1, 0]), EMBEDDING_2=unit([0, 1]))
    bad = fake_triton.request(EMBEDDING_1=unit([1, 0]), EMBEDDING_2=unit([0, 1, 0]))
    refused, answered = model.execute([bad, good])
    assert refused.error is not None
    assert refused.error.code == "INVALID_ARG"
    assert "must have the same shape" in str(refused.error)
    np.testing.assert_allclose(answered.outputs["SIMILARITY"], [[0]], atol=1e-7)
