"""A question and a passage to windows of token ids, with the Rust tokenizer that stands here as ``tokenizer.json``."""

import json
import math
import os
import unicodedata
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Sequence, Split

MOST_BYTES = {"QUESTION": 10_000, "CONTEXT": 1_000_000}
# Tokens in all windows of a request, unless the parameter `most_window_tokens` says otherwise: a question so long that
# each window holds little of the passage makes many.
MOST_WINDOW_TOKENS = 1 << 18
# Characters that normalizing makes of a byte at most: NFKC writes out U+FDFA, three bytes, as 18 of them.
MOST_CHARACTERS_A_BYTE = 6
# Bytes that are tokenized at a time: an encoding takes a hundred times its text in memory.
BYTES_AT_A_TIME = 1_000_000
# Characters of a text's beginning that are looked at for a known token before all of it is.
BEGINNING = 200
# Tokens of context that a question must leave room for in every window, beside those that windows share.
LEAST_CONTEXT = 16


class BadTextError(ValueError):
    """A text that the model does not take; the message says what it takes."""


class TritonPythonModel:
    """Cuts the passages of all requests of an execution into windows, in one call of the tokenizer."""

    def initialize(self, args):
        """Load the tokenizer; the longest window (``max_length``) and the overlap (``doc_stride``) are in tokens."""
        # Instances are processes of their own; threads inside each would only get in the reader's way.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        parameters = json.loads(args["model_config"])["parameters"]
        max_length, self.doc_stride = (int(parameters[key]["string_value"]) for key in ("max_length", "doc_stride"))
        given = parameters.get("most_window_tokens", {"string_value": str(MOST_WINDOW_TOKENS)})
        self.most_window_tokens = int(given["string_value"])
        self.tokenizer, *_ = load_tokenizer()
        self.untruncated, self.unknown, self.unreadable = load_tokenizer()
        self.space = self.tokenizer.token_to_id("\u2581")
        self.most_tokens = max_length - self.untruncated.num_special_tokens_to_add(is_pair=True)
        self.max_length = max_length
        self.most_question_tokens = self.most_tokens - self.doc_stride - LEAST_CONTEXT
        if self.most_question_tokens < 1:
            raise ValueError(f"max_length {max_length} has no room for a question beside doc_stride {self.doc_stride}")
        self.tokenizer.enable_truncation(max_length, stride=self.doc_stride, strategy="only_second")

    def execute(self, requests):
        """Answer each request with its own windows; a bad request gets an error and harms no other."""
        pairs, errors = {}, {}
        for index, request in enumerate(requests):
            try:
                pairs[index] = tuple(read(request, name) for name in ("QUESTION", "CONTEXT"))
                self.check_lengths(*pairs[index])
            except BadTextError as error:
                pairs.pop(index, None)
                errors[index] = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
        outputs = {}
        for part in slices(list(pairs), [len(context) for _, context in pairs.values()], BYTES_AT_A_TIME):
            encodings = self.tokenizer.encode_batch([pairs[index] for index in part])
            outputs |= {index: self.output_tensors(each) for index, each in zip(part, encodings, strict=True)}
        return [
            pb_utils.InferenceResponse(error=errors[index])
            if index in errors
            else pb_utils.InferenceResponse(outputs[index])
            for index in range(len(requests))
        ]

    def check_lengths(self, question, context):
        """Refuse texts that cannot be read, a question that leaves too little room, and a passage of too many windows.

        Raises:
            BadTextError: with the tokens and the limit.
        """
        for name, text in (("QUESTION", question), ("CONTEXT", context)):
            if not self.tells(text):
                raise BadTextError(
                    f"{name} has nothing that the vocabulary can read; text with a known token is accepted"
                )
        tokens = self.count(question)
        if tokens > self.most_question_tokens:
            raise BadTextError(f"QUESTION has {tokens} tokens; at most {self.most_question_tokens} are accepted")
        room = self.most_tokens - tokens
        if self.window_tokens(MOST_CHARACTERS_A_BYTE * len(context.encode()), room) <= self.most_window_tokens:
            return
        in_windows = self.window_tokens(self.count(context), room)
        if in_windows > self.most_window_tokens:
            raise BadTextError(
                f"CONTEXT, with QUESTION beside each part of it, has {in_windows} tokens; at most "
                f"{self.most_window_tokens} are accepted, which a shorter one of the two has"
            )

    def tells(self, text):
        """Say whether a text has a token that is known, by its first words where one of those is."""
        beginnings = (text[:BEGINNING], text) if len(text) > BEGINNING else (text,)
        return any(
            token not in self.unreadable
            for part in beginnings
            for token in self.untruncated.encode(part, add_special_tokens=False).ids
        )

    def count(self, text):
        """Return how many tokens a text has."""
        return len(self.untruncated.encode(text, add_special_tokens=False).ids)

    def window_tokens(self, tokens, room):
        """Return about how many tokens a passage's windows have, each of which has ``room`` for so many of its own."""
        further = max(0, tokens - room)
        return self.max_length * (1 + math.ceil(further / (room - self.doc_stride)))

    def output_tensors(self, encoding):
        """Make one request's outputs of its first window and those that overflowed from it."""
        windows = [encoding, *encoding.overflowing]
        # The question stands before the context in every window, and the same special tokens after it.
        sequences = encoding.sequence_ids
        before = sequences.index(1) if 1 in sequences else len(sequences)
        after = sequences[::-1].index(1) if 1 in sequences else 0
        places, passage, offsets = [], [], []
        begin = first = 0
        for window in windows:
            count = len(window) - before - after
            places.append([begin, begin + before, count, first])
            new = slice(before + len(offsets) - first, before + count)
            passage += window.ids[new]
            offsets += window.offsets[new]
            begin += len(window)
            first += count - self.doc_stride
        offsets = np.array(offsets).reshape(-1, 2)
        # The mark of a space has the offsets of the letter behind it, which no answer ends with that ends before it.
        spaces = np.array(passage) == self.space
        offsets[spaces, 1] = offsets[spaces, 0]
        outputs = {
            "INPUT_IDS": [[token for window in windows for token in window.ids]],
            "TYPE_IDS": [[kind for window in windows for kind in window.type_ids]],
            "WINDOW_LENGTHS": [[len(window) for window in windows]],
            "WINDOWS": [places],
            "OFFSETS": offsets[None],
            "UNKNOWN_TOKENS": [[encoding.ids[:before].count(self.unknown) + passage.count(self.unknown)]],
        }
        return [pb_utils.Tensor(name, np.array(value, dtype=np.int32)) for name, value in outputs.items()]


