"""Bodies: inflated to the byte in whatever chunks they come, and refused where they are not what they say."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.body import PIECE_BYTES, Body


def body(encoding: str = "", monotonic: object = None) -> Body:
    clock = {} if monotonic is None else {"monotonic": monotonic}
    return Body(encoding, 200, "status request", 15.0, **clock)  # type: ignore[arg-type]


def filled(encoding: str, content: bytes, chunk: int) -> bytes:
    found = body(encoding)
    for start in range(0, len(content), chunk):
        for _ in found.pieces(content[start : start + chunk]):
            pass
    return found.whole()


def headless(plain: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(plain) + packer.flush()


PACKINGS = {
    "gzip": ("gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "deflate without a head": ("Deflate ", headless),
    "none": ("identity", bytes),
}


@pytest.mark.parametrize("chunk", [1, 7, 1024, 10**9])
@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b'{"code":200}',
        random.Random(1).randbytes(5000),
        bytes(PIECE_BYTES),
        bytes(PIECE_BYTES * 2),
        bytes(3_000_001),
    ],
    ids=["empty", "small", "random", "a piece", "two pieces", "large"],
)
@pytest.mark.parametrize("packing", PACKINGS)
def test_every_byte_comes_out(packing: str, plain: bytes, chunk: int) -> None:
    if packing == "none" and len(plain) > 10_000 and chunk < 100:
        chunk = 1000
    encoding, pack = PACKINGS[packing]
    assert filled(encoding, pack(plain), chunk) == plain


def test_nothing_at_all_is_nothing_whatever_it_is_called() -> None:
    assert body("gzip").whole() == b""


def test_what_follows_the_compressed_is_left_out() -> None:
    assert filled("gzip", gzip.compress(b"{}") + b"more", 5) == b"{}"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize(
    "content",
    [b"{} not packed", gzip.compress(b"{}" * 500)[:-9], zlib.compress(b"x" * 500)[:-5]],
    ids=["not packed", "gzip cut short", "zlib cut short"],  # gzip writes the clock into what it makes
)
def test_damage_is_an_outcome_that_is_not_known(encoding: str, content: bytes) -> None:
    with pytest.raises(errors.OutcomeUnknownError, match="status request broke off"):
        filled(encoding, content, 100)


def test_a_chunk_is_inflated_in_small_pieces() -> None:
    found = body("gzip")
    pieces = sum(1 for _ in found.pieces(gzip.compress(bytes(PIECE_BYTES * 20))))
    assert pieces in (19, 20)
    assert len(list(body("gzip").pieces(gzip.compress(b"{}")))) == 0, "a small answer is read in one go"


def test_a_body_has_its_time() -> None:
    now = 0.0
    found = body(monotonic=lambda: now)
    now = 15.0
    assert list(found.pieces(b"a")) == []
    now = 15.1
    with pytest.raises(errors.ApimartTimeoutError, match="trickled"):
        list(found.pieces(b"b"))
