"""Lists a torch release's TorchScript operators, for the test that holds built models to the oldest libtorch supported.

Run with that release's Python, which needs nothing else, and keep what it prints::

    python3.11 -m venv /tmp/oldest && /tmp/oldest/bin/pip install torch==2.4.1 "numpy<2"
    /tmp/oldest/bin/python scripts/list_operators.py > tests/unit/model_repository/operators-2.4.txt
"""

import torch

#: Variants that write into a given tensor, and derivatives: no exported model calls them.
UNUSED = ("out", "_backward")


def main() -> None:
    """Print the release, the newest file format that it reads, and its operators' schemas, one a line."""
    schemas = sorted(
        str(schema)
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith(("aten::", "prim::", "quantized::linear"))
        and not schema.overload_name.endswith(UNUSED)
        and not schema.name.endswith(UNUSED)
    )
    print(f"# torch {torch.__version__.partition('+')[0]}: operators, as scripts/list_operators.py prints them.")
    print(f"format {torch._C._get_max_operator_version()}")
    print("\n".join(schemas))


if __name__ == "__main__":
    main()
