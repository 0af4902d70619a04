"""Frames are told by their content, and refused before anything is sent."""

from __future__ import annotations

import hashlib

import pytest

from airflow_provider_apimart.client.errors import InvalidParameterError
from airflow_provider_apimart.client.request import MIB, MODELS
from airflow_provider_apimart.generation.images import MAX_UPLOAD_BYTES, LocalImage, check_image, sniff

HEADS = {
    "image/jpeg": b"\xff\xd8\xff\xe0",
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/webp": b"RIFF\x00\x00\x00\x00WEBP",
    "image/gif": b"GIF89a",
}


@pytest.mark.parametrize("kind", HEADS)
def test_the_kind_is_told_by_the_content(kind: str) -> None:
    image = check_image("first_frame_image", "holiday.txt", HEADS[kind] + b"...", None)
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
    head = HEADS["image/png"]
    assert check_image("f", "x.png", head + bytes(MAX_UPLOAD_BYTES - len(head)), None).content_type == "image/png"


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
