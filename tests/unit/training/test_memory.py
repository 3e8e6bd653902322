"""What a training step frees, the next one gets without the kernel."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from trident_training.finetune.memory import keep_freed_memory

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(10 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = page_faults()
keep_freed_memory()
# A freed block may have to grow before it fits an aligned request, so the first round does not count.
page_faults()
print(before, page_faults())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_kept_memory_is_not_mapped_again():
    # Were a tensor's pages mapped only once without it too, the module could go.
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    before, kept = map(int, done.stdout.split())
    assert kept < before / 4
