"""Embeddings in fewer bytes: whole numbers of one byte, or signs of which eight are one number."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

#: What an embedding's numbers may be: float32; int8, the greatest 127 in size; or the components' signs, eight a
#: number, as int8 from -128 on or as uint8 from 0 on.
EncodingFormat = Literal["float", "int8", "binary", "ubinary"]


def encoded(embeddings: npt.NDArray[np.float32], encoding_format: EncodingFormat) -> npt.NDArray[Any]:
    """Return embeddings in a format.

    Cosines of ``int8`` are nearly those of the embeddings; signs are told apart by their Hamming distance.

    Args:
        embeddings: float32 ``[n, dim]``.
        encoding_format: see :data:`EncodingFormat`.

    Returns:
        float32 or int8 ``[n, dim]``; of signs int8 or uint8 ``[n, ceil(dim / 8)]``.
    """
    if encoding_format == "int8":
        # By each row's own greatest component: its length, which cosines do not see, is lost and its direction kept.
        greatest = np.abs(embeddings).max(axis=1, keepdims=True, initial=np.finfo(np.float32).tiny)
        whole: npt.NDArray[np.int8] = np.rint(embeddings / greatest * 127).astype(np.int8)
        return whole
    if encoding_format in {"binary", "ubinary"}:
        packed = np.packbits(embeddings > 0, axis=1)
        # As sentence-transformers, Cohere and Jina have them.
        return packed if encoding_format == "ubinary" else (packed.astype(np.int16) - 128).astype(np.int8)
    return embeddings
