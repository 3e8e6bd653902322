"""Text to token ids, with the Rust tokenizer that stands beside this file as ``tokenizer.json``."""

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Sequence, Split

# Marks padding inside one request; no vocabulary holds it, and the encoder drops it.
PADDING = -1
# Stands between the two texts of a pair: the encoder parts them there, or gives what follows the second token type.
PAIR = -2
MOST_BYTES = 1_000_000
MOST_IDS = 640_000
# Characters that are tokenized at a time: an encoding takes a hundred times its text in memory.
CHARACTERS_AT_A_TIME = 1_000_000


class BadTextError(ValueError):
    """A text that the model does not take; the message says what it takes."""


class TritonPythonModel:
    """Tokenizes the texts of all requests of an execution together."""

    def initialize(self, args):
        """Load the tokenizer and the longest length the encoder takes (parameter ``max_length``, in tokens).

        With the parameter ``pairs`` at ``joined`` the two texts of a pair are one sequence, as the tokenizer's template
        has it, and a second one that is empty is none; else each is a sequence of its own.
        """
        # Threads of its own would only get in the encoder's way.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        config = json.loads(args["model_config"])
        self.tokenizer, self.unknown, self.unreadable = load_tokenizer()
        self.max_length = int(config["parameters"]["max_length"]["string_value"])
        self.direction = None
        self.truncate("right")
        self.joined = config["parameters"].get("pairs", {"string_value": ""})["string_value"] == "joined"
        # What the encoder was trained to find in front of a text, where it was.
        prompts = json.loads(config["parameters"].get("prompts", {"string_value": "{}"})["string_value"])
        default = config["parameters"].get("default_prompt_name", {"string_value": ""})["string_value"]
        self.prompt = prompts.get(default, "")
        self.prompts = tuple(filter(None, prompts.values()))

    def execute(self, requests):
        """Answer each request with its own ids; a request with a bad text gets an error and harms no other."""
        rows, left, spans, further, errors = [], [], [], {}, {}
        for index, request in enumerate(requests):
            spans.append([])
            try:
                if pb_utils.get_input_tensor_by_name(request, "IDS") is not None:
                    further[index] = self.decoded(request)
                    continue
                for side in self.sides(request):
                    spans[index].append(slice(len(rows), len(rows) + len(side)))
                    rows += side
                    left += flags(request, "TRUNCATE_LEFT") or [False] * len(side)
                further[index] = self.described(request)
            except BadTextError as error:
                errors[index] = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
        encoded = self.encode_all(rows, left)
        for index, sides in enumerate(spans):
            unreadable = (
                f"{('TEXT', 'TEXT_2')[side + place]} {row}"
                for side, span in enumerate(sides)
                for row, (*_, known) in enumerate(encoded[span])
                for place, is_known in enumerate(known)
                if not is_known
            )
            if index not in errors and (name := next(unreadable, None)) is not None:
                errors[index] = pb_utils.TritonError(
                    f"{name} has nothing that the vocabulary can read; text with a known token is accepted",
                    pb_utils.TritonError.INVALID_ARG,
                )
        return [
            pb_utils.InferenceResponse(error=errors[index])
            if index in errors
            else pb_utils.InferenceResponse(output_tensors([encoded[span] for span in sides]) + further[index])
            for index, sides in enumerate(spans)
        ]

    def sides(self, request):
        """Return a request's rows, a tuple of one text each, or of two that are one sequence: a list for each side.

        Raises:
            BadTextError: see :func:`decode`.
        """
        found = []
        if pb_utils.get_input_tensor_by_name(request, "TEXT") is None:
            raise BadTextError("TEXT is missing; a request with TEXT, or with IDS, is accepted")
        for name in ("TEXT", "TEXT_2"):
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is not None:
                texts = decode(tensor.as_numpy(), name, empty=self.joined and name == "TEXT_2")
                found.append([(self.prompted(text),) if text else () for text in texts])
        return [[one + other for one, other in zip(*found, strict=True)]] if self.joined and len(found) > 1 else found

    def described(self, request):
        """Return the tensor of what each token stands for, where a request asks for it.

        Raises:
            BadTextError: the texts are more than is described at once.
        """
        if not any(flags(request, "WITH_TOKENS")):
            return []
        texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy().reshape(-1)
        if (total := sum(map(len, texts))) > MOST_BYTES:
            raise BadTextError(f"TEXT has {total} bytes together; WITH_TOKENS takes at most {MOST_BYTES}")
        tokens = [[self.tokens(text.decode()).encode()] for text in texts]
        return [pb_utils.Tensor("TOKENS", np.array(tokens, dtype=np.object_))]

    def decoded(self, request):
        """Return the tensor of what token ids stand for.

        Raises:
            BadTextError: there are no ids, more than are decoded at once, or one that is none of the vocabulary's.
        """
        rows = pb_utils.get_input_tensor_by_name(request, "IDS").as_numpy()
        size = self.tokenizer.get_vocab_size()
        if not 1 <= (count := int((rows != PADDING).sum())) <= MOST_IDS:
            raise BadTextError(f"IDS has {count} ids together; 1 to {MOST_IDS} are accepted")
        if wrong := rows[(rows >= size) | (rows < PADDING)].tolist():
            raise BadTextError(f"IDS has {wrong[0]}; 0 to {size - 1} are accepted, and {PADDING} for padding")
        with_special = flags(request, "WITH_SPECIAL") or [False] * len(rows)
        texts = [
            [self.tokenizer.decode(row[row != PADDING].tolist(), skip_special_tokens=not each).encode()]
            for row, each in zip(rows, with_special, strict=True)
        ]
        return [pb_utils.Tensor("DECODED", np.array(texts, dtype=np.object_))]

    def tokens(self, text):
        """Return all tokens of a text, also those that are cut off, as a JSON list of lists.

        Of each: the id, the token, whether it is a special one, and the characters of the text that it stands for, from
        and to; null and null for special ones and for those of the default prompt.
        """
        prompted = self.prompted(text)
        before = len(prompted) - len(text)
        # What is asked for next sets it again.
        self.tokenizer.no_truncation()
        self.direction = None
        encoding = self.tokenizer.encode(prompted)
        rows = zip(encoding.ids, encoding.tokens, encoding.special_tokens_mask, encoding.offsets, strict=True)
        found = [
            [token_id, token, bool(special)]
            + ([None, None] if special or stop <= before else [max(start - before, 0), stop - before])
            for token_id, token, special, (start, stop) in rows
        ]
        return json.dumps(found, ensure_ascii=False, separators=(",", ":"))

    def encode_all(self, rows, left):
        """Return of each row what :meth:`encode` does; ``left`` says of which the beginning is cut off, not the end."""
        encoded = [None] * len(rows)
        for direction in sorted({*left}):
            self.truncate("left" if direction else "right")
            places = [place for place, each in enumerate(left) if each == direction]
            parts = slices([rows[place] for place in places], CHARACTERS_AT_A_TIME)
            for place, each in zip(places, (each for part in parts for each in self.encode(part)), strict=True):
                encoded[place] = each
        return encoded

    def truncate(self, direction):
        """Have texts lose that end from now on where they are too long."""
        if direction != self.direction:
            self.tokenizer.enable_truncation(self.max_length, direction=direction)
            self.direction = direction

    def encode(self, rows):
        """Return of each row the ids, how many more were cut off and how many are unknown, and whether each text tells.

        Where pairs are joined, texts are tokenized bare: what frames them, and how much of each has room beside the
        other, is settled as the library does it when it is given both.
        """
        bare = {"add_special_tokens": False} if self.joined else {}
        encodings = iter(self.tokenizer.encode_batch_fast([text for row in rows for text in row], **bare))
        for row in rows:
            texts = [next(encodings) for _ in row]
            cut = sum(map(truncated_tokens, texts))
            encoding = texts[0]
            ids = encoding.ids
            if self.joined:
                encoding = self.tokenizer.post_process(*texts)
                cut += sum(len(each.ids) for each in texts) - encoding.special_tokens_mask.count(0)
                ids = marked(encoding)
            yield ids, cut, ids.count(self.unknown), [self.tells(each) for each in texts]

    def prompted(self, text):
        """Put the default prompt in front of a text; one that begins with a prompt of the set has its own."""
        return text if self.prompts and text.startswith(self.prompts) else self.prompt + text

    def tells(self, encoding):
        """Say whether a text has a token that was known; the specials that frame it are no text."""
        tokens = zip(encoding.ids, encoding.special_tokens_mask, strict=True)
        return any(not special and token not in self.unreadable for token, special in tokens)


