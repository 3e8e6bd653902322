import pytest
from trident_server.errors import RepositoryError
from trident_server.repository import check_repository, chosen_models


def write_model(repository, name, config, *files):
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    for file in files:
        (repository / name / file).parent.mkdir(exist_ok=True)
        (repository / name / file).write_text("")


def test_a_built_repository_passes(tmp_path):
    write_model(tmp_path, "tokenizer", 'backend: "python"', "1/model.py")
    write_model(tmp_path, "encoder", 'max_batch_size: 8\nbackend: "pytorch"', "1/model.pt")
    write_model(tmp_path, "legacy", 'platform: "pytorch_libtorch"', "3/renamed.pt")
    write_model(tmp_path, "both", 'platform: "ensemble"')
    check_repository(tmp_path)


@pytest.mark.parametrize(
    "config", ['# a comment\nbackend: "pytorch"', "backend: 'pytorch'", 'name: "encoder" platform: "pytorch_libtorch"']
)
def test_an_unbuilt_model_says_how_to_build_it(tmp_path, config):
    write_model(tmp_path, "encoder", config, "1/.gitkeep")
    write_model(tmp_path, "built", 'backend: "pytorch"', "1/model.pt")
    with pytest.raises(RepositoryError, match=r": encoder\. Run `make models`\."):
        check_repository(tmp_path)


@pytest.mark.parametrize("config", ['# backend: "pytorch"', 'name: "\nbackend: "pytorch"', "backend: pytorch"])
def test_what_is_no_network_or_cannot_be_read_is_tritons_to_refuse(tmp_path, config):
    write_model(tmp_path, "encoder", config)
    check_repository(tmp_path)


def test_a_missing_repository_and_an_empty_one_are_named(tmp_path):
    with pytest.raises(RepositoryError, match=r"no model repository at .*nowhere: name one with --repository"):
        check_repository(tmp_path / "nowhere")
    with pytest.raises(RepositoryError, match="holds no model"):
        check_repository(tmp_path)


def test_a_configuration_name_that_no_model_has_is_a_mistake(tmp_path):
    write_model(tmp_path, "encoder", 'backend: "python"', "configs/gpu.pbtxt")
    check_repository(tmp_path, "gpu")
    with pytest.raises(RepositoryError, match=r"configs/cpu\.pbtxt \(there are: gpu\)"):
        check_repository(tmp_path, "cpu")


def write_sets(repository):
    for name in ("sts", "sts_tokenizer", "sts_embedding", "sts_ko", "sts_ko_tokenizer", "cola"):
        write_model(repository, name, 'backend: "python"', "1/model.py")
    write_model(repository, "sts_encoder", 'backend: "pytorch"', "configs/gpu.pbtxt")
    write_model(repository, "sts_ko_encoder", 'backend: "pytorch"', "1/model.pt")


def test_a_set_is_its_ensemble_and_its_parts_and_no_variant(tmp_path):
    write_sets(tmp_path)
    assert chosen_models(tmp_path, ["sts"]) == {"sts", "sts_tokenizer", "sts_embedding", "sts_encoder"}
    assert chosen_models(tmp_path, ["cola", "sts_ko"]) == {"cola", "sts_ko", "sts_ko_tokenizer", "sts_ko_encoder"}
    assert len(chosen_models(tmp_path, [])) == 8
    with pytest.raises(RepositoryError, match=r"no models called 'qa' \(there are: cola, sts, sts_ko\)"):
        chosen_models(tmp_path, ["sts", "qa"])


def test_what_is_not_served_need_not_be_built(tmp_path):
    write_sets(tmp_path)
    check_repository(tmp_path, None, ["sts_ko", "cola"])
    with pytest.raises(RepositoryError, match=r"Not built yet in .*: sts_encoder\."):
        check_repository(tmp_path, None, ["sts"])
    with pytest.raises(RepositoryError, match=r"configs/gpu\.pbtxt \(there are: none\)"):
        check_repository(tmp_path, "gpu", ["cola"])
