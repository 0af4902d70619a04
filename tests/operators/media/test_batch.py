"""``VideoBatchOperator``: everything for all landed rows, once, whatever ends the process."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.client.errors import InvalidParameterError
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.batch.manifest import write_manifest
from airflow_provider_apimart.hooks.manifest import landed_rows, parcels, posts, read_manifest
from airflow_provider_apimart.hooks.reports import notes
from airflow_provider_apimart.media import child, workshop
from airflow_provider_apimart.media.errors import MediaToolError
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.media import VideoBatchOperator, batch, batch_row
from airflow_provider_apimart.operators.media.batch_end import MediaBatchError
from airflow_provider_apimart.operators.media.batch_row import renditions_of
from tests.media.clips import make_clip
from tests.operators import batches
from tests.operators.conftest import Tries
from tests.storage.places import local

TALL = {"name": "tall", "width": 90, "height": 160, "effort": "ultrafast"}
#: The clips are small and short, and no Veo made them.
RULES = dict.fromkeys(("duration", "resolution", "loudness", "faststart", "silent", "audio_track"), "off")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    small: dict[str, Any] = {"seconds": 1, "size": (160, 90)}
    return {
        "good": make_clip(folder / "good.mp4", **small),
        "black": make_clip(folder / "black.mp4", picture="black", **small),
        "broken": _written(folder / "broken.mp4", b"<!DOCTYPE html><title>502</title>" * 50),
    }


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def manifest_of(folder: Path, clips: dict[str, Path], *kinds: str) -> str:
    """Write the manifest of a batch that has landed these clips, a row each; "left" is a row that has not started."""
    lines = []
    for number, kind in enumerate(kinds, 1):
        videos = []
        if kind != "left":
            path = folder / f"clip-{number}.mp4"
            shutil.copy(clips[kind], path)
            data = path.read_bytes()
            videos = [{"path": str(path), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}]
        request = {"prompt": f"number {number}", "model": "veo3.1-fast-official"}
        lines.append(
            {
                **{"row": number, "outcome": "landed" if videos else "left", "labels": {"sku": f"S-{number}"}},
                **{"request": request, "generation_id": f"task_{number}", "videos": videos, "cost_usd": 0.25},
                "path": videos[0]["path"] if videos else None,
            }
        )
    write_manifest(local(folder / "manifest-a.jsonl"), lines, "jsonl")
    return str(folder / "manifest-a.jsonl")


def operator(manifest: Any, **arguments: Any) -> VideoBatchOperator:
    return VideoBatchOperator(**{"task_id": "finish", "manifest": manifest, "max_parallel": 2, **arguments})


def run(manifest: Any, tries: Tries, **arguments: Any) -> dict[str, Any]:
    task = operator(manifest, **arguments)
    return task.execute(tries.next(task))  # type: ignore[arg-type]


def own_manifest(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("media-*.jsonl")
    return list(read_manifest(str(path)))


def test_all_of_it(tmp_path: Path, clips: dict[str, Path], tries: Tries, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = manifest_of(tmp_path, clips, "good", "left", "good")
    arguments: dict[str, Any] = {
        "check": RULES,
        "preview": True,
        "frames": ["last"],
        "renditions": {"shapes": [TALL], "end_card": {"text": "{labels[sku]}", "seconds": 0.2}},
    }
    result = run({"manifest": manifest}, tries, **arguments)
    assert (result["rows"], result["good"], result["failed"]) == (2, 2, 0)
    assert result["outcomes"] == {"landed": 2}
    found = list(landed_rows(result["manifest"]))
    assert [line["row"] for line in found] == [1, 3]
    for line in found:
        assert line["check"] == {"verdict": "ok", "text": ""} and line["cost_usd"] == 0.25
        (video,) = line["videos"]
        assert set(video["pictures"]) == {"poster", "preview", "last_frame"}
        for made in (*video["pictures"].values(), video["renditions"]["tall"]):
            data = Path(made["path"]).read_bytes()
            assert (made["bytes"], made["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        # A row's values are in its rendition, and so in its name.
        assert video["renditions"]["tall"]["width"] == 90
    assert len({line["videos"][0]["renditions"]["tall"]["sha256"] for line in found}) == 2
    (sheet,) = result["contact_sheets"]
    with Image.open(sheet) as picture:
        assert picture.width > 2 * 200

    # What the next task takes: the rendition, with what belongs to its row.
    ((first, second),) = posts(result, rendition="tall", title="{labels[sku]}")
    assert first["video"]["path"] == found[0]["videos"][0]["renditions"]["tall"]["path"]
    assert (first["video"]["generation_id"], second["title"]) == ("task_1", "S-3")
    with pytest.raises(InvalidParameterError, match="row 1: rendition='wide': it has 'tall'"):
        posts(result, rendition="wide")

    # The next try decodes nothing.
    monkeypatch.setattr("airflow_provider_apimart.media.checking.run_isolated", None)
    monkeypatch.setattr(workshop, "run_isolated", None)
    assert run(manifest, tries, **arguments) == result


def test_a_bad_video_is_its_own_rows_failure(tmp_path: Path, clips: dict[str, Path], tries: Tries) -> None:
    manifest = manifest_of(tmp_path, clips, "good", "black", "broken", "good")
    arguments: dict[str, Any] = {"check": RULES, "renditions": {"shapes": [TALL]}}
    with pytest.raises(AirflowFailException) as failure:
        run(manifest, tries, **arguments)
    text = str(failure.value)
    assert "2 of 4 rows have all that was asked for (2 check_failed, 2 landed)" in text
    assert "row 2 check_failed" in text and "black" in text and "row 3 check_failed" in text
    assert "Nothing was paid" in text and 'on_clear="regenerate"' in text
    lines = own_manifest(tmp_path)
    assert [line["outcome"] for line in lines] == ["landed", "check_failed", "check_failed", "landed"]
    # What fails is on the contact sheet if it can be, and in no channel's shape.
    assert [bool(line["videos"][0]["renditions"]) for line in lines] == [True, False, False, True]
    assert [bool(line["videos"][0]["pictures"]) for line in lines] == [True, True, False, True]
    result = run(manifest, tries, max_failed_share=0.5, **arguments)
    assert (result["good"], result["failed"]) == (2, 2)
    assert [line["row"] for line in landed_rows(result["manifest"])] == [1, 4]
    # What is skipped fails nothing, and is left out all the same.
    skipping = run(manifest, tries, check={**RULES, "black": "skip", "frozen": "off", "decode": "skip"}, poster=False)
    assert skipping["outcomes"] == {"landed": 2, "check_skipped": 2} and skipping["contact_sheets"] == []


def test_what_it_leaves_for_the_pages_is_there_if_it_fails_too(
    tmp_path: Path, clips: dict[str, Path], tries: Tries
) -> None:
    manifest = manifest_of(tmp_path, clips, "good", "broken")
    task = operator(manifest)
    context: Any = tries.next(task)
    with pytest.raises(AirflowFailException) as failure:
        task.execute(context)
    (note,) = (value for key, value in context["ti"].pushed.items() if key.startswith(notes.PREFIX))
    assert (note["kind"], note["outcome"], note["summary"]["rows"]) == ("media_batch", "failed", 2)
    assert note["error"]["text"] == str(failure.value)
    assert list(read_manifest(note["manifest"])) == own_manifest(tmp_path)
    task = operator(manifest, max_failed_share=0.5)
    result = task.execute(tries.next(task))  # type: ignore[arg-type]
    told = notes.of_media_batch(result)
    assert (told["outcome"], told["error"], told["contact_sheets"]) == ("completed", None, result["contact_sheets"])


def test_without_a_check_what_cannot_be_made_is_told(tmp_path: Path, clips: dict[str, Path], tries: Tries) -> None:
    with pytest.raises(AirflowFailException, match=r"row 2 media_failed: .*clip-2\.mp4: the file cannot be decoded"):
        run(manifest_of(tmp_path, clips, "good", "broken"), tries)
    assert [line["outcome"] for line in own_manifest(tmp_path)] == ["landed", "media_failed"]


class Death(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", range(1, 13))
def test_killed_anywhere_the_next_try_makes_the_rest(
    tmp_path: Path, clips: dict[str, Path], tries: Tries, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    manifest = manifest_of(tmp_path, clips, "good", "good", "good")
    steps = 0
    lock = threading.Lock()

    def counted(real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            with lock:
                steps += 1
                mine = steps
            if mine == step:
                raise Death
            result = real(*args, **kwargs)
            return result

        return call

    runs: list[str] = []

    def in_process(job: str, arguments: dict[str, Any], **_: Any) -> Any:
        runs.append(job)
        module, function = child.JOBS[job]
        return getattr(__import__(module, fromlist=["_"]), function)(**arguments)

    monkeypatch.setattr(workshop, "run_isolated", in_process)
    with monkeypatch.context() as patch:
        # Before a job, and between a file's commit and its note.
        patch.setattr(workshop, "run_isolated", counted(in_process))
        patch.setattr(workshop, "keep_outputs", counted(workshop.keep_outputs))
        patch.setattr(batch, "write_manifest", counted(batch.write_manifest))
        try:
            run(manifest, tries, max_parallel=1)
            # Three posters and a sheet, each with its note, and the manifest.
            assert step > 9
        except Death:
            pass
    before = len(runs)
    result = run(manifest, tries, max_parallel=1)
    assert result["outcomes"] == {"landed": 3}
    # A file whose note is missing is made once more, under the same name.
    assert len(runs) <= 4 + 1 and (step <= 9 or len(runs) == before)
    assert len(list(tmp_path.glob("*.poster-*.jpg"))) == 3 and len(list(tmp_path.glob("*.contact-sheet-*.jpg"))) == 1
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".") and "lock" not in path.name]


def test_what_a_retry_may_mend_is_retried(
    tmp_path: Path, clips: dict[str, Path], tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = manifest_of(tmp_path, clips, "good", "good")
    real, failed = workshop.run_isolated, []

    def once(job: str, arguments: dict[str, Any], **more: Any) -> Any:
        if not failed:
            failed.append(job)
            raise MediaToolError("the media process could not be started: no more processes")
        return real(job, arguments, **more)

    monkeypatch.setattr(workshop, "run_isolated", once)
    with pytest.raises(MediaBatchError, match=r"1 media_failed.*no more processes.*A retry does what is missing"):
        run(manifest, tries, max_failed_share=1.0)
    assert run(manifest, tries)["outcomes"] == {"landed": 2}


def test_a_thousand_rows_a_few_at_once(
    tmp_path: Path, clips: dict[str, Path], tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = clips["good"].read_bytes()
    video = {"path": str(_written(tmp_path / "clip.mp4", data)), "sha256": hashlib.sha256(data).hexdigest()}
    line = {"outcome": "reused", "labels": {}, "request": {}, "generation_id": "task_1", "videos": [video]}
    target = local(tmp_path / "manifest-a.jsonl")
    write_manifest(target, ({"row": number, **line} for number in range(1, 1001)), "jsonl")
    runs = []

    def job(name: str, arguments: dict[str, Any], **_: Any) -> Any:
        runs.append(name)
        for output in arguments["outputs"]:
            Image.new("RGB", (16, 9)).save(output["path"], format="JPEG")
        return {output["name"]: {"width": 16, "height": 9} for output in arguments["outputs"]}

    monkeypatch.setattr(workshop, "run_isolated", job)
    result = run(str(target.path), tries, max_parallel=4)
    assert (result["rows"], result["outcomes"], len(result["contact_sheets"])) == (1000, {"reused": 1000}, 10)
    assert [line["row"] for line in read_manifest(result["manifest"])] == list(range(1, 1001))
    assert runs.count("contact_sheet") == 10


def test_into_a_folder(tmp_path: Path, clips: dict[str, Path], tries: Tries) -> None:
    (tmp_path / "in").mkdir()
    manifest = manifest_of(tmp_path / "in", clips, "good")
    before = sorted(path.name for path in (tmp_path / "in").iterdir())
    result = run(manifest, tries, check=RULES, output_path=f"{tmp_path}/out/")
    assert Path(result["manifest"]).parent == tmp_path / "out" == Path(result["contact_sheets"][0]).parent
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == before


def test_an_empty_manifest(tmp_path: Path, clips: dict[str, Path], tries: Tries) -> None:
    result = run(manifest_of(tmp_path, clips, "left"), tries)
    assert (result["rows"], result["contact_sheets"], own_manifest(tmp_path)) == (0, [], [])


def test_no_manifest(tmp_path: Path, tries: Tries) -> None:
    with pytest.raises(AirflowFailException, match=r"manifest-a\.jsonl does not exist"):
        run(str(tmp_path / "manifest-a.jsonl"), tries)


def test_what_a_row_does_not_have_is_refused_before_anything_is_made(
    tmp_path: Path, clips: dict[str, Path], tries: Tries
) -> None:
    manifest = manifest_of(tmp_path, clips, "good", "good")
    before = sorted(path.name for path in tmp_path.iterdir())
    renditions = {"shapes": [TALL], "captions": {"text": "{labels[caption]}"}}
    with pytest.raises(AirflowFailException, match=r"row 1: .*labels has no 'caption'; it has sku.*row 2: "):
        run(manifest, tries, renditions=renditions)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("part", "missing"),
    [
        ({"logo": "{folder}/logo.png"}, "logo.path"),
        ({"music": {"path": "{folder}/bed.m4a"}}, "music.path"),
        ({"captions": {"text": "a", "fonts": ["{folder}/font.ttf"]}}, "captions.fonts"),
        ({"end_card": {"path": "{folder}/{labels[sku]}.png"}}, "end_card.path"),
    ],
)
def test_a_file_that_is_not_there_is_refused_before_any_row_is_worked_on(
    tmp_path: Path, clips: dict[str, Path], tries: Tries, part: dict[str, Any], missing: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    manifest = manifest_of(tmp_path, clips, "good", "good")
    before = sorted(path.name for path in tmp_path.iterdir())
    looked = []
    real = batch.stored_size
    monkeypatch.setattr(batch, "stored_size", lambda place: looked.append(place.uri) or real(place))
    renditions = json.loads(json.dumps({"shapes": [TALL], **part}).replace("{folder}", str(tmp_path)))
    with pytest.raises(AirflowFailException, match=rf"row 1: renditions\.{missing}=.*does not exist") as error:
        run(manifest, tries, renditions=renditions)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    # A file of all rows is looked for once, and told once.
    shared = "sku" not in str(part)
    assert len(looked) == (2 if shared else 3) and str(error.value).count("does not exist") == (1 if shared else 2)


def test_a_row_that_meets_a_mistake_of_ours_is_its_own_failure(
    tmp_path: Path, clips: dict[str, Path], tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = manifest_of(tmp_path, clips, "good", "good", "good")
    real = batch_row._check

    def odd(source: Any, line: Any, *more: Any) -> Any:
        if line["row"] == 2:
            raise KeyError("an odd row")
        return real(source, line, *more)

    monkeypatch.setattr(batch_row, "_check", odd)
    assert run(manifest, tries, max_failed_share=0.5)["outcomes"] == {"landed": 2, "media_failed": 1}
    found = own_manifest(tmp_path)
    assert [line["error"] for line in found][0::2] == [None, None]
    assert found[1]["error"].endswith("clip-2.mp4: KeyError: 'an odd row'")


@pytest.mark.parametrize("grave", [MemoryError(), SystemExit(1), KeyboardInterrupt()])
def test_what_concerns_the_whole_task_ends_it(
    tmp_path: Path, clips: dict[str, Path], tries: Tries, monkeypatch: pytest.MonkeyPatch, grave: BaseException
) -> None:
    def ends(*_: Any) -> Any:
        raise grave

    monkeypatch.setattr(batch_row, "_check", ends)
    with pytest.raises(type(grave)):
        run(manifest_of(tmp_path, clips, "good"), tries, max_failed_share=1.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"manifest": "s3://bucket/videos/"}, "manifest='s3://bucket/videos/': allowed: a batch's output"),
        ({"check": {"blackness": "fail"}}, r"check\['blackness'\]='fail': no such rule"),
        ({"renditions": {"shape": "reels"}}, r"renditions=\['shape'\]: allowed: shapes, logo"),
        ({"renditions": {"shapes": ["reals"]}}, r"renditions\.shapes"),
        ({"renditions": {"shapes": "reels", "loudness": 5}}, r"renditions\.loudness"),
        ({"frames": ["middle"]}, "allowed: None, or a list of 'first' and 'last'"),
        ({"max_failed_share": 2, "max_parallel": 0}, "max_parallel=0.*max_failed_share=2"),
        ({"poster_format": "gif"}, "poster_format='gif'"),
    ],
)
def test_what_is_refused_when_the_dag_is_parsed(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidVeoArgument, match=said):
        operator(**{"manifest": "/data/manifest-a.jsonl", **arguments})


@pytest.mark.parametrize("text", ['{"path": "/data/private.png"}', '["a", "b"]', '{"seconds": 30, "text": "x"}'])
def test_a_rows_text_that_looks_like_json_stays_a_text(text: str) -> None:
    line = {"row": 1, "labels": {"name": text}, "request": {}, "generation_id": "task_1"}
    asked = renditions_of({"shapes": [TALL], "end_card": "{labels[name]}"}, line)
    assert asked.look.end_card is not None
    assert (asked.look.end_card.text, asked.look.end_card.path) == (text, None)


@pytest.mark.parametrize("part", ["logo", "captions", "end_card", "music"])
@pytest.mark.parametrize("path", ["../private.png", "a.png", "/data/", "/data/a\x00.png"])
def test_a_rows_path_is_checked_as_the_authors_is(part: str, path: str, tmp_path: Path, tries: Tries) -> None:
    place = local(tmp_path / "manifest-a.jsonl")
    line = {"row": 1, "outcome": "landed", "labels": {"file": path}, "request": {}, "generation_id": "task_1"}
    write_manifest(place, [{**line, "videos": [], "cost_usd": None, "path": None}], "jsonl")
    renditions = {"shapes": [TALL], part: {"path": "{labels[file]}"}}
    with pytest.raises(AirflowFailException, match=rf"row 1: renditions\.{part}\.path=.*absolute path of a file"):
        run(place.uri, tries, renditions=renditions)


def test_the_sidecar_has_what_the_manifest_leaves_out(tmp_path: Path, clips: dict[str, Path], tries: Tries) -> None:
    run(manifest_of(tmp_path, clips, "good"), tries, check=RULES)
    note = json.loads((tmp_path / "clip-1.mp4.media.json").read_text())
    assert note["check"]["facts"]["width"] == 160
    assert [output["kind"] for output in note["outputs"]] == ["poster"]


@pytest.mark.usefixtures("quick")
def test_what_a_batch_has_landed(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    # As in example_prompt_batch, with the rules as they are.
    rows = [
        {"prompt": "a kettle", "generate_audio": False, "aspect_ratio": "16:9"},
        {"prompt": "a bottle 🏔️", "aspect_ratio": "9:16"},
        {"prompt": "a lamp", "generate_audio": True},
    ]
    generated = batches.run(batches.batch(tmp_path, rows), Tries())
    result = run(generated, tries, check="default", poster_width=640)
    assert result["outcomes"] == {"landed": 3}
    assert Path(result["manifest"]).parent == Path(generated["manifest"]).parent
    ((*found,),) = parcels(result["manifest"])
    assert [row["videos"][0]["pictures"]["poster"]["width"] for row in found] == [640, 640, 640]
    assert emulator.state()["paid"] == 3
