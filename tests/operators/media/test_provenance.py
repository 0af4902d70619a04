"""VideoProvenanceOperator: what it claims and about what, once, and no secret anywhere."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import c2pa
import pytest
from airflow.sdk import DAG
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.media import child, workshop
from airflow_provider_apimart.media.provenance import job
from airflow_provider_apimart.media.workshop import Order, Source, Wanted, make
from airflow_provider_apimart.operators import videos
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.media import VideoProvenanceOperator, origins
from airflow_provider_apimart.operators.media import provenance as operator_module
from airflow_provider_apimart.storage.files import Target
from tests.media.clips import make_clip
from tests.media.signers import TestSigner, make_signer
from tests.storage.places import local

PROMPT = "A fox in the snow"


@pytest.fixture(scope="module")
def clip_files(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("clips")
    kinds: Any = ("moving", "still", "black")
    return [make_clip(folder / f"{kind}.mp4", seconds=0.5, picture=kind).read_bytes() for kind in kinds]


@pytest.fixture(scope="module")
def signer() -> TestSigner:
    return make_signer()


@pytest.fixture
def signing(signer: TestSigner, monkeypatch: pytest.MonkeyPatch) -> TestSigner:
    connection = {
        "conn_type": "c2pa_signer",
        "password": signer.key,
        "extra": {"certificate_chain": signer.chain},
    }
    monkeypatch.setenv("AIRFLOW_CONN_SIGNER", json.dumps(connection))
    return signer


@pytest.fixture(autouse=True)
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run the jobs in this process, which saves a second each; return the jobs that ran."""
    ran: list[str] = []

    def run(name: str, arguments: dict[str, Any], **_: Any) -> Any:
        ran.append(name)
        if name == "provenance":
            return job.mark_files(**arguments)
        for output in arguments["outputs"]:
            Path(output["path"]).write_bytes(bytes.fromhex(output["parameters"]["hex"]))
        facts = {"width": 320, "height": 180, "duration_seconds": 0.5, "has_audio": True}
        return {output["name"]: facts for output in arguments["outputs"]}

    monkeypatch.setattr(workshop, "run_isolated", run)
    return ran


def _land(place: Target, content: bytes, number: int = 1) -> dict[str, Any]:
    """Put a video and the sidecar that landing writes into storage; return the generate task's XCom."""
    place.fs.makedirs(place.path.rpartition("/")[0], exist_ok=True)
    place.fs.pipe_file(place.path, content)
    entry = {
        "path": place.uri,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "duration_seconds": 0.5,
        "width": 320,
        "height": 180,
        "has_audio": True,
    }
    sidecar = {
        "schema": 1,
        "generation_id": f"task_{number}",
        "request": {"prompt": PROMPT, "model": "veo3.1-fast"},
        "model": "veo3.1-fast",
        "completed_at": "2026-11-20T08:00:00Z",
        "video": {**entry, "sample": 1},
    }
    place.fs.pipe_file(f"{place.path}.json", json.dumps(sidecar).encode())
    return {"generation_id": f"task_{number}", "model": "veo3.1-fast", "videos": [entry]}


@pytest.fixture
def landed(tmp_path: Path, clip_files: list[bytes]) -> dict[str, Any]:
    return _land(local(tmp_path / "clip.mp4"), clip_files[0])


def _made(kind: str, content: bytes, *of: dict[str, Any], suffix: str = ".mp4", folder: Any = None) -> dict[str, Any]:
    """Make something of videos as the other operators do; return its XCom."""
    sources = tuple(_source(each) for each in of)
    wanted = Wanted(kind, kind, suffix, {"hex": content.hex()})
    (output,) = make(Order("fake", 1, sources, (wanted,), folder=folder))
    return output.as_result()


def _source(result: dict[str, Any]) -> Source:
    place, known = videos.find(result)
    assert known is not None
    return Source(place, known.sha256)


def _run(video: Any, **arguments: Any) -> dict[str, Any]:
    task = VideoProvenanceOperator(task_id="provenance", video=video, **arguments)
    return task.execute({})  # type: ignore[arg-type]


def _manifests(path: str, root: str | None = None) -> tuple[dict[str, dict[str, Any]], str]:
    kind = "image/jpeg" if path.endswith(".jpg") else "video/mp4"
    context = c2pa.Context.from_dict({"trust": {"trust_anchors": root}} if root else {})
    with open(path, "rb") as file, c2pa.Reader(kind, file, context=context) as reader:
        found = json.loads(reader.json())
        return {each["title"]: each for each in found["manifests"].values()}, str(reader.get_validation_state())


# --- what is made ----------------------------------------------------------------------------------------------------


