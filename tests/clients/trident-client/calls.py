"""This project's own client by itself: every example of its page, beside old and new releases of what it is made on."""

import doctest
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path

from calling import TRITON_GRPC, TRITON_HTTP, call, main

CLIENT = Path(__file__).resolve().parents[3] / "client"
sys.path.insert(0, str(CLIENT))

PAGE = (CLIENT / "README.md").read_text("utf-8")
BLOCKS = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
ADDRESSED = BLOCKS.replace("127.0.0.1:8010", TRITON_HTTP).replace("127.0.0.1:8011", TRITON_GRPC)
EXAMPLES = doctest.DocTestParser().get_doctest(ADDRESSED, {}, "client/README.md", "client/README.md", 0)
PACKAGES = ", ".join(f"{name} {version(name)}" for name in ("numpy", "tritonclient"))
if len(EXAMPLES.examples) < 40:
    raise ValueError(f"the page has {len(EXAMPLES.examples)} examples")


@call(
    "trident-client",
    "every example of `client/README.md`, over HTTP and gRPC",
    f"with Python {platform.python_version()}, {PACKAGES}",
)
def runs_the_page() -> None:
    reported: list[str] = []
    doctest.DocTestRunner().run(EXAMPLES, out=reported.append)
    if reported:
        raise ValueError("".join(reported)[:1000])


main()
