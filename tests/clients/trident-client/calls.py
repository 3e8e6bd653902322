"""This project's own client by itself: all examples of its pages, beside old and new releases of what it is made on."""

import doctest
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path

from calling import TRITON_GRPC, TRITON_HTTP, call, main

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "client"))

PAGES = ("client/README.md", "docs/client-in-programs.md")


def examples(page: str) -> doctest.DocTest:
    """Return a page's examples, asked of the server that is tried."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    addressed = "\n".join(blocks).replace("127.0.0.1:8010", TRITON_HTTP).replace("127.0.0.1:8011", TRITON_GRPC)
    return doctest.DocTestParser().get_doctest(addressed, {}, page, page, 0)


EXAMPLES = [examples(page) for page in PAGES]
PACKAGES = ", ".join(f"{name} {version(name)}" for name in ("numpy", "tritonclient"))
if (count := sum(len(page.examples) for page in EXAMPLES)) < 60:
    raise ValueError(f"the pages have {count} examples")


@call(
    "trident-client",
    "every example of the client's pages, over HTTP and gRPC",
    f"with Python {platform.python_version()}, {PACKAGES}",
)
def runs_the_pages() -> None:
    reported: list[str] = []
    for page in EXAMPLES:
        doctest.DocTestRunner().run(page, out=reported.append)
    if reported:
        raise ValueError("".join(reported)[:1000])


main()
