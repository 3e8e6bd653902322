"""Exports of every architecture answer like the plain Hugging Face model: packed where they fit, padded elsewhere."""

import dataclasses
import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedModel
from trident_training.checkpoints.pooling import Pooling
from trident_training.checkpoints.positions import NO_LIMIT, most_tokens
from trident_training.checkpoints.precision import Precision
from trident_training.export import calibration, heads, parity, pipeline
from trident_training.export.heads import Head, embedding_head, probability_head, scores_head, span_head
from trident_training.export.packing import PADDING, PAIR, split_pairs
from trident_training.export.parity import ParityError, Tolerance, compare, ragged, sample_batches, split, tokens
from trident_training.export.pipeline import Export
from trident_training.export.quantizing import SMOOTHINGS, QuantizedLinear, quantized

pytestmark = pytest.mark.every_batch_size

Maker = Callable[[str], PreTrainedModel]
#: Makes a head of an architecture and what is exported of it; further options are the head's.
Exporter = Callable[..., tuple[Head, Export]]
PACKED = ("bert", "roberta", "electra", "albert", "distilbert", "mpnet")
#: Their heads stand on a decoder, and are not exported.
HEADLESS = ("t5", "mt5", "umt5")
PADDED = ("modernbert",)
LONGEST = 48
#: Largest batch that an export is compared in. How an encoder packs batches does not depend on head and precision.
SMALL_BATCH = 12


def export(*arguments: Any, largest: int = SMALL_BATCH, **options: Any) -> Export:
    """Export, and compare in batches of so many at most."""
    with mock.patch.object(parity, "LARGEST_BATCH", largest):
        return pipeline.export(*arguments, **options)


def _once(make: Maker, head: Callable[..., Head], largest: int = SMALL_BATCH) -> Exporter:
    """Return what makes each export in float32 once: nobody may change it.

    Args:
        make: makes the model.
        head: makes its head.
        largest: batch of the comparison.
    """

    @functools.cache
    def exported(architecture: str, **options: Any) -> tuple[Head, Export]:
        made = head(make(architecture), **options)
        return made, export(made, Precision.FLOAT32, LONGEST, largest=largest)

    return exported


@pytest.fixture(scope="module")
def embedding(tiny_encoder: Maker) -> Exporter:
    return _once(tiny_encoder, embedding_head, parity.LARGEST_BATCH)


@pytest.fixture(scope="module")
def probability(tiny_classifier: Maker) -> Exporter:
    return _once(tiny_classifier, probability_head)


@pytest.fixture(scope="module")
def spans(tiny_reader: Maker) -> Exporter:
    return _once(tiny_reader, span_head)


