"""The client stays light."""

import subprocess
import sys


def test_client_imports_neither_torch_nor_transformers():
    code = "import sys, trident_client; sys.exit(bool({'torch', 'transformers', 'fastapi'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
