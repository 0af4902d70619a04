"""C2PA: signed files are judged by the library's reader; nothing that is shown changes; tampering is detected."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import c2pa
import pytest
from PIL import Image

from airflow_provider_apimart.media.child import run_isolated
from airflow_provider_apimart.media.errors import (
    BadInput,
    MediaRefusedError,
    MediaToolError,
    Unavailable,
    UndecodableVideoError,
)
from airflow_provider_apimart.media.provenance import mp4
from airflow_provider_apimart.media.provenance.job import mark_files, try_signer
from airflow_provider_apimart.media.provenance.pieces import Generated, How, Piece, SourceType
from tests.media.clips import make_clip
from tests.media.signers import TestSigner, make_signer

SOFTWARE = {"name": "airflow-provider-apimart", "version": "1.2.3"}
TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


@pytest.fixture(scope="module")
def signer() -> TestSigner:
    return make_signer()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [make_clip(folder / f"{n}.mp4", seconds=0.5, picture=p) for n, p in enumerate(("moving", "still", "black"))]


def _generated(number: int, **more: Any) -> Piece:
    facts = {"generation_id": f"task_{number}", "created_at": "2026-11-20T08:00:00Z", **more}
    generated = Generated(model="veo3.1-fast", provider="APIMart", **facts)
    return Piece(input=number, title=f"{number}.mp4", how=How.GENERATED, generated=generated)


def _sign(piece: Piece, inputs: list[Path], output: Path, signer: TestSigner | None, **more: Any) -> Path:
    private = signer.settings(**more).private() if signer else None
    outputs = [{"name": "x", "path": str(output), "parameters": {"piece": piece.model_dump(mode="json")}}]
    mark_files([str(path) for path in inputs], outputs, software=SOFTWARE, signer=private)
    return output


def _read(path: Path, root: str | None = None) -> tuple[dict[str, Any], str]:
    kind = {".mp4": "video/mp4", ".jpg": "image/jpeg", ".webp": "image/webp", ".png": "image/png"}[path.suffix]
    settings: dict[str, Any] = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
    if root:
        settings["trust"] = {"trust_anchors": root}
    with path.open("rb") as file, c2pa.Reader(kind, file, context=c2pa.Context.from_dict(settings)) as reader:
        return json.loads(reader.json()), str(reader.get_validation_state())


def _active(found: dict[str, Any]) -> dict[str, Any]:
    manifest: dict[str, Any] = found["manifests"][found["active_manifest"]]
    return manifest


def _assertion(manifest: dict[str, Any], label: str) -> dict[str, Any]:
    (found,) = [each for each in manifest["assertions"] if each["label"] == label]
    assert found["created"] is True
    data: dict[str, Any] = found["data"]
    return data


def _actions(manifest: dict[str, Any]) -> list[str]:
    return [action["action"] for action in _assertion(manifest, "c2pa.actions.v2")["actions"]]


def _packets(path: Path) -> list[tuple[Any, ...]]:
    with av.open(str(path)) as container:
        return [(packet.stream.index, packet.pts, packet.dts, bytes(packet)) for packet in container.demux()]


# --- one generated video ---------------------------------------------------------------------------------------------


def test_a_signed_video_says_what_it_is_and_plays_as_before(
    clips: list[Path], tmp_path: Path, signer: TestSigner
) -> None:
    signed = _sign(_generated(0), clips, tmp_path / "signed.mp4", signer)
    found, state = _read(signed, signer.root)
    assert state == "Trusted"
    manifest = _active(found)
    assert manifest["title"] == "0.mp4"
    assert manifest["claim_generator_info"][0]["name"] == "airflow-provider-apimart"
    assert manifest["signature_info"]["common_name"] == "Test signer"
    (action,) = _assertion(manifest, "c2pa.actions.v2")["actions"]
    assert action["action"] == "c2pa.created" and action["digitalSourceType"] == TRAINED
    assert action["softwareAgent"] == {"name": "veo3.1-fast"} and action["when"] == "2026-11-20T08:00:00Z"
    assert "APIMart" in action["description"] and "task_0" in action["description"]
    told = _assertion(manifest, "c2pa.metadata")
    assert told["Iptc4xmpExt:DigitalSourceType"] == TRAINED and told["dc:identifier"] == "task_0"
    assert "Iptc4xmpExt:AIPromptInformation" not in told
    with av.open(str(signed), options={"export_xmp": "1"}) as container:
        assert TRAINED in container.metadata["xmp"]
    assert _packets(signed) == _packets(clips[0])
    kinds = [box.kind for box in mp4.top_boxes(io.BytesIO(signed.read_bytes()))]
    assert kinds.index(b"moov") < kinds.index(b"mdat")


def test_a_signer_that_nobody_knows_is_untrusted_and_the_signature_valid(
    clips: list[Path], tmp_path: Path, signer: TestSigner
) -> None:
    found, state = _read(_sign(_generated(0), clips, tmp_path / "signed.mp4", signer))
    assert state == "Valid"
    failures = found["validation_results"]["activeManifest"]["failure"]
    assert [each["code"] for each in failures] == ["signingCredential.untrusted"]


def test_the_prompt_is_told_only_if_it_is_given(clips: list[Path], tmp_path: Path, signer: TestSigner) -> None:
    signed = _sign(_generated(0, prompt="A fox & 한국어"), clips, tmp_path / "signed.mp4", signer)
    told = _assertion(_active(_read(signed)[0]), "c2pa.metadata")
    assert told["Iptc4xmpExt:AIPromptInformation"] == "A fox & 한국어"


@pytest.mark.parametrize("where", ["picture", "xmp", "manifest"])
def test_tampering_is_detected(clips: list[Path], tmp_path: Path, signer: TestSigner, where: str) -> None:
    signed = _sign(_generated(0), clips, tmp_path / "signed.mp4", signer)
    data = bytearray(signed.read_bytes())
    boxes = list(mp4.top_boxes(io.BytesIO(bytes(data))))
    if where == "picture":
        (box,) = [box for box in boxes if box.kind == b"mdat"]
        data[(box.body + box.end) // 2] ^= 1
    elif where == "xmp":
        at = data.rindex(b"trainedAlgorithmicMedia")
        data[at : at + 7] = b"untrain"
    else:
        at = data.index(b"veo3.1-fast")
        data[at : at + 4] = b"film"
    signed.write_bytes(bytes(data))
    found, state = _read(signed, signer.root)
    assert state == "Invalid" and found["validation_results"]["activeManifest"]["failure"]


@pytest.mark.parametrize("key", ["rsa", "ed25519", "es384"])
def test_every_kind_of_key_signs(tmp_path: Path, key: str) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    made = {
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    }[key]
    found = try_signer(make_signer(made()).settings().private(), SOFTWARE)
    assert found == {"state": "Valid", "codes": ["signingCredential.untrusted"]}


# --- what it was made of ---------------------------------------------------------------------------------------------


def _story(clips: list[Path]) -> Piece:
    """A rendition, with a logo, of a join of two generated clips and one of the user's own."""
    own = Piece(input=2, title="2.mp4", how=How.UNKNOWN)
    join = Piece(input=1, title="join.mp4", how=How.JOINED, made_of=(_generated(0), _generated(1), own))
    logo = Piece(input=3, title="logo.png", how=How.UNKNOWN)
    return Piece(input=0, title="rendition.mp4", how=How.DERIVED, made_of=(join, logo))