def test_a_landed_video_is_signed_beside_it(landed: dict[str, Any], signing: TestSigner, runs: list[str]) -> None:
    result = _run(landed, signer_conn_id="signer")
    assert result["path"].startswith(landed["videos"][0]["path"].removesuffix(".mp4") + ".signed-")
    assert result["signed"] is True and result["digital_source_type"] == "trainedAlgorithmicMedia"
    assert result["posters"] == [] and result["kind"] == "provenance"
    assert result["made_of"] == [{"path": landed["videos"][0]["path"], "sha256": landed["videos"][0]["sha256"]}]
    manifests, state = _manifests(result["path"], signing.root)
    assert state == "Trusted" and list(manifests) == ["clip.mp4"]
    assert PROMPT not in json.dumps(manifests)
    # It goes wherever a generate task's output goes.
    (entry,) = result["videos"]
    assert (entry["width"], entry["height"], entry["duration_seconds"], entry["has_audio"]) == (320, 180, 0.5, True)
    assert videos.resolve(result).video.sha256 == result["sha256"]
    assert runs == ["provenance"]


def test_a_retry_keeps_what_is_there_although_a_second_signature_would_differ(
    landed: dict[str, Any], signing: TestSigner, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _run(landed, signer_conn_id="signer")
    assert _run(landed, signer_conn_id="signer") == first
    assert runs == ["provenance"]
    renewed = make_signer()
    connection = {"conn_type": "c2pa_signer", "password": renewed.key, "extra": {"certificate_chain": renewed.chain}}
    monkeypatch.setenv("AIRFLOW_CONN_SIGNER", json.dumps(connection))
    assert _run(landed, signer_conn_id="signer") == first
    other = make_signer(name="Another holder")
    connection = {"conn_type": "c2pa_signer", "password": other.key, "extra": {"certificate_chain": other.chain}}
    monkeypatch.setenv("AIRFLOW_CONN_SIGNER", json.dumps(connection))
    assert _run(landed, signer_conn_id="signer")["path"] != first["path"]
    assert len(runs) == 2


def test_a_file_that_was_cut_short_is_signed_again(landed: dict[str, Any], signing: TestSigner) -> None:
    first = _run(landed, signer_conn_id="signer")
    Path(first["path"]).write_bytes(b"cut short")
    again = _run(landed, signer_conn_id="signer")
    assert again["path"] == first["path"] and _manifests(again["path"])[1] == "Valid"


def test_without_a_signer_xmp_says_it_and_the_prompt_only_if_asked(landed: dict[str, Any]) -> None:
    result = _run(landed)
    content = Path(result["path"]).read_bytes()
    assert result["signed"] is False and ".marked-" in result["path"]
    assert b"trainedAlgorithmicMedia" in content and b"task_1" in content and PROMPT.encode() not in content
    told = _run(landed, tell_prompt="True")
    assert told["path"] != result["path"] and PROMPT.encode() in Path(told["path"]).read_bytes()


def test_a_rendition_of_a_join_carries_both_generations(
    tmp_path: Path, landed: dict[str, Any], clip_files: list[bytes], signing: TestSigner
) -> None:
    other = _land(local(tmp_path / "other.mp4"), clip_files[1], 2)
    join = _made("join", clip_files[2], landed, other)
    rendition = _made("rendition", clip_files[0][:-1] + b"\x7f", join)
    result = _run(rendition, signer_conn_id="signer")
    manifests, state = _manifests(result["path"], signing.root)
    names = {Path(each["path"]).name for each in (landed["videos"][0], other["videos"][0], join, rendition)}
    assert state == "Trusted" and set(manifests) == names
    (parent,) = manifests[Path(rendition["path"]).name]["ingredients"]
    assert parent["relationship"] == "parentOf" and parent["title"] == Path(join["path"]).name
    assert {each["relationship"] for each in manifests[Path(join["path"]).name]["ingredients"]} == {"componentOf"}
    assert result["digital_source_type"] == "trainedAlgorithmicMedia"


def test_the_path_alone_is_enough(tmp_path: Path, landed: dict[str, Any], clip_files: list[bytes]) -> None:
    rendition = _made("rendition", clip_files[1], landed, folder=local(f"{tmp_path}/out/"))
    result = _run(rendition["path"])
    assert b"trainedAlgorithmicMedia" in Path(result["path"]).read_bytes()


def test_a_rendition_of_a_signed_video_keeps_its_signature(
    tmp_path: Path, landed: dict[str, Any], clip_files: list[bytes], signing: TestSigner
) -> None:
    signed = _run(landed, signer_conn_id="signer")
    rendition = _made("rendition", clip_files[1], signed)
    # The landed video is not needed any more: the signed one tells its history.
    Path(landed["videos"][0]["path"]).unlink()
    result = _run(rendition, signer_conn_id="signer")
    manifests, state = _manifests(result["path"], signing.root)
    assert state == "Trusted" and set(manifests) == {"clip.mp4", Path(rendition["path"]).name}
    assert "veo3.1-fast" in json.dumps(manifests[Path(rendition["path"]).name]["assertions"])


def test_a_rendition_of_a_marked_video_goes_back_to_the_generation(
    landed: dict[str, Any], clip_files: list[bytes], signing: TestSigner
) -> None:
    marked = _run(landed)
    rendition = _made("rendition", clip_files[1], marked)
    result = _run(rendition, signer_conn_id="signer")
    manifests, state = _manifests(result["path"], signing.root)
    assert state == "Trusted" and set(manifests) == {Path(marked["path"]).name, Path(rendition["path"]).name}


def test_posters_are_marked_with_it(
    tmp_path: Path, landed: dict[str, Any], clip_files: list[bytes], signing: TestSigner
) -> None:
    image = tmp_path / "image.jpg"
    Image.new("RGB", (64, 36), (200, 10, 10)).save(image)
    poster = _made("poster", image.read_bytes(), landed, suffix=".jpg")
    result = _run(landed, posters=[poster["path"]], signer_conn_id="signer")
    (found,) = result["posters"]
    assert (found["width"], found["height"], found["signed"]) == (64, 36, True) and "videos" not in found
    manifests, state = _manifests(found["path"], signing.root)
    assert state == "Trusted" and set(manifests) == {"clip.mp4", Path(poster["path"]).name}


def test_from_and_to_object_storage(clip_files: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    fs = MemoryFileSystem()
    MemoryFileSystem.store.clear()
    monkeypatch.setattr(videos, "file_of", lambda path, name: Target(fs, str(path).removeprefix("memory:/"), str(path)))
    monkeypatch.setattr(origins, "file_of", videos.file_of)
    landed = _land(Target(fs, "/b/clip.mp4", "memory://b/clip.mp4"), clip_files[0])
    landed["videos"][0]["path"] = "memory://b/clip.mp4"
    result = _run(landed)
    assert b"trainedAlgorithmicMedia" in fs.cat_file(result["path"].removeprefix("memory:/"))
    MemoryFileSystem.store.clear()


# --- what is not claimed ---------------------------------------------------------------------------------------------


def test_nothing_is_claimed_about_a_file_that_nobody_knows(tmp_path: Path, clip_files: list[bytes]) -> None:
    own = tmp_path / "own.mp4"
    own.write_bytes(clip_files[0])
    with pytest.raises(AirflowFailException, match="no sidecar tells how") as caught:
        _run(str(own))
    assert "source_type" in str(caught.value)
    result = _run(str(own), source_type="compositeWithTrainedAlgorithmicMedia")
    assert result["digital_source_type"] == "compositeWithTrainedAlgorithmicMedia"
    assert b"AISystemUsed" not in Path(result["path"]).read_bytes()


def test_a_sidecar_of_another_video_counts_for_nothing(landed: dict[str, Any], clip_files: list[bytes]) -> None:
    path = Path(landed["videos"][0]["path"])
    path.write_bytes(clip_files[1])
    with pytest.raises(AirflowFailException, match="the file has changed since"):
        _run({"path": str(path)})


def test_a_file_of_one_s_own_among_others_makes_a_composite(
    tmp_path: Path, landed: dict[str, Any], clip_files: list[bytes], signing: TestSigner
) -> None:
    own = tmp_path / "own.mp4"
    own.write_bytes(clip_files[1])
    entry = {"path": str(own), "bytes": own.stat().st_size, "sha256": hashlib.sha256(clip_files[1]).hexdigest()}
    join = _made("join", clip_files[2], landed, entry)
    result = _run(join, signer_conn_id="signer")
    assert result["digital_source_type"] == "compositeWithTrainedAlgorithmicMedia"
    assert set(_manifests(result["path"])[0]) == {"clip.mp4", Path(join["path"]).name}


def test_fonts_and_captions_make_no_composite(
    tmp_path: Path, landed: dict[str, Any], clip_files: list[bytes], signing: TestSigner
) -> None:
    tools = []
    for name in ("Font.TTF", "captions.srt"):
        (tmp_path / name).write_bytes(name.encode())
        tools.append(Source(local(tmp_path / name), hashlib.sha256(name.encode()).hexdigest()))
    wanted = Wanted("rendition", "rendition", ".mp4", {"hex": clip_files[1].hex()})
    (rendition,) = make(Order("fake", 1, (_source(landed), *tools), (wanted,)))
    result = _run(rendition.as_result(), signer_conn_id="signer")
    assert result["digital_source_type"] == "trainedAlgorithmicMedia"
    (parent,) = _manifests(result["path"])[0][Path(rendition.path).name]["ingredients"]
    assert parent["title"] == "clip.mp4"


def test_a_missing_ingredient_is_named(landed: dict[str, Any], clip_files: list[bytes], signing: TestSigner) -> None:
    rendition = _made("rendition", clip_files[1], landed)
    Path(landed["videos"][0]["path"]).unlink()
    with pytest.raises(Exception, match=r"clip\.mp4"):
        _run(rendition, signer_conn_id="signer")
    # XMP needs none of what it was made of.
    assert _run(rendition)["signed"] is False


def test_a_manifest_that_came_with_the_file_is_not_broken(
    landed: dict[str, Any], signing: TestSigner, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = _run(landed, signer_conn_id="signer")
    result = _run(signed)
    assert Path(result["path"]).read_bytes() == Path(signed["path"]).read_bytes()
    assert "came with a C2PA manifest" in capsys.readouterr().out


# --- arguments, extras, secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"video": "clip.mp4"}, "video"),
        ({"video": "/v.mp4", "source_type": "digitalCapture"}, "source_type"),
        ({"video": "/v.mp4", "posters": ["relative.jpg"]}, "posters"),
        ({"video": "/v.mp4", "tell_prompt": "maybe"}, "tell_prompt"),
        ({"video": "/v.mp4", "signer_conn_id": 3}, "signer_conn_id"),
        ({"video": "/v.mp4", "output_path": "/out"}, "output_path"),
    ],
)
def test_bad_arguments_are_refused_while_the_dag_is_parsed(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidVeoArgument, match=told):
        VideoProvenanceOperator(task_id="provenance", **arguments)


def test_templates_and_xcoms_are_checked_when_they_are_rendered() -> None:
    with DAG("d", schedule=None):
        task = VideoProvenanceOperator(
            task_id="provenance", video="{{ ti.xcom_pull('g') }}", posters="{{ [] }}", tell_prompt="{{ var.value.x }}"
        )
    assert set(task.template_fields) >= {"video", "posters", "signer_conn_id", "output_path", "time_limit"}


def test_a_missing_extra_is_told_before_anything_is_read(
    landed: dict[str, Any], signing: TestSigner, monkeypatch: pytest.MonkeyPatch, runs: list[str]
) -> None:
    find = operator_module.importlib.util.find_spec
    monkeypatch.setattr(
        operator_module.importlib.util, "find_spec", lambda name: None if name == "c2pa" else find(name)
    )
    with pytest.raises(AirflowFailException, match=r"airflow-provider-apimart\[media,provenance\]"):
        _run(landed, signer_conn_id="signer")
    assert _run(landed)["signed"] is False
    assert runs == ["provenance"]


def test_a_certificate_that_has_expired_is_told_before_anything_is_read(
    landed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, runs: list[str]
) -> None:
    gone = make_signer(until=timedelta(hours=-1))
    connection = {"conn_type": "c2pa_signer", "password": gone.key, "extra": {"certificate_chain": gone.chain}}
    monkeypatch.setenv("AIRFLOW_CONN_SIGNER", json.dumps(connection))
    with pytest.raises(AirflowFailException, match="has expired"):
        _run(landed, signer_conn_id="signer")
    assert runs == []


def test_the_key_is_in_no_result_sidecar_or_log(
    tmp_path: Path,
    landed: dict[str, Any],
    signing: TestSigner,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.DEBUG):
        result = _run(landed, signer_conn_id="signer")
    out, err = capfd.readouterr()
    seen = json.dumps(result) + caplog.text + out + err
    seen += "".join(path.read_text() for path in tmp_path.glob("*.json"))
    lines = [line for line in signing.key.splitlines() if "-----" not in line]
    assert lines and not any(line in seen for line in lines)
    assert "BEGIN" not in json.dumps(result)


def test_the_real_child_signs_and_a_crash_leaves_nothing(
    tmp_path: Path, landed: dict[str, Any], signing: TestSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash: Callable[..., Any] = lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)  # noqa: E731
    monkeypatch.setattr(workshop, "run_isolated", crash)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        _run(landed, signer_conn_id="signer")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    monkeypatch.setattr(workshop, "run_isolated", child.run_isolated)
    assert _manifests(_run(landed, signer_conn_id="signer")["path"], signing.root)[1] == "Trusted"


def test_an_airflow_task_runs_it(landed: dict[str, Any]) -> None:
    with DAG("d", schedule=None):
        task = VideoProvenanceOperator(task_id="provenance", video=landed)
    assert task.execute(SimpleNamespace())["videos"]  # type: ignore[arg-type]
