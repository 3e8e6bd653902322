"""Pretrained and fine-tuned models as files: what is read before a training or an export, and what is written after.

``loading`` reads a checkpoint by path, hub name or as a bundled encoder (``bundled``), its tokenizer in SentencePiece's
form too (``sentencepiece``); ``vocabulary`` learns another tokenizer for an encoder, ``adapters`` keeps what a
fine-tuning changed, ``pooling`` is how a sentence encoder makes one vector, ``prompts`` what it is to find in front of
a text, ``precision`` what an export computes in. Knows nothing of tasks, training or export. ``precision``,
``pooling``, ``prompts`` and ``bundled`` are free of torch.
"""
