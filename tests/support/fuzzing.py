"""What fuzz tests share: how long they look, and files that are nearly right."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

#: What readers have broken on, here or elsewhere.
NASTY = (
    b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\n", b'"', b"'", b"\\", b"\\ud800", b",", b"\t", b":",
    b"[", b"]", b"{", b"}", b"[" * 3000, b'{"a":' * 3000, b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-1",
    b"9" * 400, b"9" * 5000, b"0.5", b'""', b"[]", b"{}", "고양이".encode(), "é\u0301\u200b".encode(),
)  # fmt: skip


def looking(examples: int) -> settings:
    """Return settings with so many examples where the profile has 100, and as many times more as it has more.

    What the suite finds is shown as it was found: to make it small takes minutes, and is the night's work.
    """
    default = settings.default
    phases = (Phase.explicit, Phase.reuse, Phase.generate) if default.derandomize else tuple(Phase)
    count = max(1, round(examples * default.max_examples / 100))
    return settings(max_examples=count, phases=phases, suppress_health_check=list(HealthCheck))


@st.composite
def nearly(draw: st.DrawFn, right: Sequence[bytes]) -> bytes:
    """Draw one of some contents with a few pieces cut out, put in or replaced; now and then something else entirely."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(draw(st.sampled_from(right)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        end = place + draw(st.integers(0, 12) | st.just(len(content)))
        content[place:end] = draw(st.sampled_from(NASTY) | st.just(b"") | st.binary(max_size=6))
    return bytes(content)