@pytest.fixture
def files(clips: list[Path], tmp_path: Path) -> list[Path]:
    logo = tmp_path / "logo.png"
    Image.new("RGBA", (8, 8)).save(logo)
    return [*clips, logo]


def test_what_a_rendition_was_made_of_is_in_it_two_levels_down(
    clips: list[Path], files: list[Path], tmp_path: Path, signer: TestSigner
) -> None:
    found, state = _read(_sign(_story(clips), files, tmp_path / "signed.mp4", signer), signer.root)
    assert state == "Trusted" and found["validation_results"]["activeManifest"]["failure"] == []
    assert all(not each["validationDeltas"]["failure"] for each in found["validation_results"]["ingredientDeltas"])
    manifests = {manifest["title"]: manifest for manifest in found["manifests"].values()}
    assert set(manifests) == {"rendition.mp4", "join.mp4", "0.mp4", "1.mp4"}
    top = _active(found)
    assert top["title"] == "rendition.mp4"
    assert _actions(top) == ["c2pa.opened", "c2pa.transcoded", "c2pa.placed"]
    related = [(each["title"], each["relationship"], bool(each.get("active_manifest"))) for each in top["ingredients"]]
    assert related == [("join.mp4", "parentOf", True), ("logo.png", "componentOf", False)]
    assert _assertion(top, "c2pa.metadata")["Iptc4xmpExt:DigitalSourceType"] == COMPOSITE
    join = manifests["join.mp4"]
    assert _actions(join) == ["c2pa.created", "c2pa.placed", "c2pa.placed", "c2pa.placed"]
    assert [(each["title"], bool(each.get("active_manifest"))) for each in join["ingredients"]] == [
        ("0.mp4", True),
        ("1.mp4", True),
        ("2.mp4", False),
    ]
    assert {each["relationship"] for each in join["ingredients"]} == {"componentOf"}
    for number in (0, 1):
        assert _assertion(manifests[f"{number}.mp4"], "c2pa.metadata")["dc:identifier"] == f"task_{number}"


