"""Text to token ids, with the Rust tokenizer that stands beside this file as ``tokenizer.json``."""

import json
import os
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import Tokenizer

# Marks padding inside one request; no vocabulary holds it, and the encoder drops it.
PADDING = -1
# Stands between the two texts of a pair; the encoder parts them there.
PAIR = -2
MOST_BYTES = 1_000_000
# Characters that are tokenized at a time: an encoding takes a hundred times its text in memory.
CHARACTERS_AT_A_TIME = 1_000_000


class BadTextError(ValueError):
    """A text that the model does not take; the message says what it takes."""


class TritonPythonModel:
    """Tokenizes the texts of all requests of an execution together."""

    def initialize(self, args):
        """Load the tokenizer and the longest length the encoder takes (parameter ``max_length``, in tokens)."""
        # Threads of its own would only get in the encoder's way.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        config = json.loads(args["model_config"])
        self.tokenizer = Tokenizer.from_file(str(Path(__file__).with_name("tokenizer.json")))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(int(config["parameters"]["max_length"]["string_value"]))
        # What the encoder was trained to find in front of a text, where it was.
        prompts = json.loads(config["parameters"].get("prompts", {"string_value": "{}"})["string_value"])
        default = config["parameters"].get("default_prompt_name", {"string_value": ""})["string_value"]
        self.prompt = prompts.get(default, "")
        # "[SEP]" in somebody's text is five characters, not a control token.
        self.tokenizer.encode_special_tokens = True

    def execute(self, requests):
        """Answer each request with its own ids; a request with a bad text gets an error and harms no other."""
        texts, spans, errors = [], [], {}
        for index, request in enumerate(requests):
            spans.append([])
            try:
                for name in ("TEXT", "TEXT_2"):
                    tensor = pb_utils.get_input_tensor_by_name(request, name)
                    if tensor is not None:
                        start = len(texts)
                        texts += [self.prompt + text for text in decode(tensor.as_numpy(), name)]
                        spans[index].append(slice(start, len(texts)))
            except BadTextError as error:
                errors[index] = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
        encoded = [
            (encoding.ids, truncated_tokens(encoding))
            for part in slices(texts, CHARACTERS_AT_A_TIME)
            for encoding in self.tokenizer.encode_batch_fast(part)
        ]
        return [
            pb_utils.InferenceResponse(error=errors[index])
            if index in errors
            else pb_utils.InferenceResponse(output_tensors([encoded[span] for span in sides]))
            for index, sides in enumerate(spans)
        ]


def decode(texts, name):
    """Return the texts of a ``[batch, 1]`` array of UTF-8 bytes.

    Raises:
        BadTextError: there is no text, or one is empty, too long or not UTF-8, with its row in the tensor ``name``.
    """
    if texts.size == 0:
        raise BadTextError(f"{name} has no rows; a request with at least one text is accepted")
    return [decode_one(text, f"{name} {row}") for row, text in enumerate(texts.reshape(-1))]


def decode_one(text, name):
    """Return one text; arguments and errors as in :func:`decode`."""
    if len(text) > MOST_BYTES:
        raise BadTextError(f"{name} has {len(text)} bytes; at most {MOST_BYTES} are accepted")
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise BadTextError(f"{name} is not UTF-8 at byte {error.start}; text is accepted in UTF-8 only") from None
    if not decoded.strip():
        raise BadTextError(f"{name} is empty; text with a character that is not white space is accepted")
    return decoded


def slices(texts, most):
    """Part texts into lists of ``most`` characters together, or of one that is longer alone."""
    part, total = [], 0
    for text in texts:
        if part and total + len(text) > most:
            yield part
            part, total = [], 0
        part.append(text)
        total += len(text)
    if part:
        yield part


def output_tensors(sides):
    """Make one request's outputs: a row for each text or pair, padded to the longest.

    ``sides``: of the texts, or of the first and of the second ones of pairs, the ids and how many more were cut off.
    """
    rows = []
    for (first, _), *others in zip(*sides, strict=True):
        ids = list(first)
        for second, _ in others:
            ids += [PAIR, *second]
        rows.append(ids)
    padded = np.full((len(rows), max(map(len, rows))), PADDING, dtype=np.int32)
    for row, ids in enumerate(rows):
        padded[row, : len(ids)] = ids
    # The mark between two texts is no token.
    counts = np.array([[len(ids) - len(sides) + 1] for ids in rows], dtype=np.int32)
    return [
        pb_utils.Tensor("INPUT_IDS", padded),
        pb_utils.Tensor("TOKEN_COUNT", counts),
        *(
            pb_utils.Tensor(name, np.array([[cut] for _, cut in side], dtype=np.int32))
            for name, side in zip(("TRUNCATED_TOKENS", "TRUNCATED_TOKENS_2"), sides, strict=False)
        ),
    ]


def truncated_tokens(encoding):
    """Count a text's tokens that were cut off; the specials that frame every piece are no text."""
    return sum(len(piece.ids) - sum(piece.special_tokens_mask) for piece in encoding.overflowing)
