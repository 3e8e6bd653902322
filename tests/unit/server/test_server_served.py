"""What is served is a copy of the repository's models, their versions numbered, and ensembles name the numbers."""

import json
import os
import stat
from pathlib import Path

import pytest
from google.protobuf import text_format
from trident_server import exchange, pidfile
from trident_server.errors import ExchangeError, NotRunningError, RepositoryError
from trident_server.served import Served
from tritonclient.grpc.model_config_pb2 import ModelConfig

ENSEMBLE = 'platform: "ensemble"\nensemble_scheduling { step [ { model_name: "cola_encoder" model_version: -1 } ] }\n'
PART = 'backend: "pytorch"\n'


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "models"
    for name, text in (("cola", ENSEMBLE), ("cola_encoder", PART), ("cola_small", PART)):
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(text)
    (folder / "cola_encoder" / "1" / "model.pt").write_bytes(b"weights")
    (folder / "cola_encoder" / "1" / "model.py").write_text("VALUE = 1\n")
    (folder / "cola_encoder" / "1" / ".model.pt.x").write_bytes(b"draft")
    (folder / "cola_encoder" / "configs").mkdir()
    (folder / "cola_encoder" / "configs" / "gpu.pbtxt").write_text(PART)
    return folder


@pytest.fixture
def served(repository, tmp_path):
    served = Served(tmp_path / "run")
    assert served.fill(repository, {"cola", "cola_encoder"}, "127.0.0.1:1") == tmp_path / "run" / "served" / "models"
    return served


def files(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.glob("**/*") if each.is_file()}


def test_models_are_copied_with_their_versions_named(served, repository):
    assert served.number("cola") == 1
    assert (served.models / "cola" / "config.pbtxt").read_text() == ENSEMBLE.replace("-1", "1")
    for name in ("config.pbtxt", "configs/gpu.pbtxt"):
        assert (served.models / "cola_encoder" / name).read_text() == PART + "version_policy { all { } }\n"
    assert (repository / "cola_encoder" / "config.pbtxt").read_text() == PART
    # Compiled already: what Python writes there is a change to Triton.
    [compiled] = {each for each in files(served.models) if "__pycache__" in each}
    assert compiled.startswith("cola_encoder/1/__pycache__/model.")
    assert {each.split("/")[0] for each in files(served.models)} == {"cola", "cola_encoder"}
    assert not [each for each in files(served.models) if each.endswith(".model.pt.x")]


def test_an_ensemble_tells_how_its_network_was_exported_here(repository, tmp_path):
    report = {
        "dtype": "int8",
        "refused": None,
        "parity": {"mean_cosine": 0.99},
        "parity_on_text": {"mean_cosine": 0.999},
        "speed": {"processor": 'An "é"'},
    }
    noted = repository / "cola_encoder" / "1" / "export.json"
    noted.write_text(json.dumps(report | {"inputs": "a digest", "model_bytes": 7}))
    served = Served(tmp_path / "run")
    served.fill(repository, {"cola", "cola_encoder"}, "127.0.0.1:1")
    configuration = text_format.Parse((served.models / "cola" / "config.pbtxt").read_text(), ModelConfig())
    assert json.loads(configuration.parameters["export"].string_value) == report
    assert "export" not in (repository / "cola" / "config.pbtxt").read_text()
    # Another version's ensemble tells of that version; one from before there was text to compare on, of no such thing.
    del report["parity_on_text"]
    (served.now / "cola_encoder" / "1" / "export.json").write_text(json.dumps(report | {"dtype": "float32"}))
    served.configure(served.now / "cola", 2)
    configuration = text_format.Parse((served.models / "cola" / "config.pbtxt").read_text(), ModelConfig())
    told = json.loads(configuration.parameters["export"].string_value)
    assert (told["dtype"], told["parity_on_text"]) == ("float32", None)


@pytest.mark.parametrize("noted", ["", "[]", '{"dtype": "int8"}'])
def test_what_is_no_exports_report_is_not_told(repository, tmp_path, noted):
    (repository / "cola_encoder" / "1" / "export.json").write_text(noted)
    served = Served(tmp_path / "run")
    served.fill(repository, {"cola", "cola_encoder"}, "127.0.0.1:1")
    assert (served.models / "cola" / "config.pbtxt").read_text() == ENSEMBLE.replace("-1", "1")


@pytest.mark.parametrize(
    "ensemble",
    [
        "# One.\nplatform: 'ensemble' ensemble_scheduling { step { model_name: 'cola_encoder' model_version : -1 } }\n",
        'ensemble_scheduling: < step: [ < model_name: "cola_encoder", model_version: -1 > ] >; platform: "ensemble"',
        'platform: "ensemble" ensemble_scheduling { step { model_name: "cola_encoder" model_version: #\n -1 } }',
        ENSEMBLE + "parameters { key: 'note' value { string_value: 'model_version: -1' } }",
    ],
)
def test_however_an_ensemble_is_written_its_steps_are_numbered(repository, tmp_path, ensemble):
    (repository / "cola" / "config.pbtxt").write_text(ensemble)
    wanted = text_format.Parse(ensemble, ModelConfig())
    wanted.ensemble_scheduling.step[0].model_version = 1
    served = Served(tmp_path / "run")
    served.fill(repository, {"cola", "cola_encoder"}, "127.0.0.1:1")
    written = (served.models / "cola" / "config.pbtxt").read_text()
    assert text_format.Parse(written, ModelConfig()) == wanted
    assert written.startswith("# One.\n") == ensemble.startswith("# One.\n")
    assert served.number("cola") == 1


