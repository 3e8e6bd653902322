"""What settings are accepted, how the architectures' defaults fill them, and that a folder keeps to its own."""

import json
import re

import pytest
import typer
from transformers import AlbertConfig, BertConfig, DebertaV2Config
from trident_training.cli import app
from trident_training.finetune.defaults import BERT, BY_ARCHITECTURE, SMALL_BERT
from trident_training.finetune.settings import Settings, SettingsError


def test_what_is_not_chosen_comes_from_the_architecture(tmp_path):
    settings = Settings(tmp_path, epochs=2, weight_decay=0.0)
    albert = settings.completed(AlbertConfig())
    assert (albert.epochs, albert.weight_decay) == (2, 0.0)
    assert (albert.learning_rate, albert.batch_size) == (1e-5, 16)
    assert albert.warmup == BY_ARCHITECTURE["albert"].warmup > 0
    assert settings.completed(BertConfig()).learning_rate == BERT.learning_rate
    assert settings.completed(BertConfig(hidden_size=384)).learning_rate == SMALL_BERT.learning_rate
    assert settings.completed(DebertaV2Config()).learning_rate == BERT.learning_rate


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"epochs": 0}, "epochs is 0; 1 or more"),
        ({"batch_size": 0}, "batch_size is 0; 1 or more"),
        ({"warmup": 1.0}, "warmup is 1.0; 0 to 0.99"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; above 0"),
        ({"max_length": 1}, "max_length is 1; 2 or more"),
        ({"batch_size": 10, "accumulation": 4}, "batch_size 10 cannot be made of 4"),
        ({"lora_rank": 0}, "lora_rank is 0; 1 or more"),
        ({"lora_rank": 8, "lora_dropout": 1.0}, "lora_dropout is 1.0; 0 to 0.99"),
        ({"lora_alpha": 16, "rslora": True}, "lora_alpha, rslora without lora_rank"),
        ({"lora_rank": 8, "rslora": True, "lora_from": "adapter"}, "lora_rank, rslora beside lora_from"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(tmp_path, chosen, says):
    with pytest.raises(SettingsError, match=re.escape(says)):
        Settings(tmp_path, **chosen)


def test_a_default_batch_that_accumulation_does_not_divide_is_refused_too(tmp_path):
    with pytest.raises(SettingsError, match="batch_size 32 cannot be made of 5"):
        Settings(tmp_path, accumulation=5).completed(BertConfig())


def test_a_folder_goes_on_with_the_settings_it_was_begun_with(tmp_path):
    begun = Settings(tmp_path / "run", seed=1)
    begun.claim_output({"data": "abc"})
    begun.claim_output({"data": "abc"})
    with pytest.raises(SettingsError, match=r"seed was 1 and is 2; data was 'abc' and is 'xyz'"):
        Settings(tmp_path / "run", seed=2).claim_output({"data": "xyz"})


def test_a_run_that_was_begun_before_there_was_a_setting_had_its_default(tmp_path):
    Settings(tmp_path / "run", lora_rank=8).claim_output({})
    file = tmp_path / "run" / "settings.json"
    begun = json.loads(file.read_text())
    for name in ("lora_dropout", "rslora", "lora_alpha"):
        del begun[name]
    file.write_text(json.dumps(begun))
    Settings(tmp_path / "run", lora_rank=8).claim_output({})
    with pytest.raises(SettingsError, match=r"lora_dropout was 0\.05 and is 0\.1"):
        Settings(tmp_path / "run", lora_rank=8, lora_dropout=0.1).claim_output({})


def test_labels_are_smoothed_by_the_commands_whose_loss_is_the_trainers():
    def offering(group, *names):
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from offering(command, *names, name)
            elif any(parameter.name == "label_smoothing" for parameter in command.params):
                yield " ".join([*names, name])

    expected = {f"{verb} {task}" for verb in ("finetune", "sweep", "tune") for task in ("classify", "cola")}
    assert set(offering(typer.main.get_command(app))) == expected
