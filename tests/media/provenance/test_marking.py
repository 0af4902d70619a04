"""XMP in MP4, JPEG, WebP and PNG: read back by FFmpeg and Pillow, and nothing else in the file changes."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from airflow_provider_apimart.media.provenance import mp4, xmp
from airflow_provider_apimart.media.provenance.marking import Format, format_of, has_credentials, mark
from airflow_provider_apimart.media.provenance.pieces import Generated, How, Piece
from tests.media.clips import make_clip

TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
PROMPT = 'A <fox> & a "hen", 한국어 🦊 \x00\x0b end'
PIECE = Piece(
    input=0,
    title="clip.mp4",
    how=How.GENERATED,
    generated=Generated(model="veo3.1-fast", provider="APIMart", generation_id="task_1", prompt=PROMPT),
)
TOLD = xmp.properties(PIECE)
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=0.5).read_bytes()


def _marked(data: bytes, told: dict[str, str] = TOLD) -> bytes:
    source, sink = io.BytesIO(data), io.BytesIO()
    kind = format_of(source)
    assert kind is not None
    mark(source, sink, kind, told)
    return sink.getvalue()


def _packets(data: bytes) -> list[tuple[Any, ...]]:
    with av.open(io.BytesIO(data)) as container:
        return [(packet.stream.index, packet.pts, packet.dts, bytes(packet)) for packet in container.demux()]


def _xmp_by_ffmpeg(data: bytes) -> ElementTree.Element:
    with av.open(io.BytesIO(data), options={"export_xmp": "1"}) as container:
        return ElementTree.fromstring(container.metadata["xmp"].strip("\0"))


def _kinds(data: bytes) -> list[bytes]:
    return [box.kind for box in mp4.top_boxes(io.BytesIO(data))]


def _values(meta: ElementTree.Element, name: str) -> list[str | None]:
    return [element.text for element in meta.iter(f"{IPTC}{name}")]


# --- MP4 -------------------------------------------------------------------------------------------------------------


def test_ffmpeg_reads_what_is_said(clip: bytes) -> None:
    meta = _xmp_by_ffmpeg(_marked(clip))
    assert _values(meta, "DigitalSourceType") == [TRAINED]
    assert _values(meta, "AISystemUsed") == ["veo3.1-fast (APIMart)"]
    assert _values(meta, "AIPromptInformation") == ['A <fox> & a "hen", 한국어 🦊    end']
    assert [element.text for element in meta.iter("{http://purl.org/dc/elements/1.1/}identifier")] == ["task_1"]


@pytest.mark.parametrize("faststart", [True, False])
def test_every_packet_and_the_order_of_the_boxes_stay(tmp_path: Path, faststart: bool) -> None:
    data = make_clip(tmp_path / "clip.mp4", seconds=0.5, faststart=faststart).read_bytes()
    marked = _marked(data)
    assert _packets(marked) == _packets(data)
    assert _kinds(marked) == [*_kinds(data), b"uuid"]
    assert (_kinds(marked).index(b"moov") < _kinds(marked).index(b"mdat")) is faststart
    assert marked.startswith(data)


def test_the_index_of_a_fragmented_file_stays_last(tmp_path: Path) -> None:
    path = tmp_path / "fragmented.mp4"
    with av.open(str(path), "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 64, "yuv420p", 4
        for _ in range(12):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    marked = _marked(data)
    assert _kinds(data)[-1] == b"mfra"
    assert _kinds(marked) == [*_kinds(data)[:-1], b"uuid", b"mfra"]
    assert struct.unpack(">I", marked[-4:])[0] == struct.unpack(">I", data[-4:])[0]
    assert _packets(marked) == _packets(data)
    assert _values(_xmp_by_ffmpeg(marked), "DigitalSourceType") == [TRAINED]


def test_a_last_box_without_a_length_gets_one(tmp_path: Path) -> None:
    data = make_clip(tmp_path / "clip.mp4", seconds=0.5).read_bytes()
    (last,) = [box for box in mp4.top_boxes(io.BytesIO(data)) if box.kind == b"mdat"]
    assert last.end == len(data)
    open_ended = data[: last.start] + b"\0\0\0\0" + data[last.start + 4 :]
    marked = _marked(open_ended)
    assert marked.startswith(data)
    assert _kinds(marked)[-1] == b"uuid" and _packets(marked) == _packets(data)


def test_what_the_file_said_before_is_kept(clip: bytes) -> None:
    said = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:Credit="ACME"'
        b' xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" e:DigitalSourceType="http://example.com/other"/>'
        b"</rdf:RDF></x:xmpmeta>"
    )
    first = io.BytesIO()
    mp4.write(io.BytesIO(clip), first, said)
    # The packet before the pictures: no sample may move when it is replaced.
    boxes = {box.kind: box for box in mp4.top_boxes(first)}
    data, ftyp, uuid = first.getvalue(), boxes[b"ftyp"], boxes[b"uuid"]
    moved = data[ftyp.start : ftyp.end] + data[uuid.start : uuid.end]
    moved = _shifted(data[: uuid.start], len(moved) - ftyp.end, ftyp.end, moved)
    expected = _packets(clip)
    assert _packets(moved) == expected
    marked = _marked(moved)
    assert _packets(marked) == expected
    assert _kinds(marked).count(b"uuid") == 1 and b"free" in _kinds(marked)
    meta = _xmp_by_ffmpeg(marked)
    assert _values(meta, "DigitalSourceType") == [TRAINED]
    attributes = [element.attrib for element in meta.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")]
    assert {"{http://ns.adobe.com/photoshop/1.0/}Credit": "ACME"}.items() <= attributes[0].items()
    assert f"{IPTC}DigitalSourceType" not in attributes[0]
    assert _marked(marked).count(b"DigitalSourceType>") == 4  # two packets: one of them is free space by now


def _shifted(data: bytes, by: int, rest_from: int, lead: bytes) -> bytes:
    """Return an MP4 in which all behind ``rest_from`` has moved by ``by`` bytes, with its chunk offsets corrected."""
    body = bytearray(data[rest_from:])
    at = body.find(b"stco")
    while at >= 0:
        (count,) = struct.unpack_from(">I", body, at + 8)
        for number in range(count):
            (offset,) = struct.unpack_from(">I", body, at + 12 + 4 * number)
            struct.pack_into(">I", body, at + 12 + 4 * number, offset + by)
        at = body.find(b"stco", at + 4)
    return lead + bytes(body)


def test_damaged_files_are_refused(clip: bytes) -> None:
    boxes = list(mp4.top_boxes(io.BytesIO(clip)))
    for broken, told in (
        (clip[:-1], "does not fit into the file"),
        (clip + b"\0\0\0", "ends inside a box"),
        (clip[: boxes[0].end], "no movie"),
        (clip[: boxes[0].end] + b"\0\0\0\4moov", "does not fit into the file"),
        (clip[: boxes[0].end] + struct.pack(">I4sQ", 1, b"moov", 2**63), "does not fit into the file"),
        (clip + struct.pack(">I4s", 25, b"uuid") + mp4.XMP_UUID + b"\0", None),
    ):
        if told is None:
            assert _values(_xmp_by_ffmpeg(_marked(broken)), "DigitalSourceType") == [TRAINED]
            continue
        with pytest.raises(ValueError, match=told):
            _marked(broken)


# --- images ----------------------------------------------------------------------------------------------------------


def _image(kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image = Image.effect_noise((33, 17), 90).convert(options.pop("mode", "RGB"))
    image.save(data, format=kind, **options)
    return data.getvalue()


def _animated() -> bytes:
    data = io.BytesIO()
    frames = [Image.new("RGB", (32, 16), (shade, 0, 0)) for shade in (0, 90, 180)]
    frames[0].save(data, format="WEBP", save_all=True, append_images=frames[1:], duration=100)
    return data.getvalue()


EXIF = Image.Exif()
EXIF[0x010E] = "A description"
IMAGES = {
    "jpeg": _image("JPEG"),
    "jpeg with exif": _image("JPEG", exif=EXIF),
    "jpeg with xmp": _image("JPEG", xmp=b'<x:xmpmeta xmlns:x="adobe:ns:meta/"></x:xmpmeta>'),
    "webp": _image("WEBP"),
    "webp lossless": _image("WEBP", lossless=True),
    "webp with alpha": _image("WEBP", lossless=True, mode="RGBA"),
    "webp with exif": _image("WEBP", exif=EXIF),
    "webp animated": _animated(),
    "png": _image("PNG"),
}


@pytest.mark.parametrize("data", IMAGES.values(), ids=IMAGES)
def test_pillow_reads_what_is_said_and_the_same_pixels(data: bytes) -> None:
    marked = _marked(data)
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(marked)) as after:
        packet = after.info["XML:com.adobe.xmp"].encode() if after.format == "PNG" else after.info["xmp"]
        assert _values(ElementTree.fromstring(packet.strip()), "DigitalSourceType") == [TRAINED]
        assert (before.size, before.mode) == (after.size, after.mode)
        assert dict(before.getexif()) == dict(after.getexif())
        frames = getattr(before, "n_frames", 1)
        assert getattr(after, "n_frames", 1) == frames
        for number in range(frames):
            before.seek(number)
            after.seek(number)
            assert before.tobytes() == after.tobytes()
    assert len(_marked(marked)) == len(marked)


@pytest.mark.parametrize("data", IMAGES.values(), ids=IMAGES)
def test_a_truncated_image_is_refused_or_marked_but_never_crashes(data: bytes) -> None:
    for length in range(16, len(data), 7):
        try:
            _marked(data[:length])
        except ValueError as error:
            assert str(error)


def test_a_prompt_that_no_jpeg_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="64 KiB"):
        _marked(IMAGES["jpeg"], {**TOLD, "Iptc4xmpExt:AIPromptInformation": "x" * 70_000})


# --- packets ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.text(), st.binary(max_size=200))
def test_any_text_and_any_earlier_packet_give_xml(text: str, earlier: bytes) -> None:
    piece = PIECE.model_copy(update={"generated": Generated(model="m", provider="p", prompt=text)})
    meta = ElementTree.fromstring(xmp.packet(xmp.properties(piece), earlier))
    assert _values(meta, "DigitalSourceType") == [TRAINED]


def test_entities_are_not_expanded() -> None:
    bomb = (
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">&b;</rdf:RDF></x:xmpmeta>'
    )
    assert b"aaaa" not in xmp.packet(TOLD, bomb)


def test_what_several_generations_say_is_joined() -> None:
    other = PIECE.model_copy(update={"generated": Generated(model="sora", provider="APIMart", generation_id="task_2")})
    own = Piece(input=3, title="logo.png", how=How.UNKNOWN)
    joined = Piece(input=2, title="j.mp4", how=How.JOINED, made_of=(PIECE, other, PIECE))
    told = xmp.properties(joined)
    assert told["Iptc4xmpExt:DigitalSourceType"] == TRAINED
    assert told["Iptc4xmpExt:AISystemUsed"] == "veo3.1-fast (APIMart); sora (APIMart)"
    assert "dc:identifier" not in told
    mixed = Piece(input=4, title="r.mp4", how=How.DERIVED, made_of=(joined, own))
    assert xmp.properties(mixed)["Iptc4xmpExt:DigitalSourceType"].endswith("compositeWithTrainedAlgorithmicMedia")
    assert xmp.properties(Piece(input=0, title="x", how=How.JOINED, made_of=(own, own))) == {}


def test_formats_are_known_by_their_content(clip: bytes) -> None:
    assert format_of(io.BytesIO(clip)) is Format.MP4
    assert format_of(io.BytesIO(b"\0\0\0\x14ftypqt  ")) is Format.MOV
    assert format_of(io.BytesIO(b"")) is None and format_of(io.BytesIO(b"<html>" * 9)) is None
    assert not has_credentials(io.BytesIO(clip), Format.MP4)
