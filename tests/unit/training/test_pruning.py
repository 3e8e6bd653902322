"""A vocabulary cut to what texts use: what stays, what is refused, and how little of it an adapter holds."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoModel, AutoModelForQuestionAnswering, BertConfig, BertModel, PreTrainedTokenizerFast
from trident_training.checkpoints.adapters import TOKENIZER, WEIGHTS, merge_adapter, save_adapter
from trident_training.checkpoints.errors import CheckpointError
from trident_training.checkpoints.loading import load_tokenizer, tokenizer_json
from trident_training.checkpoints.pruning import differing, is_kept, prune
from trident_training.checkpoints.vocabulary import texts_of
from trident_training.cli import app
from trident_training.models import Recipe
from trident_training.tasks import find_tasks
from trident_training.tasks.qa.calibration import FILE, Calibration
from typer.testing import CliRunner

KOREAN = ["고양이가 잔다", "강아지가 잔다", "고양이가 웃는다", "강아지가 the dog 웃는다"] * 3
OTHER = ["мороженое тает", "мороженое вкусное", "слон слон спит", "7 чисел, 7!"] * 3
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]


def tokenizer_of(kind):
    """Return a tokenizer that has learned Korean and Russian pieces, and puts two special tokens around a text."""
    if kind == "Unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=120, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=SPECIALS, show_progress=False)
    tokenizer.train_from_iterator(KOREAN + OTHER, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>")
    return tokenizer


@pytest.fixture(scope="module", params=["Unigram", "WordPiece"])
def whole(request):
    return tokenizer_of(request.param).to_str()


@pytest.fixture(scope="module")
def cut(whole):
    return prune(whole, KOREAN)


def test_a_text_that_was_named_is_cut_as_before(whole, cut):
    before, after = Tokenizer.from_str(whole), Tokenizer.from_str(cut[0])
    former = cut[1]
    assert len(former) == after.get_vocab_size() < before.get_vocab_size()
    for text in KOREAN:
        one, two = before.encode(text, KOREAN[0]), after.encode(text, KOREAN[0])
        assert one.tokens == two.tokens
        assert one.offsets == two.offsets
        assert one.ids == [former[index] for index in two.ids]
    assert list(differing(whole, cut[0], KOREAN)) == []
    assert set(differing(whole, cut[0], OTHER)) >= {OTHER[0], OTHER[1], OTHER[2]}
    # Padding has its new id.
    batch = after.encode_batch(["고양이가 the dog 웃는다", ""])
    assert batch[1].ids[2:] == [after.token_to_id("<pad>")] * (len(batch[0]) - 2)


@given(text=st.text(alphabet="고양이가 강아지잔다웃는 thedog", max_size=40))
def test_what_is_cut_into_kept_pieces_keeps_them(whole, cut, text):
    one, two = (Tokenizer.from_str(each).encode(text).tokens for each in (whole, cut[0]))
    if set(one) <= set(Tokenizer.from_str(cut[0]).get_vocab()):
        assert one == two


def test_single_characters_of_the_scripts_stay(whole, cut):
    vocabulary = Tokenizer.from_str(whole).get_vocab()
    kept = Tokenizer.from_str(cut[0]).get_vocab()
    assert {token for token in vocabulary if is_kept(token)} <= set(kept)
    assert set(SPECIALS) <= set(kept)
    assert not any("м" in token for token in kept)
    assert all(map(is_kept, ["가", "▁가", "##가", "ㄱ", "\u1100", "z", "É", "7", "!", "👍", "▁", "①"]))
    assert not any(map(is_kept, ["м", "字", "가나", "▁слон", "ก"]))


def test_merges_are_refused():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.train_from_iterator(KOREAN, trainers.BpeTrainer(special_tokens=["<unk>"], show_progress=False))
    with pytest.raises(CheckpointError, match=r"type BPE is not cut.*Unigram and WordPiece are accepted"):
        prune(tokenizer.to_str(), KOREAN)


@pytest.fixture
def checkpoint(whole, tmp_path):
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(whole),
        **dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), SPECIALS, strict=True)),
        model_max_length=64,
        model_input_names=["input_ids", "attention_mask"],
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    encoder = BertModel(BertConfig(vocab_size=len(tokenizer), **sizes, max_position_embeddings=64, pad_token_id=1))
    for part in (encoder, tokenizer):
        part.save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "similarity.json").write_text("{}")
    return tmp_path / "base"


def cut_by_command(checkpoint, output, *options, code=0):
    rows = "".join(f"{text},{text}!,{index % 6}\n" for index, text in enumerate([*KOREAN[:4], "the", "강아지가"] * 2))
    (checkpoint.parent / "pairs.csv").write_text("sentence1,sentence2,score\n" + rows)
    named = ["--base", checkpoint, "--data", checkpoint.parent / "pairs.csv", "--output", output, *options]
    done = CliRunner().invoke(app, ["vocabulary", *map(str, named)])
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def test_an_encoder_embeds_as_before_and_the_loss_is_noted(checkpoint, tmp_path):
    # Some of the pairs are held out, and their words with them.
    texts = [*KOREAN[:4], "강아지가 мороженое"]
    (tmp_path / "more.json").write_text(json.dumps({"data": [{"context": each} for each in texts]}))
    output = tmp_path / "cut"
    said = cut_by_command(checkpoint, output, "--keep", "--text", tmp_path / "more.json")
    noted = json.loads((output / "vocabulary.json").read_text())
    assert f"{noted['kept']} of {noted['of']} tokens" in said
    assert noted["kept"] < noted["of"]
    assert noted["texts"] > 0
    assert (output / "similarity.json").is_file()
    small, large = (AutoModel.from_pretrained(folder).eval() for folder in (output, checkpoint))
    assert small.get_input_embeddings().weight.shape == (noted["kept"], 16)
    for text in texts:
        ours, theirs = (
            model(**load_tokenizer(folder)(text, return_tensors="pt")).last_hidden_state
            for model, folder in ((small, output), (large, checkpoint))
        )
        assert torch.equal(ours, theirs)


def test_what_held_out_texts_lose_is_measured(checkpoint, tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    header = "sentence1,sentence2,score\n"
    (folder / "train.csv").write_text(header + "".join(f"{text},{text},5\n" for text in KOREAN[:4]))
    (folder / "dev.csv").write_text(header + f"{KOREAN[0]},{OTHER[0]},0\n{OTHER[1]},{OTHER[2]},5\n")
    options = ["--data", folder, "--validation-fraction", 0, "--output", tmp_path / "cut", "--keep"]
    done = CliRunner().invoke(app, ["vocabulary", "--base", str(checkpoint), *map(str, options)])
    assert done.exit_code == 0, done.output
    noted = json.loads((tmp_path / "cut" / "vocabulary.json").read_text())
    assert (noted["texts"], noted["cut_otherwise"]) == (4, 3)
    assert -1 <= noted["smallest_cosine"] <= noted["mean_cosine"] < 0.999


def test_an_adapter_of_a_cut_vocabulary_holds_no_embedding(checkpoint, tmp_path):
    output = tmp_path / "cut"
    cut_by_command(checkpoint, output, "--keep")
    model = AutoModel.from_pretrained(output)
    with torch.no_grad():
        model.encoder.layer[0].output.dense.bias += 0.5
    model.save_pretrained(output)
    save_adapter(output, str(checkpoint), tmp_path / "adapter", {})
    assert set(load_file(tmp_path / "adapter" / WEIGHTS)) == {"encoder.layer.0.output.dense.bias"}
    assert (tmp_path / "adapter" / TOKENIZER).is_file()
    merged = merge_adapter(tmp_path / "adapter", str(checkpoint))
    for name, tensor in model.state_dict().items():
        assert torch.equal(merged.state_dict()[name], tensor), name
    # A piece whose embedding was trained is no piece of the base's.
    with torch.no_grad():
        model.get_input_embeddings().weight[5] += 1
    model.save_pretrained(output)
    save_adapter(output, str(checkpoint), tmp_path / "whole", {})
    assert "embeddings.word_embeddings.weight" in load_file(tmp_path / "whole" / WEIGHTS)
    assert json.loads(tokenizer_json(tmp_path / "adapter")) == json.loads(tokenizer_json(output))


def test_a_readers_adapter_brings_its_own_tokenizer(checkpoint, tmp_path):
    output, adapter = tmp_path / "cut", tmp_path / "qa_ko"
    cut_by_command(checkpoint, output, "--keep")
    torch.manual_seed(0)
    reader = AutoModelForQuestionAnswering.from_pretrained(output).eval()
    with torch.no_grad():
        reader.bert.encoder.layer[0].output.dense.bias += 0.5
    reader.save_pretrained(output)
    (output / FILE).write_text(Calibration(1.5, 0.1, True, 0.25).to_json())
    named = ["--checkpoint", output, "--base", checkpoint, "--output", adapter]
    done = CliRunner().invoke(app, ["adapter", *map(str, named)])
    assert done.exit_code == 0, done.output
    assert not any("embeddings" in name for name in load_file(adapter / WEIGHTS))
    task = find_tasks()["qa"]
    recipe = Recipe("qa_ko", task, str(checkpoint), "tiny", adapter, ("ko",))
    assert json.loads(tokenizer_json(recipe.tokenizer)) == json.loads(tokenizer_json(output))
    found = task.head(recipe)
    row = load_tokenizer(recipe.tokenizer)("강아지가?", KOREAN[0], return_tensors="pt")
    (logits,) = found.plain(row["input_ids"], row["attention_mask"], torch.zeros_like(row["input_ids"]))
    with torch.no_grad():
        expected = reader(**row)
    stacked = torch.stack([expected.start_logits[0], expected.end_logits[0]], dim=1)
    # Heads are kept in float16.
    torch.testing.assert_close(logits, stacked, atol=1e-3, rtol=1e-3)
    assert not found.entry(torch.nn.Identity()).token_types
    # Whether the reader is told question and context apart, the adapter's tokenizer says and not the base's.
    config = json.loads((adapter / "tokenizer_config.json").read_text())
    config["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (adapter / "tokenizer_config.json").write_text(json.dumps(config))
    assert task.head(recipe).entry(torch.nn.Identity()).token_types
    noted = json.loads(task.files(recipe.weights, task.overrides())[FILE])
    assert (noted["may_be_unanswerable"], noted["no_answer_threshold"]) == (True, 0.25)


def test_text_is_every_string_or_every_line(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"context": "a b", "n": 3, "qas": [{"question": "ㄱ"}]}]))
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    assert list(texts_of(tmp_path / "a.json")) == ["a b", "ㄱ"]
    assert list(texts_of(tmp_path / "a.txt")) == ["one", "two"]
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(CheckpointError, match="neither JSON nor text in UTF-8"):
        list(texts_of(tmp_path / "bad.json"))


def test_text_without_keep_is_refused(checkpoint, tmp_path):
    said = cut_by_command(checkpoint, tmp_path / "cut", "--text", "a.txt", code=2)
    assert "--text is of --keep" in said
