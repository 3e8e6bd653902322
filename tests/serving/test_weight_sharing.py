"""What another instance of an encoder costs where instances share their weights."""

import shutil
from pathlib import Path

import numpy as np
import psutil
import pytest
from trident_server.wheel import find_tcmalloc
from tritonclient.grpc import InferenceServerClient, InferInput

pytestmark = pytest.mark.serving

MODEL = Path(__file__).resolve().parents[2] / "model_repository" / "sts_encoder"
MEGABYTES = 15
COUNT = "instance_group [ { count: 1 kind: KIND_CPU } ]"
SHARED = 'parameters { key: "ENABLE_WEIGHT_SHARING" value: { string_value: "true" } }\n'


def served_bytes(serve_models, repository: Path, instances: int) -> tuple[int, np.ndarray, int]:
    """Return the memory that a server of so many instances has of its own, one answer, and how many reused a module."""
    shutil.copytree(MODEL, repository / MODEL.name, ignore=shutil.ignore_patterns("configs"))
    file = repository / MODEL.name / "config.pbtxt"
    text = file.read_text()
    assert COUNT in text
    file.write_text(text.replace(COUNT, COUNT.replace("count: 1", f"count: {instances}")) + SHARED)
    with serve_models(repository) as triton, InferenceServerClient(triton.grpc_url) as client:
        ids = InferInput("INPUT_IDS", [1, 8], "INT32")
        ids.set_data_from_numpy(np.arange(1000, 1008, dtype=np.int32).reshape(1, 8))
        answer = client.infer(MODEL.name, [ids]).as_numpy("EMBEDDING")
        reused = triton.log_file.read_text().count(f"Reusing TorchScript model for instance '{MODEL.name}'")
        return psutil.Process(triton.pid).memory_full_info().uss, answer, reused


# glibc keeps what each thread gave back, for each apart: some 45 MB an instance.
@pytest.mark.skipif(not find_tcmalloc(), reason="no tcmalloc (Debian's package libtcmalloc-minimal4)")
def test_four_instances_that_share_weights_cost_less_than_15_megabytes_each(serve_models, tmp_path):
    one, answer, none = served_bytes(serve_models, tmp_path / "one", 1)
    four, same, reused = served_bytes(serve_models, tmp_path / "four", 4)
    each = (four - one) / 3 / 2**20
    assert (none, reused) == (0, 3)
    np.testing.assert_allclose(same, answer, atol=0.01)
    assert each < MEGABYTES, f"{each:.1f} MB for each instance beyond the first"
