"""Bodies that clients compressed, piece by piece, so that a small one that would grow without end does not."""

from __future__ import annotations

import zlib

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

#: The longest piece that comes out at once.
PIECE_BYTES = 1 << 18
#: Of ``zlib``: the format of gzip, with the longest window.
GZIP = 16 + zlib.MAX_WBITS


def inflated(receive: Receive) -> Receive:
    """Return what gives a body of gzip as it was before it was compressed.

    Raises:
        HTTPException: from what is returned; 422 for a body that is not gzip.
    """
    decoder = zlib.decompressobj(GZIP)
    compressed = b""
    more, ended = True, False

    async def inflating() -> Message:
        nonlocal compressed, more, ended
        if ended:
            # What still comes is that its sender goes away.
            return await receive()
        if more and not compressed:
            message = await receive()
            if message["type"] == "http.disconnect":
                return message
            compressed, more = message.get("body", b""), message.get("more_body", False)
        try:
            piece = decoder.decompress(compressed, PIECE_BYTES)
            compressed = decoder.unconsumed_tail
            if not more and not compressed:
                # What the last bytes stand for and did not fit.
                piece += decoder.flush()
        except zlib.error:
            raise HTTPException(422, "The body is not gzip, as its content-encoding says.") from None
        if decoder.unused_data:
            raise HTTPException(422, "The body goes on behind the end of its gzip stream.")
        ended = not more and not compressed
        if ended and not decoder.eof:
            raise HTTPException(422, "The body ends before its gzip stream does.")
        return {"type": "http.request", "body": piece, "more_body": not ended}

    return inflating
