"""The client stays light."""

import subprocess
import sys

HEAVY = {"datasets", "evaluate", "fastapi", "grpc", "httpx", "pyarrow", "torch", "transformers", "typer"}


def test_the_client_imports_nothing_heavy():
    code = f"import sys, trident_client; sys.exit(', '.join({HEAVY!r} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_its_extra_the_command_line_says_what_to_install():
    code = "import sys; sys.modules['typer'] = None; from trident_client.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "trident needs the package typer, which is not installed: pip install 'trident-nlp[cli]'\n"
