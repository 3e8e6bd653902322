"""Reranking: queries and texts to scores, by a cross-encoder, which reads both at once."""