def mixed_batch(lengths: list[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(5, 97, (length,), generator=generator) for length in lengths]


def plain_answers(head: Head, batch: list[torch.Tensor]) -> torch.Tensor:
    """Ask the plain model one sequence at a time: no padding, no batch."""
    with torch.inference_mode():
        return torch.cat([row for each in batch for row in plainly(head, each)])


def plainly(head: Head, sequence: torch.Tensor) -> list[torch.Tensor]:
    """Ask the plain model one sequence, of one text or of two."""
    ids, types = split(sequence)
    return [row.reshape(-1, head.width) for row in head.plain(ids[None], torch.ones_like(ids)[None], types[None])]


@pytest.mark.parametrize(
    ("architecture", "pooling"),
    [
        *((architecture, Pooling.MEAN) for architecture in (*PACKED, *HEADLESS, *PADDED)),
        *((architecture, pooling) for architecture in ("bert", *PADDED) for pooling in (Pooling.CLS, Pooling.MAX)),
    ],
)
def test_embedding_equals_the_plain_model_one_sequence_at_a_time(
    embedding: Exporter, architecture: str, pooling: Pooling
) -> None:
    head, exported = embedding(architecture, pooling=pooling)
    batch = mixed_batch([1, 48, 7, 7, 1, 30, 2, 19])
    with torch.inference_mode():
        answers = head.call(exported.module, batch)
    assert (exported.padded_because is None) == (architecture not in PADDED)
    assert answers.dtype == torch.float32
    torch.testing.assert_close(answers, plain_answers(head, batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", list(Pooling))
@pytest.mark.parametrize("architecture", ["bert", "mpnet", "t5", *PADDED])
def test_a_pairs_cosine_is_that_of_its_sentences_and_sentences_join_pairs(
    embedding: Exporter, architecture: str, pooling: Pooling
) -> None:
    head, exported = embedding(architecture, pooling=pooling)
    firsts, seconds = mixed_batch([3, 48, 9, 1, 20, 6]), mixed_batch([30, 2, 9, 17, 1, 48])
    mark = torch.tensor([PAIR])
    # The fourth item is one sentence among pairs; the last one has a second mark, which parts nothing.
    pairs = [torch.cat([first, mark, second]) for first, second in zip(firsts, seconds, strict=True)]
    batch = [*pairs[:3], firsts[3], pairs[4], torch.cat([firsts[5], mark, seconds[5][:24], mark, seconds[5][24:]])]
    with torch.inference_mode():
        embeddings, cosines = exported.module(*ragged(batch))
    torch.testing.assert_close(embeddings, plain_answers(head, firsts), atol=1e-5, rtol=0)
    expected = (plain_answers(head, firsts) * plain_answers(head, seconds)).sum(1, keepdim=True)
    expected[3] = 1
    assert expected.std() > 1e-2, "sentences that are all alike would prove nothing"
    torch.testing.assert_close(cosines, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", [*PACKED, *PADDED])
def test_probability_equals_the_plain_classifier(probability: Exporter, architecture: str) -> None:
    head, exported = probability(architecture)
    batch = mixed_batch([3, 48, 12, 5, 5, 1])
    with torch.inference_mode():
        answers = exported.module(*ragged(batch))
    expected = plain_answers(head, batch)
    assert answers.shape == (6, 1)
    assert expected.std() > 1e-3, "a model that answers the same to everything would prove nothing"
    torch.testing.assert_close(answers, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("labels", "problem", "token_types"), [(3, None, True), (3, "multi_label_classification", False), (1, None, True)]
)
def test_scores_of_a_text_or_two_equal_the_plain_classifiers(
    tiny_classifier: Maker, labels: int, problem: str | None, token_types: bool
) -> None:
    config = tiny_classifier("bert").config
    config.num_labels, config.problem_type = labels, problem
    torch.manual_seed(0)
    model = type(tiny_classifier("bert"))(config).eval()
    # Weights that are drawn hardly tell the types apart; a fine-tuned model's are larger.
    with torch.no_grad():
        for weights in (model.bert.embeddings.token_type_embeddings, *model.modules()):
            if hasattr(weights, "weight") and weights.weight.dim() == 2:
                weights.weight.mul_(5)
    head = scores_head(model, token_types=token_types)
    exported = export(head, Precision.FLOAT32, 40)
    assert exported.padded_because is None
    assert exported.width == labels
    first, second = torch.tensor([5, 6, 7]), torch.tensor([8, 9])
    types = torch.tensor([[0, 0, 0, 1, 1]]) if token_types else None
    ids = torch.cat([first, second]).unsqueeze(0)
    expected = model(input_ids=ids, token_type_ids=types).logits[0]
    alone = model(input_ids=first.unsqueeze(0)).logits[0]
    scores, logits = exported.module(*ragged([torch.cat([first, torch.tensor([PAIR]), second]), first]))
    assert torch.allclose(logits, torch.stack([expected, alone]), atol=1e-4)
    exclusive = labels > 1 and problem is None
    assert torch.allclose(scores, logits.softmax(1) if exclusive else logits.sigmoid())
    assert logits[0].sub(model(input_ids=ids).logits[0]).abs().max() > 1e-2 or not token_types


# ModernBERT's reader has more than one layer behind its encoder. Slices are the head's, whatever the encoder.
@pytest.mark.parametrize(
    ("architecture", "slice_tokens"),
    [*((each, 50) for each in PACKED), ("bert", 1), ("bert", 10_000), ("mpnet", 1), ("mpnet", 10_000)],
)
def test_span_logits_equal_the_plain_readers_however_many_windows_are_read_at_a_time(
    spans: Exporter, architecture: str, slice_tokens: int
) -> None:
    head, exported = spans(architecture, slice_tokens=slice_tokens)
    batch = mixed_batch([3, 48, 12, 5, 5, 1, 48, 30])
    with torch.inference_mode():
        answers = head.call(exported.module, batch)
    expected = plain_answers(head, batch)
    assert answers.shape == (sum(len(each) for each in batch), 2)
    assert expected.std() > 1e-2, "a reader that answers the same everywhere would prove nothing"
    torch.testing.assert_close(answers, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "mpnet", "t5", *PADDED])
def test_ids_of_no_token_are_answered_with_nan_and_they_and_long_items_harm_no_neighbour(
    embedding: Exporter, probability: Exporter, architecture: str
) -> None:
    first, other = mixed_batch([12, 30])
    # The first id beyond the vocabulary's 97, the greatest there is, and one that is no mark.
    strange = [torch.tensor([5, each, 6]) for each in (97, 2**31 - 1, -3)]
    batch = [first, *strange, torch.arange(500_000) % 90, torch.tensor([96, PADDING]), other]
    exports = [embedding(architecture, pooling=Pooling.MEAN)]
    if architecture not in HEADLESS:
        exports.append(probability(architecture))
    for _, exported in exports:
        with torch.inference_mode():
            expected = exported.module(*ragged([first, other]))
            found = exported.module(*ragged(batch))
        for each, answers in zip(outputs(found), outputs(expected), strict=True):
            torch.testing.assert_close(each[[0, -1]], answers, atol=1e-5, rtol=0)
            assert each[1:4].isnan().all()
            assert each[4:].isfinite().all()


def test_a_pair_with_an_id_of_no_token_has_no_cosine_and_one_sentence_takes_no_mark(
    embedding: Exporter, probability: Exporter
) -> None:
    pairs = [torch.tensor(each) for each in ([5, 6, PAIR, 7], [5, 6, PAIR, 97], [5, PAIR - 1, PAIR, 7])]
    with torch.inference_mode():
        embeddings, cosines = embedding("bert", pooling=Pooling.MEAN)[1].module(*ragged(pairs))
        probabilities = probability("bert")[1].module(*ragged([torch.tensor([5, 6, 7]), pairs[0]]))
    assert cosines.isnan().flatten().tolist() == [False, True, True]
    assert embeddings.isnan().all(1).tolist() == [False, True, True]
    assert probabilities.isnan().flatten().tolist() == [False, True]


def outputs(answers: Any) -> tuple[torch.Tensor, ...]:
    return answers if isinstance(answers, tuple) else (answers,)


#: What lies behind an empty item on the C++ backend: whatever the memory held before.
UNINITIALISED = torch.tensor([7, 2**31 - 1, -2, -(2**31), 90], dtype=torch.int32)


def spoilt(lengths: list[int], first_empty: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a ragged batch as the C++ backend reads it: nothing after the first empty item is what was sent."""
    ids = torch.cat([torch.arange(5, 5 + length, dtype=torch.int32) for length in lengths])
    shapes = torch.tensor([[length] for length in lengths], dtype=torch.int32)
    ids[sum(lengths[:first_empty]) :] = UNINITIALISED.repeat(20)[: sum(lengths[first_empty:])]
    return ids, shapes


@pytest.mark.parametrize("architecture", ["bert", "mpnet"])
@pytest.mark.parametrize(("lengths", "empty"), [([4, 0, 6, 3], 1), ([0, 3], 0), ([4, 3, 0], 2), ([0], 0)])
def test_from_the_first_empty_item_of_a_batch_on_nobody_is_told_another_ones_answer(
    embedding: Exporter, probability: Exporter, architecture: str, lengths: list[int], empty: int
) -> None:
    for _, exported in (embedding(architecture, pooling=Pooling.MEAN), probability(architecture)):
        module = exported.module
        with torch.inference_mode():
            answers = outputs(module(*spoilt(lengths, empty)))
            assert all(each[empty:].isnan().all() for each in answers)
            if empty:
                before = outputs(module(*spoilt(lengths[:empty], empty)))
                for found, expected in zip(answers, before, strict=True):
                    torch.testing.assert_close(found[:empty], expected, atol=1e-6, rtol=0)


UNFIT = {
    "lengths too long": ([5, 6, 7, 8], [0, 0, 1, 1], [9]),
    "lengths too short": ([5, 6, 7, 8], [0, 0, 1, 1], [3]),
    "a length below zero": ([5, 6, 7, 8], [0, 0, 1, 1], [-1, 5]),
    "a length that no memory holds": ([5, 6, 7, 8], [0, 0, 1, 1], [2**31 - 1]),
    "too few types": ([5, 6, 7, 8], [0], [4]),
    "too many types": ([5, 6, 7, 8], [0] * 9, [4]),
}


def read(module: torch.nn.Module, items: list[tuple[list[int], list[int], list[int]]]) -> list[torch.Tensor]:
    """Read items of ids, types and window lengths as Triton joins them; start and end logits of each."""
    flat = [torch.tensor([each for item in items for each in item[part]], dtype=torch.int32) for part in range(3)]
    shapes = [torch.tensor([[len(item[part])] for item in items], dtype=torch.int32) for part in range(3)]
    with torch.inference_mode():
        return list(torch.stack(module(*flat, *shapes), 1).split([len(item[0]) for item in items]))


@pytest.mark.parametrize("architecture", ["bert", "mpnet"])
def test_a_request_whose_lengths_do_not_fit_its_ids_is_answered_with_nan_and_moves_nobodys_answer(
    spans: Exporter, architecture: str
) -> None:
    module = spans(architecture)[1].module
    first, last = ([9, 8, 7, 6, 5], [0, 0, 1, 1, 1], [2, 3]), ([20, 21, 22], [0, 1, 1], [3])
    expected = [read(module, [item])[0] for item in (first, last)]
    for unfit in UNFIT.values():
        found = read(module, [first, unfit, last])
        torch.testing.assert_close([found[0], found[2]], expected, atol=1e-5, rtol=0)
        assert found[1].isnan().all()
    # Two whose faults would cancel out.
    found = read(module, [UNFIT["lengths too long"], first, ([5, 6, 7, 8, 9, 10, 11, 12, 13], [0] * 9, [4])])
    torch.testing.assert_close(found[1], expected[0], atol=1e-5, rtol=0)
    assert all(found[place].isnan().all() for place in (0, 2))
    # Token types that are none are read as others are; ids of no token are not.
    for ids, answered in (([5, 96, 7, 8], True), ([5, 97, 7, 8], False)):
        found = read(module, [first, (ids, [0, 9, -3, 1], [4]), last])
        torch.testing.assert_close([found[0], found[2]], expected, atol=1e-5, rtol=0)
        assert found[1].isfinite().all() if answered else found[1].isnan().all()


@pytest.mark.parametrize("part", range(3), ids=["ids", "types", "lengths"])
def test_from_an_item_on_that_lacks_one_of_its_inputs_a_reader_answers_nan(spans: Exporter, part: int) -> None:
    module = spans("bert")[1].module
    first, other = ([9, 8, 7, 6, 5], [0, 0, 1, 1, 1], [2, 3]), ([20, 21, 22], [0, 1, 1], [3])
    lacking = ([5, 6, 7, 8], [0, 0, 1, 1], [4])
    lacking = tuple([] if place == part else each for place, each in enumerate(lacking))
    items = [first, lacking, other]
    flat = [torch.tensor([each for item in items for each in item[place]], dtype=torch.int32) for place in range(3)]
    # That input alone ends there.
    flat[part][len(first[part]) :] = UNINITIALISED.repeat(2)[: len(other[part])]
    shapes = [torch.tensor([[len(item[place])] for item in items], dtype=torch.int32) for place in range(3)]
    with torch.inference_mode():
        found = torch.stack(module(*flat, *shapes), 1)
    torch.testing.assert_close(found[:5], read(module, [first])[0], atol=1e-5, rtol=0)
    assert found[5:].isnan().all()
    assert len(found) == sum(len(item[0]) for item in items)


def test_a_reader_with_another_head_is_refused(tiny_classifier: Maker) -> None:
    with pytest.raises(ValueError, match="no linear layer 'qa_outputs'"):
        span_head(tiny_classifier("bert"))


@pytest.mark.parametrize("precision", [Precision.BFLOAT16, Precision.FLOAT16])
@pytest.mark.parametrize("architecture", ["bert", *HEADLESS])
def test_half_precision_computes_in_half_and_answers_in_float32(
    tiny_encoder: Maker, architecture: str, precision: Precision
) -> None:
    exported = export(embedding_head(tiny_encoder(architecture)), precision, LONGEST)
    assert exported.padded_because is None
    ids, shapes = ragged(mixed_batch([4, 9]))
    answers, cosines = exported.module(ids, shapes)
    assert answers.dtype == cosines.dtype == torch.float32
    assert exported.parity.smallest_cosine >= 0.999
    assert exported.parity.largest_difference > 0


@pytest.mark.parametrize("architecture", ["bert", "distilbert", "albert", "mpnet", *HEADLESS, *PADDED])
def test_int8_multiplies_whole_numbers_and_is_close_whatever_the_company(
    tiny_encoder: Maker, architecture: str, tmp_path: Path
) -> None:
    head = embedding_head(tiny_encoder(architecture))
    exported = export(head, Precision.INT8, LONGEST)
    nodes = list(all_nodes(exported.module.graph))
    kinds = [node.kind() for node in nodes]
    assert "aten::linear" not in kinds
    words = head.encoder.get_input_embeddings().weight
    constants = [node.t("value") for node in nodes if node.hasAttribute("value") and node.kindOf("value") == "t"]
    assert [each.dtype for each in constants if each.shape == words.shape] == [torch.float16]
    assert kinds.count("quantized::linear_with_input_q_dq_qweight_dq_output_fp32") >= 4
    assert exported.parity.largest_difference > 0
    exported.module.save(str(tmp_path / "model.pt"))
    module = torch.jit.load(tmp_path / "model.pt")
    batch = mixed_batch([6, 40, 6, 11])
    with torch.inference_mode():
        together = head.call(module, batch)
        alone = torch.cat([head.call(module, [each]) for each in batch])
    assert together.dtype == torch.float32
    torch.testing.assert_close(together, plain_answers(head, batch), atol=0.05, rtol=0)
    if architecture not in PADDED:
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_int8_of_a_classifier_and_of_a_reader_is_close(tiny_classifier: Maker, tiny_reader: Maker) -> None:
    for head in (probability_head(tiny_classifier("bert")), span_head(tiny_reader("bert"))):
        parity = export(head, Precision.INT8, LONGEST).parity
        assert 0 < parity.mean_difference < parity.largest_difference


def test_int8_sums_do_not_overflow_and_inputs_that_stand_out_leave_the_others_their_bits() -> None:
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(50, 64, generator=generator)
    hidden[:, 3] *= 200
    linear = torch.nn.Linear(64, 16)
    linear.weight.data = torch.full((16, 64), 1.0)
    same = torch.full((2, 64), 5.0)
    # Weights of 8 bits would give half of it on a processor without VNNI, and have 7 there.
    torch.testing.assert_close(quantized(linear, same)(same), linear(same), rtol=0.02, atol=0)
    linear.weight.data = torch.randn(16, 64, generator=generator)
    linear.weight.data[:, 3] = 0
    plain = torch.nn.functional.linear(hidden, linear.weight)
    error = quantized(linear, hidden)(hidden) - linear.bias - plain
    assert error.norm() / plain.norm() < 0.05, "the input that stands out has no weight, and took the others' bits"


def test_of_each_layer_so_much_moves_into_the_weight_as_loses_least() -> None:
    generator = torch.Generator().manual_seed(4)
    hidden = torch.randn(200, 64, generator=generator)
    hidden[:, :3] *= 100
    linear = torch.nn.Linear(64, 16)
    bounds = torch.stack([hidden.amin(0), hidden.amax(0)])

    def lost(layer: torch.nn.Module) -> float:
        return (layer(hidden) - linear(hidden)).square().mean().item()

    each = [lost(QuantizedLinear(linear, bounds, smoothing)) for smoothing in SMOOTHINGS]
    assert lost(quantized(linear, hidden)) == min(each) < max(each)


def test_what_int8_changes_too_much_is_refused_or_computed_in_float32(tiny_encoder: Maker) -> None:
    head = embedding_head(tiny_encoder("bert"))
    strict = dict(head.tolerances) | {Precision.INT8: Tolerance(difference=1e-9, cosine=1.0)}
    head = dataclasses.replace(head, tolerances=strict)
    with pytest.raises(ParityError, match="differences up to 1e-09"):
        export(head, Precision.INT8, LONGEST)
    exported = export(head, Precision.INT8, LONGEST, then=[Precision.FLOAT32])
    assert exported.report()["dtype"] == "float32"
    assert str(exported.refused).startswith("int8 is refused: the export differs")


def test_few_bits_are_judged_by_text_and_random_tokens_show_only_what_is_broken(
    tiny_encoder: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = Tokenizer(WordLevel({"[UNK]": 1, "the": 5, "of": 6}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    tokenizer: str = words.to_str()
    head = embedding_head(tiny_encoder("bert"))
    exported = export(head, Precision.INT8, LONGEST, tokenizer=tokenizer)
    on_text = exported.report()["parity_on_text"]
    assert on_text["sequences"] == len(calibration.texts(tokenizer, head.encoder)) > 30
    assert on_text["mean_cosine"] >= head.tolerances[Precision.INT8].mean_cosine
    assert export(head, Precision.FLOAT32, LONGEST, tokenizer=tokenizer).report()["parity_on_text"] is None
    # On random tokens it may be further away than on text, but not anywhere.
    near = dict(head.tolerances) | {
        Precision.INT8: Tolerance(difference=2 * on_text["largest_difference"], cosine=-1.0)
    }
    monkeypatch.setattr(pipeline, "ON_RANDOM_TOKENS", Tolerance(difference=1e-9, cosine=1.0))
    with pytest.raises(ParityError, match="differences up to 1e-09"):
        export(dataclasses.replace(head, tolerances=near), Precision.INT8, LONGEST, tokenizer=tokenizer)
    monkeypatch.undo()
    assert export(dataclasses.replace(head, tolerances=near), Precision.INT8, LONGEST, tokenizer=tokenizer)
    strict = dict(head.tolerances) | {Precision.INT8: Tolerance(difference=1e-9, cosine=1.0)}
    with pytest.raises(ParityError, match=f"over {on_text['sequences']} sequences"):
        export(dataclasses.replace(head, tolerances=strict), Precision.INT8, LONGEST, tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("architecture", "pooling"),
    [("roberta", "mean"), ("mpnet", "mean"), ("t5", "mean"), ("modernbert", "cls"), ("bert", "max")],
)
@pytest.mark.parametrize("lengths", [[1] * 64, [1], [0], [0, 0, 0], [5, 0, 1]])
def test_edges_answer_finite_rows(embedding: Exporter, architecture: str, pooling: str, lengths: list[int]) -> None:
    _, exported = embedding(architecture, pooling=Pooling(pooling))
    # An item without any element is another matter, see below.
    for padding in (0, 3) if all(lengths) else (3,):
        ids = torch.cat([torch.tensor([9] * length + [-1] * padding, dtype=torch.int32) for length in lengths])
        shapes = torch.tensor([[length + padding] for length in lengths], dtype=torch.int32)
        answers, cosines = exported.module(ids, shapes)
        assert answers.shape == (len(lengths), 32)
        norms = torch.tensor([1.0 if length else 0.0 for length in lengths])
        torch.testing.assert_close(cosines[:, 0], norms, atol=1e-5, rtol=0)
        torch.testing.assert_close(answers.norm(dim=1), norms, atol=1e-5, rtol=0)


def test_an_answer_does_not_depend_on_the_company_in_its_batch(embedding: Exporter) -> None:
    head, exported = embedding("electra", pooling=Pooling.MEAN)
    batch = mixed_batch([6, 40, 6, 11])
    together = head.call(exported.module, batch)
    alone = torch.cat([head.call(exported.module, [each]) for each in batch])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("architecture", "tables", "layer"),
    [
        # Of words, of positions and of distances.
        ("mpnet", 3, [96, 32, 48, 32]),
        # Of words and of distances.
        ("t5", 2, [96, 32, 48, 32]),
        # Two parts of the feed-forward layer read the same, too.
        ("mt5", 2, [192, 32, 96, 32]),
        # Of words, and of distances in each layer.
        ("umt5", 3, [192, 32, 96, 32]),
    ],
)
def test_the_bias_on_distances_is_computed_once_and_projections_at_once(
    embedding: Exporter, architecture: str, tables: int, layer: list[int]
) -> None:
    module = embedding(architecture, pooling=Pooling.MEAN)[1].module
    nodes = all_nodes(module.graph)
    assert sum(node.kind() == "aten::embedding" for node in nodes) == tables
    outputs = [list(node.inputs())[1].type().sizes()[0] for node in nodes if node.kind() == "aten::linear"]
    assert outputs == 2 * layer


def test_a_model_that_differs_is_refused(tiny_encoder: Maker) -> None:
    head = embedding_head(tiny_encoder("bert"))
    other = embedding_head(tiny_encoder("roberta"))
    with pytest.raises(ParityError, match="differs from the plain model"):
        export(dataclasses.replace(head, plain=other.plain), Precision.FLOAT32, 16)


def scores(model: PreTrainedModel) -> Head:
    return scores_head(model, token_types=True)


def of_types(types: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Any:
    """Return what gives all items other token types than those of their texts."""
    return mock.patch.object(heads, "token_types", torch.jit.script(types))


def all_first(flat_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(flat_ids, dtype=torch.int64)


def second_from_the_fourth_on(flat_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Be right for pairs whose first text has three tokens."""
    lengths = lengths.to(torch.int64)
    starts = torch.repeat_interleave(torch.cumsum(lengths, 0) - lengths, lengths)
    return (torch.arange(flat_ids.size(0)) - starts > 2).to(torch.int64)


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.INT8])
@pytest.mark.parametrize("types", [all_first, second_from_the_fourth_on])
def test_a_cross_encoder_that_mistakes_the_texts_of_pairs_is_refused_however_few_bits_it_has(
    tiny_classifier: Maker, monkeypatch: pytest.MonkeyPatch, types: Any, precision: Precision, layout: str
) -> None:
    head = scores(tiny_classifier("bert"))
    if layout == "padded":
        monkeypatch.setattr(pipeline, "packed_encoder", None)
    assert export(head, precision, LONGEST).padded_because is None or layout == "padded"
    with of_types(types), pytest.raises(ParityError, match="differs from the plain model"):
        export(head, precision, LONGEST)


def test_a_reader_that_mistakes_question_and_passage_is_refused(tiny_reader: Maker) -> None:
    head = span_head(tiny_reader("bert"))
    right = head.entry

    def wrong(encoder: torch.nn.Module) -> torch.nn.Module:
        module = right(encoder)
        module.token_types = False
        return module

    with pytest.raises(ParityError, match="differs from the plain model"):
        export(dataclasses.replace(head, entry=wrong), Precision.INT8, LONGEST)


def test_an_encoder_that_compares_other_sentences_than_those_of_a_pair_is_refused(tiny_encoder: Maker) -> None:
    def reversed_pairs(
        flat_ids: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        parts, first, last = split_pairs(flat_ids, lengths)
        return parts, first, last.flip(0)

    head = embedding_head(tiny_encoder("bert"))
    with (
        mock.patch.object(heads, "split_pairs", torch.jit.script(reversed_pairs)),
        pytest.raises(ParityError, match="differs from the plain model"),
    ):
        export(head, Precision.BFLOAT16, LONGEST)


def test_fewer_bits_of_a_cross_encoder_are_judged_by_pairs_of_texts(tiny_classifier: Maker, tiny_reader: Maker) -> None:
    words = Tokenizer(WordLevel({"[UNK]": 1, "the": 5, "of": 6}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    found = {}
    for name, head in (
        ("scores", scores(tiny_classifier("bert"))),
        ("rerank", scores_head(tiny_classifier("bert"), token_types=True, texts=(2,))),
        ("spans", span_head(tiny_reader("bert"))),
        ("probability", probability_head(tiny_classifier("bert"))),
    ):
        given = []
        with mock.patch.object(pipeline, "compare", lambda *each, given=given: given.append(each[2]) or compare(*each)):
            export(head, Precision.INT8, LONGEST, tokenizer=words.to_str())
        (texts,) = given[-1]
        found[name] = [int(split(each)[1].max()) + 1 for each in texts]
    lines = len(calibration.texts(words.to_str(), tiny_classifier("bert").base_model))
    assert found == {
        "scores": lines * [1] + 2 * lines * [2],
        "rerank": 2 * lines * [2],
        "spans": 2 * lines * [2],
        "probability": lines * [1],
    }


def test_what_stands_beside_a_network_is_what_it_answers_to_what_it_is_asked(
    tiny_classifier: Maker, tiny_encoder: Maker, tiny_reader: Maker
) -> None:
    makers = ((embedding_head, tiny_encoder), (probability_head, tiny_classifier), (scores, tiny_classifier))
    for head in (*(make(model("bert")) for make, model in makers), span_head(tiny_reader("bert"))):
        exported = export(head, Precision.FLOAT32, LONGEST)
        assert len(exported.checks) == pipeline.CHECKED
        for check in exported.checks:
            inputs = [torch.tensor(each["data"], dtype=torch.int32) for each in check["inputs"]]
            shapes = [torch.tensor([[len(each)]], dtype=torch.int32) for each in inputs]
            with torch.inference_mode():
                answer = outputs(exported.module(*inputs, *shapes))[0]
            torch.testing.assert_close(answer.flatten(), torch.tensor(check["values"]), atol=1e-5, rtol=0)
        marks = [PAIR in check["inputs"][0]["data"] for check in exported.checks]
        assert any(marks) == (head.texts == (1, 2)), "a reader is given token types and no mark"


def test_a_window_that_only_long_sequences_outgrow_is_seen(long_windows: PreTrainedModel) -> None:
    head = embedding_head(long_windows)
    assert export(head, Precision.FLOAT32, 32).padded_because is None
    exported = export(head, Precision.FLOAT32, 128)
    assert "differs from the plain model" in str(exported.padded_because)
    batch = mixed_batch([128, 3, 65])
    with torch.inference_mode():
        answers = head.call(exported.module, batch)
    torch.testing.assert_close(answers, plain_answers(head, batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("arguments", "reason"), [((), "AssertionError"), (("one\nand more\n",), "and more")])
def test_whatever_a_packed_row_trips_over_padding_serves_it(
    tiny_encoder: Maker, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], reason: str
) -> None:
    def trips(encoder: PreTrainedModel) -> None:
        raise AssertionError(*arguments)

    monkeypatch.setattr(pipeline, "packed_encoder", trips)
    assert export(embedding_head(tiny_encoder("bert")), Precision.FLOAT32, 16).padded_because == reason


def test_more_tokens_than_positions_are_refused(tiny_encoder: Maker) -> None:
    with pytest.raises(ValueError, match="takes 64 tokens, and max_length asks for 65"):
        export(embedding_head(tiny_encoder("roberta")), Precision.FLOAT32, 65)


def test_without_a_table_of_positions_what_the_configuration_says_is_the_most(tiny_encoder: Maker) -> None:
    encoder = tiny_encoder("t5")
    assert most_tokens(encoder) == NO_LIMIT
    encoder.config.n_positions = 64
    assert most_tokens(encoder) == 64
    with pytest.raises(ValueError, match="takes 64 tokens, and max_length asks for 65"):
        export(embedding_head(encoder), Precision.FLOAT32, 65)


def test_a_label_that_the_classifier_lacks_is_refused(tiny_classifier: Maker) -> None:
    with pytest.raises(ValueError, match="has 2 label"):
        probability_head(tiny_classifier("bert"), label=2)


def test_exporting_leaves_the_plain_model_as_it_was(tiny_encoder: Maker) -> None:
    encoder = tiny_encoder("bert")
    head = embedding_head(encoder)
    batch = mixed_batch([5, 9])
    before = plain_answers(head, batch)
    export(head, Precision.BFLOAT16, 16)
    assert encoder.dtype == torch.float32
    torch.testing.assert_close(plain_answers(head, batch), before, atol=0, rtol=0)


def test_the_file_needs_nothing_but_torch(embedding: Exporter, tmp_path: Path) -> None:
    _, exported = embedding("bert", pooling=Pooling.MEAN)
    exported.module.save(str(tmp_path / "model.pt"))
    script = (
        "import sys, torch\n"
        f"model = torch.jit.load({str(tmp_path / 'model.pt')!r})\n"
        "names = [each.name for each in model.forward.schema.arguments]\n"
        "answer = model(torch.tensor([7, 8, 9], dtype=torch.int32), torch.tensor([[1], [2]], dtype=torch.int32))\n"
        "assert not any(name.startswith(('trident', 'transformers')) for name in sys.modules)\n"
        "print(names[1:], *(tuple(each.shape) for each in answer))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['INPUT_IDS', 'ITEM_SHAPE'] (2, 32) (2, 1)"


@pytest.mark.parametrize("architecture", ["bert", "mpnet", "t5", *PADDED])
def test_the_graph_has_no_operation_that_another_backend_lacks(embedding: Exporter, architecture: str) -> None:
    _, exported = embedding(architecture, pooling=Pooling.MEAN)
    kinds = {node.kind() for node in all_nodes(exported.module.graph)}
    assert {kind.partition("::")[0] for kind in kinds} <= {"aten", "prim"}
    assert "prim::PythonOp" not in kinds


def all_nodes(block: torch.Graph) -> list[torch.Node]:
    nodes = list(block.nodes())
    return nodes + [inner for node in nodes for child in node.blocks() for inner in all_nodes(child)]


def test_batches_hold_short_lengths_and_the_longest_and_every_batch_size() -> None:
    batches = sample_batches(vocabulary=50, avoid=1, longest=100)
    assert {len(sequence) for batch in batches for sequence in batch} == {*range(1, 65), 66, 83, 100}
    assert {len(batch) for batch in batches} == set(range(1, 65))
    assert all(1 not in sequence for batch in batches for sequence in batch)


def test_pairs_are_parted_anywhere_and_some_sequences_are_none() -> None:
    plain, paired = (sample_batches(vocabulary=50, avoid=1, longest=100, pairs=pairs) for pairs in (False, True))
    sequences = [each for batch in paired for each in batch]
    lengths = [[tokens(each) for each in batch] for batch in paired]
    assert lengths == [[len(each) for each in batch] for batch in plain]
    places = [(int((each == PAIR).nonzero()), len(each) - 1) for each in sequences if PAIR in each]
    assert {place for place, length in places if length == 5} == {1, 2, 3, 4}
    assert len({place for place, length in places if length > 30}) > 15
    alone = [each for each in sequences if PAIR not in each and len(each) > 1]
    assert 0.2 < len(alone) / len([each for each in sequences if len(each) > 1]) < 0.3