def test_a_file_that_was_signed_before_is_taken_with_its_own_manifest(
    clips: list[Path], tmp_path: Path, signer: TestSigner
) -> None:
    other = make_signer(name="Somebody else")
    before = _sign(_generated(0), clips, tmp_path / "before.mp4", other)
    parent = _generated(0).without_files().model_copy(update={"input": 1, "title": "before.mp4"})
    piece = Piece(input=0, title="rendition.mp4", how=How.DERIVED, made_of=(parent,))
    found, state = _read(_sign(piece, [clips[1], before], tmp_path / "after.mp4", signer), signer.root)
    assert state in ("Trusted", "Valid")
    signers = {each["signature_info"]["common_name"] for each in found["manifests"].values()}
    assert signers == {"Test signer", "Somebody else"}
    assert len(found["manifests"]) == 2


def test_a_second_signature_keeps_the_first(clips: list[Path], tmp_path: Path, signer: TestSigner) -> None:
    before = _sign(_generated(0), clips, tmp_path / "before.mp4", make_signer(name="Somebody else"))
    again = _sign(_generated(0), [before], tmp_path / "again.mp4", signer)
    found, state = _read(again, signer.root)
    assert state in ("Trusted", "Valid") and len(found["manifests"]) == 2
    assert _actions(_active(found)) == ["c2pa.opened", "c2pa.edited.metadata"]
    (parent,) = _active(found)["ingredients"]
    assert parent["relationship"] == "parentOf" and parent["active_manifest"] != found["active_manifest"]
    assert _packets(again) == _packets(clips[0])
    assert [box.uuid for box in mp4.top_boxes(io.BytesIO(again.read_bytes()))].count(mp4.C2PA_UUID) == 1


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".png"])
def test_posters_are_signed_with_the_video_as_parent(
    clips: list[Path], tmp_path: Path, signer: TestSigner, suffix: str
) -> None:
    image = tmp_path / f"poster{suffix}"
    Image.effect_noise((64, 36), 90).convert("RGB").save(image)
    piece = Piece(
        input=0,
        title=image.name,
        how=How.CONVERTED,
        made_of=(_generated(0).model_copy(update={"input": 1}),),
    )
    signed = _sign(piece, [image, clips[0]], tmp_path / f"signed{suffix}", signer)
    found, state = _read(signed, signer.root)
    assert state == "Trusted" and _actions(_active(found)) == ["c2pa.opened", "c2pa.converted"]
    (parent,) = _active(found)["ingredients"]
    assert parent["relationship"] == "parentOf" and parent["active_manifest"]
    with Image.open(image) as before, Image.open(signed) as after:
        assert before.tobytes() == after.tobytes()
        assert TRAINED in str(after.info)


