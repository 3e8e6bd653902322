"""Cosine of two unit-norm embeddings."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Row-wise dot products, one numpy call a request."""

    def execute(self, requests):
        """Answer with the cosine of each row's two embeddings, -1 to 1."""
        return [self.answer(request) for request in requests]

    def answer(self, request):
        """Answer one request; embeddings of different widths are a bad request."""
        first, second = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in ("EMBEDDING_1", "EMBEDDING_2")
        )
        if first.shape != second.shape:
            message = f"EMBEDDING_1 {first.shape} and EMBEDDING_2 {second.shape} must have the same shape"
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG))
        # Rounding can leave a sentence's cosine with itself a hair above 1.
        cosine = np.clip(np.einsum("ij,ij->i", first, second, dtype=np.float32), -1, 1)
        return pb_utils.InferenceResponse([pb_utils.Tensor("SIMILARITY", cosine[:, np.newaxis])])
