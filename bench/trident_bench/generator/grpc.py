"""Unary gRPC calls at half of what gRPC's own Python client costs the processor.

That client took a tenth of a machine with two cores, at the expense of the server that was measured. Frames are RFC
9113's, headers RFC 7541's, and calls as in "gRPC over HTTP2", as far as a request of one frame needs them.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import AsyncExitStack
from typing import cast

from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from trident_bench.errors import MeasurementError
from trident_bench.generator.loop import Connector, Send

METHOD = "/inference.GRPCInferenceService/ModelInfer"
#: A lone connection would be the narrowest place of 64 requests.
CONNECTIONS = 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER = 9
MOST_BYTES = 2**14
FIRST_WINDOW = 2**16 - 1
LARGEST_WINDOW = 2**31 - 1
#: Of a message: not compressed, and so many bytes.
MESSAGE_HEADER = struct.Struct(">?I")


class GrpcConnection(asyncio.Protocol):
    """One connection, for any number of calls at a time.

    Args:
        authority: ``host:port``.
        method: the path of the method that is called.
    """

    def __init__(self, authority: str, method: str) -> None:
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": method,
            ":authority": authority,
            "content-type": "application/grpc",
            "te": "trailers",
        }
        # What is never indexed may be sent again and again as it is.
        self._headers = Encoder().encode([(name, value, True) for name, value in headers.items()])
        self._decoder = Decoder()
        self._transport: asyncio.WriteTransport | None = None
        self._received = bytearray()
        self._calls: dict[int, tuple[asyncio.Future[bytes], bytearray]] = {}
        self._next_stream = 1
        self._may_send = FIRST_WINDOW
        self._granted = asyncio.Event()
        self._read = 0

    async def send(self, message: bytes) -> bytes:
        """Call with a serialised message and return the answer's.

        Raises:
            MeasurementError: the message is longer than a frame, the call failed, or the connection is lost.
        """
        content = MESSAGE_HEADER.pack(False, len(message)) + message
        if len(content) > MOST_BYTES:
            raise MeasurementError(f"a request has {len(content)} bytes; at most {MOST_BYTES} are carried")
        while len(content) > self._may_send and not self._is_closed:
            self._granted.clear()
            await self._granted.wait()
        if self._is_closed:
            raise MeasurementError("the server closed the connection")
        self._may_send -= len(content)
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._calls[stream] = (answer, bytearray())
        self._send(
            HeadersFrame(stream, self._headers, flags=["END_HEADERS"]), DataFrame(stream, content, flags=["END_STREAM"])
        )
        return await answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.WriteTransport, transport)
        self._transport.write(PREFACE)
        self._send(
            SettingsFrame(0, {SettingsFrame.ENABLE_PUSH: 0, SettingsFrame.INITIAL_WINDOW_SIZE: LARGEST_WINDOW}),
            WindowUpdateFrame(0, LARGEST_WINDOW - FIRST_WINDOW),
        )

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._received += data
        content, place = memoryview(bytes(self._received)), 0
        while len(content) - place >= FRAME_HEADER:
            frame, length = Frame.parse_frame_header(content[place : place + FRAME_HEADER])
            body = content[place + FRAME_HEADER : place + FRAME_HEADER + length]
            if len(body) < length:
                break
            frame.parse_body(body)
            self._handle(frame)
            place += FRAME_HEADER + length
        del self._received[:place]

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio."""
        self._granted.set()
        for stream in list(self._calls):
            self._fail(stream, f"the server closed the connection: {error}")

    def close(self) -> None:
        """Close."""
        if self._transport is not None:
            self._transport.close()

    @property
    def _is_closed(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def _send(self, *frames: Frame) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(frame.serialize() for frame in frames))

    def _handle(self, frame: Frame) -> None:
        if isinstance(frame, DataFrame):
            self._calls[frame.stream_id][1].extend(frame.data)
            self._grant(frame.flow_controlled_length)
        elif isinstance(frame, HeadersFrame):
            # All are decoded, in order: later ones refer to earlier ones.
            headers = {str(name): str(value) for name, value in self._decoder.decode(frame.data)}
            if "END_STREAM" in frame.flags:
                self._end(frame.stream_id, headers)
        elif isinstance(frame, WindowUpdateFrame):
            self._may_send += frame.window_increment if frame.stream_id == 0 else 0
            self._granted.set()
        elif isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self._send(SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            self._send(PingFrame(0, frame.opaque_data, flags=["ACK"]))
        elif isinstance(frame, RstStreamFrame):
            self._fail(frame.stream_id, f"the server reset the call: error {frame.error_code}")
        elif isinstance(frame, GoAwayFrame):
            self.close()

    def _grant(self, size: int) -> None:
        """Let the server send as much again as was read, before it has used up half of what it may."""
        self._read += size
        if self._read > LARGEST_WINDOW // 2:
            self._send(WindowUpdateFrame(0, self._read))
            self._read = 0

    def _end(self, stream: int, trailers: dict[str, str]) -> None:
        status = trailers.get("grpc-status")
        if status != "0":
            self._fail(stream, f"status {status}: {trailers.get('grpc-message', '')}")
            return
        answer, content = self._calls.pop(stream)
        if not answer.done():
            answer.set_result(bytes(content[MESSAGE_HEADER.size :]))

    def _fail(self, stream: int, reason: str) -> None:
        answer, _ = self._calls.pop(stream)
        if not answer.done():
            answer.set_exception(MeasurementError(reason))


def triton_grpc(address: str, method: str = METHOD) -> Connector:
    """Send Triton over gRPC; requests and answers are serialised messages. ``address`` is ``host:port``."""
    host, _, port = address.partition(":")

    async def connect(stack: AsyncExitStack, count: int) -> list[Send]:
        loop = asyncio.get_running_loop()
        connections = []
        for _ in range(min(count, CONNECTIONS)):
            _, connection = await loop.create_connection(lambda: GrpcConnection(address, method), host, int(port))
            stack.callback(connection.close)
            connections.append(connection)
        return [connections[number % len(connections)].send for number in range(count)]

    return connect