# --- without a signer ------------------------------------------------------------------------------------------------


def test_without_a_signer_a_file_with_a_manifest_is_copied_as_it_is(
    clips: list[Path], tmp_path: Path, signer: TestSigner
) -> None:
    before = _sign(_generated(0), clips, tmp_path / "before.mp4", signer)
    after = _sign(_generated(0), [before], tmp_path / "after.mp4", None)
    assert after.read_bytes() == before.read_bytes()
    marked = _sign(_generated(0), clips, tmp_path / "marked.mp4", None)
    assert marked.read_bytes().startswith(clips[0].read_bytes())


# --- files and addresses from outside --------------------------------------------------------------------------------


class _Silent(http.server.BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(500)

    do_POST = do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (_Silent,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}", asked
        serving.shutdown()
        thread.join()


def test_no_address_in_a_file_is_asked(
    clips: list[Path], tmp_path: Path, signer: TestSigner, server: tuple[str, list[str]]
) -> None:
    url, asked = server
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="{url}/m.c2pa"/>'
        "</rdf:RDF></x:xmpmeta>"
    )
    luring = tmp_path / "luring.mp4"
    with clips[0].open("rb") as source, luring.open("w+b") as sink:
        mp4.write(source, sink, packet.encode())
    # The library does ask, if it may: else this test would show nothing.
    with luring.open("rb") as file, pytest.raises(c2pa.C2paError):
        c2pa.Reader("video/mp4", file, context=c2pa.Context.from_dict({"verify": {"remote_manifest_fetch": True}}))
    assert asked.pop() == "/m.c2pa" and not asked
    piece = Piece(input=0, title="r.mp4", how=How.DERIVED, made_of=(_generated(0).model_copy(update={"input": 0}),))
    _sign(piece, [luring], tmp_path / "signed.mp4", signer)
    assert asked == []


def test_a_timestamp_authority_that_fails_is_told(
    clips: list[Path], tmp_path: Path, signer: TestSigner, server: tuple[str, list[str]]
) -> None:
    url, asked = server
    with pytest.raises(Unavailable, match=r"timestamp authority 127\.0\.0\.1 gave no timestamp"):
        _sign(_generated(0), clips, tmp_path / "signed.mp4", signer, timestamp_url=f"{url}/tsa")
    assert "/tsa" in asked
    private = signer.settings(timestamp_url=f"{url}/tsa").private()
    with pytest.raises(MediaToolError, match="timestamp authority") as told:
        run_isolated("try_signer", {"signer": private, "software": SOFTWARE})
    assert not told.value.terminal


