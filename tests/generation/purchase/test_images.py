"""Frames are told by their content, and refused before anything is sent."""

from __future__ import annotations

import functools
import hashlib
import io
import random
import struct

import av
import pytest

from airflow_provider_apimart.client.errors import InvalidParameterError
from airflow_provider_apimart.client.model_rules import MIB, MODELS
from airflow_provider_apimart.generation.purchase.images import MAX_UPLOAD_BYTES, LocalImage, check_image, sniff


@functools.cache
def drawn(codec: str, pixels: str) -> bytes:
    """Encode a picture of noise."""
    out = io.BytesIO()
    with av.open(out, "w", format="gif" if codec == "gif" else "image2pipe") as container:
        stream = container.add_stream(codec, rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        frame = av.VideoFrame(64, 48, "rgb24")
        frame.planes[0].update(random.Random(5).randbytes(frame.planes[0].buffer_size))
        container.mux(stream.encode(frame.reformat(format=pixels)))
        container.mux(stream.encode())
    return out.getvalue()


JPEG = drawn("mjpeg", "yuvj420p")
#: As cameras write them: with a thumbnail that has an end of its own, in a segment of the JPEG.
CAMERA = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(JPEG) + 2) + JPEG + JPEG[2:]
WHOLE = {
    "image/jpeg": JPEG,
    "image/png": drawn("png", "rgb24"),
    "image/webp": b"RIFF" + struct.pack("<I", 112) + b"WEBPVP8 " + struct.pack("<I", 100) + bytes(100),
    "image/gif": drawn("gif", "rgb8"),
}
HEADS = {
    "image/jpeg": b"\xff\xd8\xff\xe0",
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/webp": b"RIFF\x00\x00\x00\x00WEBP",
    "image/gif": b"GIF89a",
}


@pytest.mark.parametrize("kind", HEADS)
def test_the_kind_is_told_by_the_content(kind: str) -> None:
    image = check_image("first_frame_image", "holiday.txt", WHOLE[kind], None)
    assert image.content_type == kind
    assert image.sha256 == hashlib.sha256(image.content).hexdigest()
    assert image.filename == f"holiday.{kind.partition('/')[2].replace('jpeg', 'jpg')}"


@pytest.mark.parametrize(
    "head", [b"", b"\xff\xd8", b"RIFF\x00\x00\x00\x00WAVE", b"%PDF-1.7", b"<svg", b"BM", b"GIF88a"]
)
def test_anything_else_is_none(head: bytes) -> None:
    assert sniff(head) is None


@pytest.mark.parametrize(
    ("content", "model", "said"),
    [
        (b"", None, "the file is empty"),
        (b"%PDF-1.7 ...", None, "JPEG, PNG, WEBP, GIF"),
        (HEADS["image/gif"], "veo3.1-fast", "JPEG, PNG, WEBP (told by the content); this is image/gif"),
        (HEADS["image/png"] + bytes(10 * MIB), "veo3.1-fast", "larger than 10 MiB"),
        (HEADS["image/png"] + bytes(MAX_UPLOAD_BYTES), "veo3.1-fast-official", "larger than 20 MiB"),
        (HEADS["image/png"] + bytes(MAX_UPLOAD_BYTES), None, "larger than 20 MiB"),
    ],
)
def test_a_wrong_file_is_refused_with_its_field_and_its_path(content: bytes, model: str | None, said: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        check_image("last_frame_image", "s3://b/x.png", content, MODELS[model] if model else None)
    assert said in str(caught.value)
    assert "last_frame_image" in str(caught.value) and "s3://b/x.png" in str(caught.value)


def test_a_file_at_the_limit_is_taken() -> None:
    png = WHOLE["image/png"]
    assert check_image("f", "x.png", png + bytes(MAX_UPLOAD_BYTES - len(png)), None).content_type == "image/png"


# --- the end ---


@pytest.mark.parametrize("content", [*list(WHOLE.values())[:3], CAMERA], ids=["jpeg", "png", "webp", "camera"])
def test_an_image_that_ends_early_is_refused(content: bytes) -> None:
    check_image("first_frame_image", "a.png", content, None)
    for size in range(12, len(content)):
        with pytest.raises(InvalidParameterError) as caught:
            check_image("first_frame_image", "a.png", content[:size], None)
    assert str(caught.value).startswith("first_frame_image='a.png': the file ends early (it ")
    assert str(caught.value).endswith("): put the whole image there again")


@pytest.mark.parametrize("kind", [*WHOLE, "camera"])
@pytest.mark.parametrize("rubbish", [b"\0", b"\n", bytes(100_000), b"\xff\xd8\xff\xe1 a film"], ids=range(4))
def test_what_follows_the_end_is_left_alone(kind: str, rubbish: bytes, caplog: pytest.LogCaptureFixture) -> None:
    content = WHOLE.get(kind, CAMERA)
    assert check_image("f", "a", content + rubbish, None).content == content + rubbish
    assert kind == "image/gif" or not caplog.records


def test_a_gif_without_a_trailer_is_used_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    gif = WHOLE["image/gif"]
    assert check_image("last_frame_image", "s3://b/a.gif", gif, None).content == gif
    assert check_image("last_frame_image", "s3://b/a.gif", gif + bytes(3), None)
    assert caplog.messages == []
    check_image("last_frame_image", "s3://b/a.gif", gif[:-1], None)
    (said,) = caplog.messages
    assert said.startswith("last_frame_image='s3://b/a.gif': the GIF has no trailer")


def test_a_gif_that_ends_before_its_picture_is_refused() -> None:
    gif = WHOLE["image/gif"]
    begins = gif.index(b",", 13 + 768)
    for size in (6, 12, 13, 500, begins, begins + 10):
        with pytest.raises(InvalidParameterError, match=r"ends early \(it has no picture\)"):
            check_image("f", "a.gif", gif[:size], None)
    assert check_image("f", "a.gif", gif[: begins + 200], None)


def test_a_jpeg_that_cannot_be_followed_is_told_by_its_last_bytes() -> None:
    odd = JPEG[:2] + b"\xff\xe1\x00\x00" + JPEG[2:]
    assert check_image("f", "a.jpg", odd, None)
    assert check_image("f", "a.jpg", odd + bytes(60_000), None)
    for cut in (odd[:-2], odd[:-1], odd[: len(odd) // 2], JPEG[:3], JPEG[:3] + b"\xff"):
        with pytest.raises(InvalidParameterError, match="it has no EOI marker"):
            check_image("f", "a.jpg", cut, None)


@pytest.mark.parametrize("size", [0, 4, 2**32 - 1])
def test_a_webp_of_an_impossible_length(size: int) -> None:
    wrong = WHOLE["image/webp"].replace(struct.pack("<I", 112), struct.pack("<I", size))
    with pytest.raises(InvalidParameterError, match=f"it says that it has {size + 8} bytes and has 120"):
        check_image("f", "a.webp", wrong, None)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("s3://b/a b/ü🎬 v\r\n1.png", "___v__1.png"),
        ("../../etc/passwd", "passwd.png"),
        ("x" * 300, "x" * 80 + ".png"),
        ("/", "frame.png"),
        ('a"; filename="b', "a___filename__b.png"),
    ],
)
def test_the_name_of_the_upload_is_harmless(path: str, name: str) -> None:
    assert LocalImage("f", path, HEADS["image/png"], "image/png").filename == name


def test_the_content_is_not_printed() -> None:
    assert "PNG" not in repr(LocalImage("f", "x.png", HEADS["image/png"], "image/png"))
