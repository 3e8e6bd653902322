"""What everybody is measured with: full windows, and repositories that hold no more than is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from trident_bench import texts
from trident_bench.cli import app
from trident_bench.compare.inputs import WINDOW_TOKENS, full_windows, link_served
from trident_bench.repository import configuration
from trident_server.repository import check_repository
from typer.testing import CliRunner

REPOSITORY = Path(__file__).parents[3] / "model_repository"


@pytest.fixture
def tokenizer() -> Tokenizer:
    """Words are tokens, framed as BERT frames a pair."""
    made = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = [("[CLS]", 1), ("[SEP]", 2)]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=specials
    )
    return made


def test_windows_are_full_and_each_passage_is_one(tokenizer: Tokenizer) -> None:
    windows = full_windows(tokenizer, 12, 96)
    assert [len(tokenizer.encode(*window).ids) for window in windows] == [96] * 12
    assert len({context for _, context in windows}) == 12


def test_sentences_come_in_mixed_lengths_and_no_order() -> None:
    lengths = [len(text.split()) for text in texts.sentences(64)]
    assert lengths != sorted(lengths)
    assert max(lengths) > 3 * min(lengths)


def test_a_repository_of_links_holds_the_named_models_alone(tmp_path: Path) -> None:
    source = tmp_path / "all"
    for name in ("one", "two"):
        (source / name / "1").mkdir(parents=True)
        (source / name / "config.pbtxt").write_text(f"# {name}\n")
    folder = link_served(source, ["two"], tmp_path / "links")
    assert [each.name for each in folder.iterdir()] == ["two"]
    assert (folder / "two" / "config.pbtxt").read_text() == "# two\n"
    assert (folder / "two" / "1").is_dir()
    check_repository(folder, None)


def test_the_reader_is_served_windows_of_384_and_the_source_is_left_alone(tmp_path: Path) -> None:
    before = (REPOSITORY / "qa_tokenizer" / "config.pbtxt").read_text()
    folder = link_served(REPOSITORY, ["qa_tokenizer"], tmp_path / "links")
    served = configuration(folder, "qa_tokenizer")
    assert served.parameters["max_length"].string_value == str(WINDOW_TOKENS)
    served.parameters["max_length"].string_value = (
        configuration(REPOSITORY, "qa_tokenizer").parameters["max_length"].string_value
    )
    assert served == configuration(REPOSITORY, "qa_tokenizer")
    assert (REPOSITORY / "qa_tokenizer" / "config.pbtxt").read_text() == before


def test_what_builds_the_models_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.pbtxt").write_text('backend: "pytorch"')
    done = CliRunner().invoke(app, ["compare", "--repository", str(tmp_path)])
    assert done.exit_code == 2
    assert done.output.count("make models") == 1
