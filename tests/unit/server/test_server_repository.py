import pytest
from trident_server.errors import RepositoryError
from trident_server.repository import check_repository


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


def test_an_unbuilt_model_says_how_to_build_it(tmp_path):
    write_model(tmp_path, "encoder", '# a comment\nbackend: "pytorch"', "1/.gitkeep")
    write_model(tmp_path, "built", 'backend: "pytorch"', "1/model.pt")
    with pytest.raises(RepositoryError, match=r": encoder\. Run `make models`\."):
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
