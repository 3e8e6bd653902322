"""Load shedding: while no more single texts are taken, one that comes is refused before its body is looked into.

Of what a refusal costs, most is the way to the endpoint and back: in a flood, that is time of the processors which
compute the answers.
"""

from __future__ import annotations

from types import SimpleNamespace

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from trident_client import TridentError, contract
from trident_client.contract import MAX_BATCH

from trident_api import openai_endpoints
from trident_api.inference import Inference
from trident_api.problems import upstream
from trident_api.work import BYTES_PER_TOKEN, LARGE_WORK

#: Where each text of a body is read once, so that its length tells what there is to do at most.
PATHS = frozenset(
    {
        contract.COLA.main.path,
        contract.COLA.main.list_path,
        contract.STS.main.path,
        contract.EMBED.path,
        contract.QA.main.path,
        "/tokenize",
        *openai_endpoints.LISTS,
    }
)


class ShedLoad:
    """Asks the queue before the endpoint does; what may be a large request goes on to that, and so does what has room.

    It stands where a body arrives as one message.

    Args:
        app: the application behind.
        retry_after: seconds after which who was refused may come again, where nothing is measured.
    """

    def __init__(self, app: ASGIApp, retry_after: int) -> None:
        self.app = app
        self.retry_after = retry_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in PATHS:
            await self.app(scope, receive, send)
            return
        messages = [await receive()]
        if work := _small_work(messages[0].get("body", b"")):
            inference: Inference = scope["app"].state.inference
            try:
                inference.refuse_where_full(work)
            except TridentError as error:
                # As it is counted and logged.
                scope["route"] = SimpleNamespace(path=scope["path"])
                await upstream(error, self.retry_after)(scope, receive, send)
                return

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, replay, send)


def _small_work(body: bytes) -> float | None:
    """Return about how many tokens a body of JSON has at most; None where it may be a large request."""
    # Each text stands between two of them.
    quotes = body.count(b'"')
    work = len(body) / BYTES_PER_TOKEN
    return None if quotes > 2 * MAX_BATCH or work + quotes > LARGE_WORK else work