def slices(items, sizes, most):
    """Part items into lists whose sizes come to ``most`` together, or of one item that is larger alone."""
    part, total = [], 0
    for item, size in zip(items, sizes, strict=True):
        if part and total + size > most:
            yield part
            part, total = [], 0
        part.append(item)
        total += size
    if part:
        yield part


def load_tokenizer():
    """Load the tokenizer, with nothing of what its checkpoint pads and cuts off by.

    Returns:
        The tokenizer, the id of its unknown token, and the ids of the tokens that tell nothing: that one, and the mark
        that stands for a space where a word begins.
    """
    content = Path(__file__).with_name("tokenizer.json").read_text("utf-8")
    tokenizer = Tokenizer.from_str(content)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    # "[SEP]" in somebody's text is five characters, not a control token.
    tokenizer.encode_special_tokens = True
    if isinstance(tokenizer.model, WordPiece):
        # A word that is longer would be one unknown token; it is read in pieces.
        pieces = Split(Regex(f".{{{tokenizer.model.max_input_chars_per_word}}}"), "isolated")
        tokenizer.pre_tokenizer = Sequence([tokenizer.pre_tokenizer, pieces] if tokenizer.pre_tokenizer else [pieces])
    model = json.loads(content)["model"]
    unknown = model["unk_id"] if "unk_id" in model else tokenizer.token_to_id(model["unk_token"])
    return tokenizer, unknown, {unknown, tokenizer.token_to_id("\u2581")}


def is_blank(text: str) -> bool:
    """Say whether a text has no visible character: no letter, number, punctuation mark or symbol.

    Spaces and controls are none, nor are format characters such as the zero-width joiner, variation selectors and other
    marks without a letter, private use, lone surrogates, and letters and symbols that are drawn as nothing: the fillers
    of Hangul and the empty Braille pattern.
    """
    # What is not assigned (Cn) may be a letter of a Unicode that is newer than Python's.
    return not any(
        (category[0] in "LNPS" or category == "Cn") and character not in "\u115f\u1160\u2800\u3164\uffa0"
        for character, category in zip(text, map(unicodedata.category, text), strict=True)
    )


def read(request, name):
    """Return the one text of an input.

    Raises:
        BadTextError: there is not exactly one, or it is empty, too long or not UTF-8.
    """
    texts = pb_utils.get_input_tensor_by_name(request, name).as_numpy().reshape(-1)
    if len(texts) != 1:
        raise BadTextError(f"{name} has {len(texts)} texts; one question with one context is accepted a request")
    text = texts[0]
    if len(text) > MOST_BYTES[name]:
        raise BadTextError(f"{name} has {len(text)} bytes; at most {MOST_BYTES[name]} are accepted")
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise BadTextError(f"{name} is not UTF-8 at byte {error.start}; text is accepted in UTF-8 only") from None
    if is_blank(decoded):
        raise BadTextError(f"{name} is empty; text with at least one visible character is accepted")
    return decoded