def test_damaged_files_give_clear_errors(clips: list[Path], tmp_path: Path, signer: TestSigner) -> None:
    whole = clips[0].read_bytes()
    for number, data in enumerate((b"", b"<html>", whole[: len(whole) // 2], whole[:40] + b"\xff" * 400)):
        broken = tmp_path / f"{number}.mp4"
        broken.write_bytes(data)
        for use in (signer, None):
            with pytest.raises((ValueError, OSError)) as caught:
                _sign(_generated(0), [broken], tmp_path / "signed.mp4", use)
            assert str(caught.value)


def test_a_damaged_manifest_is_no_crash(clips: list[Path], tmp_path: Path, signer: TestSigner) -> None:
    signed = bytearray(_sign(_generated(0), clips, tmp_path / "signed.mp4", signer).read_bytes())
    (box,) = [box for box in mp4.top_boxes(io.BytesIO(bytes(signed))) if box.uuid == mp4.C2PA_UUID]
    broken = tmp_path / "broken.mp4"
    for at in range(box.body + 16, min(box.end, box.body + 3000), 97):
        data = bytearray(signed)
        data[at : at + 4] = b"\xff\xff\xff\xff"
        broken.write_bytes(bytes(data))
        try:
            _sign(_generated(0), [broken], tmp_path / "again.mp4", signer)
        except BadInput as error:
            assert str(error)


def test_in_the_child_a_bad_file_is_the_file_s_fault_and_a_bad_key_is_not(
    clips: list[Path], tmp_path: Path, signer: TestSigner
) -> None:
    piece = _generated(0).model_dump(mode="json")
    output = {"name": "x", "path": str(tmp_path / "out.mp4"), "parameters": {"piece": piece}}
    private = signer.settings().private()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0\0\0\x10ftypisom" + bytes(8))
    with pytest.raises(UndecodableVideoError):
        run_isolated("provenance", {"inputs": [str(broken)], "outputs": [output], "software": SOFTWARE})
    wrong = {**private, "private_key": make_signer().key}
    with pytest.raises(MediaRefusedError) as caught:
        run_isolated("try_signer", {"signer": {**wrong, "algorithm": "ps256"}, "software": SOFTWARE})
    assert "certificate" in str(caught.value) and wrong["private_key"][40:80] not in str(caught.value)
    found = run_isolated(
        "provenance", {"inputs": [str(clips[0])], "outputs": [output], "software": SOFTWARE, "signer": private}
    )
    assert found["x"]["has_audio"] is True and found["x"]["width"] == 320
    assert _read(tmp_path / "out.mp4", signer.root)[1] == "Trusted"


def test_what_the_user_says_about_a_file_of_their_own_is_signed(
    clips: list[Path], tmp_path: Path, signer: TestSigner
) -> None:
    piece = Piece(input=0, title="own.mp4", how=How.UNKNOWN, source_type=SourceType.COMPOSITE)
    found, state = _read(_sign(piece, clips, tmp_path / "signed.mp4", signer), signer.root)
    (action,) = _assertion(_active(found), "c2pa.actions.v2")["actions"]
    assert state == "Trusted" and action == {"action": "c2pa.created", "digitalSourceType": COMPOSITE}


def _bmff_hash(data: bytes) -> str:
    """Compute what a signature covers, as C2PA's text says (2.1, 18.6): the places and the bytes of the boxes that are
    not left out. Programs other than the library's reader compute it as well.
    """
    digest, at = hashlib.sha256(), 0
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        is_manifest = kind == b"uuid" and data[at + 8 : at + 24] == mp4.C2PA_UUID
        if kind not in (b"ftyp", b"mfra", b"free", b"skip") and not is_manifest:
            digest.update(struct.pack(">Q", at) + data[at : at + length])
        at += length
    return base64.b64encode(digest.digest()).decode()


def test_the_hash_of_a_signed_mp4_is_that_of_the_specification(
    tmp_path: Path, clips: list[Path], signer: TestSigner
) -> None:
    signed = _sign(_generated(0), clips, tmp_path / "signed.mp4", signer)
    with signed.open("rb") as file, c2pa.Reader("video/mp4", file) as reader:
        found = json.loads(reader.detailed_json())
    hashed = found["manifests"][found["active_manifest"]]["assertion_store"]["c2pa.hash.bmff.v3"]
    assert {each["xpath"] for each in hashed["exclusions"]} == {"/uuid", "/ftyp", "/mfra", "/free", "/skip"}
    data = signed.read_bytes()
    # The XMP is a box of the same type as the manifest. It is covered, and the manifest is not.
    assert data.count(mp4.XMP_UUID) == 1 and hashed["hash"] == _bmff_hash(data)
    changed = data.replace(b"trainedAlgorithmicMedia", b"trainedalgorithmicMedia")
    assert hashed["hash"] != _bmff_hash(changed)