def flags(request, name):
    """Return whether an optional input is not 0, for each row; nothing where a request does not have it."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return [] if tensor is None else [bool(each) for each in tensor.as_numpy().reshape(-1)]


def decode(texts, name, empty=False):
    """Return the texts of a ``[batch, 1]`` array of UTF-8 bytes; with ``empty``, one may have no bytes at all.

    Raises:
        BadTextError: there is no text, or one is empty, too long or not UTF-8, with its row in the tensor ``name``.
    """
    if texts.size == 0:
        raise BadTextError(f"{name} has no rows; a request with at least one text is accepted")
    return [
        "" if empty and not text else decode_one(text, f"{name} {row}") for row, text in enumerate(texts.reshape(-1))
    ]


def decode_one(text, name):
    """Return one text; arguments and errors as in :func:`decode`."""
    if len(text) > MOST_BYTES:
        raise BadTextError(f"{name} has {len(text)} bytes; at most {MOST_BYTES} are accepted")
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise BadTextError(f"{name} is not UTF-8 at byte {error.start}; text is accepted in UTF-8 only") from None
    if is_blank(decoded):
        raise BadTextError(f"{name} is empty; text with at least one visible character is accepted")
    return decoded


def slices(rows, most):
    """Part rows of texts into lists of ``most`` characters together, or of one that is longer alone."""
    part, total = [], 0
    for row in rows:
        size = sum(map(len, row))
        if part and total + size > most:
            yield part
            part, total = [], 0
        part.append(row)
        total += size
    if part:
        yield part


def marked(encoding):
    """Return an encoding's ids, with the mark of pairs where the token type changes."""
    ids, types = encoding.ids, encoding.type_ids
    if any(types):
        place = types.index(1)
        return [*ids[:place], PAIR, *ids[place:]]
    return ids