def test_a_comment_is_no_policy(repository, tmp_path):
    (repository / "cola_encoder" / "config.pbtxt").write_text("# no version_policy\n" + PART)
    served = Served(tmp_path / "run")
    served.fill(repository, {"cola_encoder"}, "127.0.0.1:1")
    written = (served.models / "cola_encoder" / "config.pbtxt").read_text()
    assert written == f"# no version_policy\n{PART}version_policy {{ all {{ }} }}\n"


@pytest.mark.parametrize("content", [b"platform: ensemble", b'backend: "pytorch" \xff'])
def test_what_cannot_be_read_is_left_for_triton_to_refuse(repository, tmp_path, content):
    for name in ("cola", "cola_encoder"):
        (repository / name / "config.pbtxt").write_bytes(content)
    served = Served(tmp_path / "run")
    served.fill(repository, {"cola", "cola_encoder"}, "127.0.0.1:1")
    for name in ("cola", "cola_encoder"):
        assert (served.models / name / "config.pbtxt").read_bytes() == content
    assert served.number("cola") == 0


def test_what_the_repository_gets_later_changes_nothing_until_it_is_filled_again(served, repository):
    network = served.models / "cola_encoder" / "1" / "model.pt"
    assert os.path.samefile(network, repository / "cola_encoder" / "1" / "model.pt")
    (repository / "new").write_bytes(b"better weights")
    (repository / "new").replace(repository / "cola_encoder" / "1" / "model.pt")
    (repository / "cola" / "config.pbtxt").write_text("# other\n" + ENSEMBLE)
    (repository / "cola_encoder" / "1" / "model.py").write_text("VALUE = 2\n")
    assert network.read_bytes() == b"weights"
    assert network.with_name("model.py").read_text() == "VALUE = 1\n"
    assert "other" not in (served.models / "cola" / "config.pbtxt").read_text()
    served.fill(repository, {"cola_encoder"}, "127.0.0.1:1")
    assert network.read_bytes() == b"better weights"
    assert not (served.models / "cola").exists()


def test_a_version_comes_whole_and_all_but_one_go(served, repository):
    served.add(served.now / "cola_encoder", 2)
    assert (served.models / "cola_encoder" / "2" / "model.pt").read_bytes() == b"weights"
    served.remove("cola_encoder", but=2)
    assert {each.name for each in (served.models / "cola_encoder").iterdir() if each.is_dir()} == {"2", "configs"}
    served.configure(served.now / "cola", 2)
    assert served.number("cola") == 2


def test_versions_that_are_somebodys_own_stay_as_they_are(repository, tmp_path):
    (repository / "cola_encoder" / "2").mkdir()
    served = Served(tmp_path / "run")
    served.fill(repository, {"cola_encoder"}, "127.0.0.1:1")
    assert (served.models / "cola_encoder" / "config.pbtxt").read_text() == PART


def test_a_folder_of_somebodys_own_is_left_alone(repository, tmp_path):
    (tmp_path / "run" / "served").mkdir(parents=True)
    with pytest.raises(RepositoryError, match="holds something else"):
        Served(tmp_path / "run").fill(repository, {"cola"}, "127.0.0.1:1")


def test_an_exchange_is_seen_while_it_lasts(served):
    assert not served.is_exchanged()
    with served.exchanging():
        assert served.is_exchanged()
    assert not served.is_exchanged()


@pytest.mark.parametrize("act", [exchange.promote, exchange.rollback])
def test_where_no_server_runs_nothing_is_exchanged(served, tmp_path, act):
    with pytest.raises(NotRunningError, match="the next start serves what is in the repository"):
        act(tmp_path / "run", "cola", 1.0, print)


def test_an_export_without_a_note_of_its_answers_is_not_promoted(served, tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "_check_runs", lambda cache_dir: None)
    with pytest.raises(ExchangeError, match=r"no check\.json of cola: export it anew"):
        exchange.promote(tmp_path / "run", "cola", 1.0, print)


def test_an_export_that_did_not_end_is_not_promoted(served, repository, tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "_check_runs", lambda cache_dir: None)
    (repository / "cola_encoder" / "1" / "check.json").write_text("[]")
    with pytest.raises(ExchangeError, match="did not end yet, or was interrupted"):
        exchange.promote(tmp_path / "run", "cola", 1.0, print)


def test_copies_of_a_repository_that_nobody_may_write_into_may_be(repository, tmp_path):
    for each in (*repository.glob("**/*"), repository):
        each.chmod(0o555)
    served = Served(tmp_path / "run")
    served.fill(repository, {"cola", "cola_encoder"}, "127.0.0.1:1", fixed=True)
    folders = [served.folder, *(each for each in served.folder.glob("**/*") if each.is_dir())]
    assert not [each for each in folders if not each.stat().st_mode & stat.S_IWUSR]
    assert served.number("cola") == 1
    for each in (*repository.glob("**/*"), repository):
        each.chmod(0o755)


@pytest.mark.parametrize("act", [exchange.promote, exchange.rollback])
def test_of_a_repository_that_stays_as_it_is_nothing_large_is_copied_and_nothing_exchanged(repository, tmp_path, act):
    served = Served(tmp_path / "run")
    served.fill(repository, {"cola", "cola_encoder"}, "127.0.0.1:1", fixed=True)
    network = served.models / "cola_encoder" / "1" / "model.pt"
    assert network.readlink() == repository / "cola_encoder" / "1" / "model.pt"
    assert served.number("cola") == 1
    with pidfile.hold(tmp_path / "run"), pytest.raises(ExchangeError, match="--fixed: start it anew"):
        act(tmp_path / "run", "cola", 1.0, print)
