"""A new vocabulary on an old body: what it knows, what it keeps, and how it is shipped."""

import itertools

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel
from trident_training.checkpoints.adapters import WEIGHTS, merge_adapter, save_adapter
from trident_training.checkpoints.loading import load_tokenizer
from trident_training.checkpoints.vocabulary import learn_vocabulary, with_vocabulary
from trident_training.cli import app
from typer.testing import CliRunner

TEXTS = ["고양이가 잔다", "강아지가 잔다", "고양이가 웃는다", "강아지가 the dog 웃는다"] * 3


def test_hangul_is_kept_whole_and_composed(tmp_path):
    learn_vocabulary(TEXTS, 200, 64).save_pretrained(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    decomposed = "\u1100\u1169\u110b\u1163\u11bc\u110b\u1175\u1100\u1161 \u110c\u1161\u11ab\u1103\u1161"
    assert tokenizer.tokenize(decomposed) == tokenizer.tokenize("고양이가 잔다") == ["고양이가", "잔다"]
    ids = tokenizer("고양이가", "잔다")
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert [ids["input_ids"][place] for place in (0, 2, 4)] == [first, last, last]
    assert ids["token_type_ids"] == [0, 0, 0, 1, 1]
    assert tokenizer.unk_token_id in tokenizer("a 🐟")["input_ids"]


def test_tokens_that_both_know_keep_their_embedding(tiny_checkpoint):
    folder = tiny_checkpoint("bert")
    before, after = load_tokenizer(str(folder)), learn_vocabulary(TEXTS, 200, 64)
    encoder = AutoModel.from_pretrained(folder)
    old = encoder.get_input_embeddings().weight.detach().clone()
    known = with_vocabulary(encoder, before, after, seed=0)
    new = encoder.get_input_embeddings().weight
    shared = sorted(set(before.get_vocab()) & set(after.get_vocab()))
    assert known == len(shared) > 3
    assert torch.equal(
        new[[after.get_vocab()[token] for token in shared]], old[[before.get_vocab()[token] for token in shared]]
    )
    fresh = [index for token, index in after.get_vocab().items() if token not in before.get_vocab()]
    assert new[fresh].std().item() == pytest.approx(old.std().item(), rel=0.3)
    assert new.requires_grad
    encoder(**after("고양이가 잔다", return_tensors="pt"))


def test_tokens_of_one_stem_begin_alike(tiny_checkpoint):
    after = learn_vocabulary([*TEXTS, "강아지 숙소 숙박"] * 2, 200, 64)
    encoder = AutoModel.from_pretrained(tiny_checkpoint("bert"))
    with_vocabulary(encoder, load_tokenizer(str(tiny_checkpoint("bert"))), after, seed=0)
    weights = encoder.get_input_embeddings().weight
    weights = weights - weights.mean(0)
    one, same_stem, other = (weights[after.get_vocab()[word]] for word in ("강아지가", "강아지", "웃는다"))
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(one, same_stem, dim=0) > 0.4 > cosine(one, other, dim=0)


@pytest.mark.slow
def test_an_adapter_brings_its_vocabulary_along(tiny_checkpoint, tmp_path):
    rows = "".join(f"{text},{other},{index % 6}\n" for index, (text, other) in enumerate(itertools.pairwise(TEXTS)))
    # The last pair, which shares no sentence with the others, is what is carved off.
    (tmp_path / "train.csv").write_text("sentence1,sentence2,label\n" + rows + "one,other,3\n")
    base = str(tiny_checkpoint("bert"))
    options = ["--data", tmp_path, "--base", base, "--size", 150, "--output", tmp_path / "encoder"]
    done = CliRunner().invoke(app, ["vocabulary", *map(str, options)])
    assert done.exit_code == 0, done.output
    assert f"of which {base} knew" in done.output.replace("\n", "")
    save_adapter(tmp_path / "encoder", base, tmp_path / "adapter", {})
    # Nothing else was changed.
    assert list(load_file(tmp_path / "adapter" / WEIGHTS)) == ["embeddings.word_embeddings.weight"]
    tokenizer = load_tokenizer(str(tmp_path / "adapter"))
    assert tokenizer.tokenize("고양이가 잔다") == ["고양이가", "잔다"]
    merged = merge_adapter(tmp_path / "adapter", base)
    whole = AutoModel.from_pretrained(tmp_path / "encoder")
    batch = tokenizer("고양이가 잔다", return_tensors="pt")
    with torch.inference_mode():
        torch.testing.assert_close(
            merged(**batch).last_hidden_state, whole.eval()(**batch).last_hidden_state, atol=1e-2, rtol=0
        )