def output_tensors(sides):
    """Make one request's outputs: a row for each text or pair, padded to the longest; none where there is no text.

    ``sides``: of the texts, or of the first and of the second ones of pairs, the ids, how many more were cut off, and
    how many of the ids are the unknown token's.
    """
    if not sides:
        return []
    rows = []
    for (first, *_), *others in zip(*sides, strict=True):
        ids = list(first)
        for second, *_ in others:
            ids += [PAIR, *second]
        rows.append(ids)
    padded = np.full((len(rows), max(map(len, rows))), PADDING, dtype=np.int32)
    for row, ids in enumerate(rows):
        padded[row, : len(ids)] = ids
    # The mark between two texts is no token.
    counts = np.array([[len(ids) - ids.count(PAIR)] for ids in rows], dtype=np.int32)
    return [
        pb_utils.Tensor("INPUT_IDS", padded),
        pb_utils.Tensor("TOKEN_COUNT", counts),
        *(
            pb_utils.Tensor(f"{name}{suffix}", np.array([[row[column]] for row in side], dtype=np.int32))
            for suffix, side in zip(("", "_2"), sides, strict=False)
            for column, name in ((1, "TRUNCATED_TOKENS"), (2, "UNKNOWN_TOKENS"))
        ),
    ]


def truncated_tokens(encoding):
    """Count a text's tokens that were cut off; the specials that frame every piece are no text."""
    return sum(len(piece.ids) - sum(piece.special_tokens_mask) for piece in encoding.overflowing)


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
