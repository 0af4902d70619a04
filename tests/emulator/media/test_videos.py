"""The videos are what was asked for, and are served as a media host serves them."""

from __future__ import annotations

import io

import av
import pytest

from airflow_provider_apimart.emulator import running_emulator
from airflow_provider_apimart.emulator.media import picture
from airflow_provider_apimart.media.measure import measure
from airflow_provider_apimart.media.renditions.fonts import font_for
from tests.emulator.conftest import EXT, OFFICIAL, connect, task, task_id, video_url


def opened(plain, url):
    response = plain.get(url)
    assert response.status_code == 200
    assert response.headers["content-type"] == "video/mp4"
    return av.open(io.BytesIO(response.content))


def measured(tmp_path, submit, api, plain, change=None):
    path = tmp_path / "clip.mp4"
    path.write_bytes(plain.get(video_url(api, task_id(submit({**OFFICIAL, **(change or {})})))).content)
    return measure(str(path))


@pytest.mark.parametrize(
    ("change", "size", "seconds", "audio"),
    [
        ({}, (1280, 720), 4, False),
        ({"duration": 6, "generate_audio": True, "aspect_ratio": "9:16"}, (720, 1280), 6, True),
        ({"resolution": "1080p", "aspect_ratio": "9:16"}, (1080, 1920), 4, False),
        ({"resolution": "4K"}, (3840, 2160), 4, False),
    ],
)
def test_a_real_video_as_asked(submit, api, plain, change, size, seconds, audio):
    url = video_url(api, task_id(submit({**OFFICIAL, **change})))
    with opened(plain, url) as video:
        (picture,) = video.streams.video
        assert (picture.width, picture.height, picture.average_rate) == (*size, 24)
        assert abs(video.duration / av.time_base - seconds) < 0.1
        assert bool(video.streams.audio) == audio
        assert sum(1 for _ in video.demux(picture) if _.size) == seconds * 24
        if audio:
            video.seek(0)
            loud = max(abs(s) for s in memoryview(bytes(next(video.decode(audio=0)).planes[0])).cast("f"))
            assert loud > 0.01


def first_plane(video):
    frame = next(video.decode(video=0))
    return bytes(frame.planes[0]), frame.planes[0].line_size


@pytest.mark.parametrize("prompt", ["HELLO", "a" * 3000, "\x00\n", "%{pts}:x=1"], ids=range(4))
def test_the_prompt_is_in_the_picture(submit, api, plain, prompt):
    """What is lit on the plate is what the text module draws, whatever the prompt says."""
    with opened(plain, video_url(api, task_id(submit({**OFFICIAL, "prompt": prompt})))) as video:
        plane, stride = first_plane(video)
    top, left = picture._margin(1280, 720), picture._margin(1280, 720)
    plate = picture.plate([], prompt, 1280, 720)
    drawn, row = bytes(plate.planes[0]), plate.planes[0].line_size
    # The prompt is drawn below the three lines that say what the video is.
    lines = picture.plate(["APIMart emulator", "task_0", "4 s"], "", 1280, 720)
    below = lines.height - picture.plate([], "", 1280, 720).height
    shades = [
        (drawn[y * row + x], plane[(top + below + y) * stride + left + x])
        for y in range(2 * top, plate.height, 3)
        for x in range(2 * left, plate.width, 3)
    ]
    assert all(abs(wanted - shown) < 90 for wanted, shown in shades)


def test_prompts_in_every_script_are_legible():
    fonts = picture._fonts()
    for script in ("abc", "새벽", "ثعلب", "夜明け"):
        if all(font_for(each, fonts) for each in script):
            assert picture.plate([], script, 1280, 720).width > picture.plate([], script[0], 1280, 720).width


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (3840, 2160)])
@pytest.mark.parametrize(
    "prompt",
    ["", "a\n" * 1000, "W" * 4000, "가나" * 2000, "🎉" * 999],
    ids=["empty", "lines", "wide", "korean", "emoji"],
)
def test_any_prompt_fits(size, prompt):
    plate = picture.plate(["APIMart emulator  veo3.1-fast-official", "task_0"], prompt, *size)
    assert plate.width <= size[0] - 2 * picture._margin(*size) and plate.height < size[1]


def test_two_prompts_look_different(submit, api, plain):
    seen = set()
    for prompt in ("HELLO", "WORLD"):
        with opened(plain, video_url(api, task_id(submit({**OFFICIAL, "prompt": prompt})))) as video:
            seen.add(first_plane(video))
    assert len(seen) == 2


def test_all_of_the_picture_moves_and_nothing_is_missing(tmp_path, submit, api, plain):
    facts = measured(tmp_path, submit, api, plain, {"generate_audio": True})
    assert (facts["black"], facts["frozen"], facts["silent"], facts["decode_errors"]) == ([], [], [], 0)
    assert -33 < facts["loudness_lufs"] < -9 and facts["clipped_share"] == 0


def test_ranges_and_etag(submit, api, plain):
    url = video_url(api, task_id(submit()))
    whole = plain.get(url)
    size, etag = len(whole.content), whole.headers["etag"]
    assert etag.startswith('"')
    assert whole.headers["accept-ranges"] == "bytes"
    assert int(whole.headers["content-length"]) == size

    def ask(range_, **headers):
        return plain.get(url, headers={"Range": range_, **headers})

    part = ask("bytes=100-199")
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{size}"
    assert part.headers["etag"] == etag
    assert ask(f"bytes={size - 5}-").content == whole.content[-5:]
    assert ask("bytes=-7").content == whole.content[-7:]
    assert ask(f"bytes=0-{size * 2}").content == whole.content
    past = ask(f"bytes={size}-")
    assert (past.status_code, past.headers["content-range"]) == (416, f"bytes */{size}")
    assert ask("bytes=5-2").status_code == 200
    assert ask("bytes=0-1,4-5").status_code == 200
    assert ask("bytes=0-9", **{"If-Range": etag}).status_code == 206
    assert ask("bytes=0-9", **{"If-Range": '"other"'}).status_code == 200
    assert plain.get(url, headers={"If-None-Match": etag}).status_code == 304
    head = plain.head(url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(size))


def test_expired_urls_are_refused_as_cloudfront_does(submit, api, plain, emulator):
    one = task_id(submit())
    url = video_url(api, one)
    assert emulator.expire(one) == [one]
    refused = plain.get(url)
    assert (refused.status_code, refused.headers["content-type"]) == (403, "application/xml")
    assert refused.text.startswith("<?xml")
    assert video_url(api, one) == url
    assert plain.get(url).status_code == 403
    emulator.fault("task", "renew_url")
    renewed = video_url(api, one)
    assert renewed != url
    assert plain.get(renewed).status_code == 200
    assert plain.get(url).status_code == 403


def test_renewing_by_option(plain):
    with running_emulator(renew_urls=True) as emulator, connect(emulator.base_url, emulator.api_key) as api:
        one = task_id(api.post("/v1/videos/generations", json=OFFICIAL))
        url = video_url(api, one)
        assert video_url(api, one) == url
        emulator.expire()
        assert plain.get(video_url(api, one)).status_code == 200


def test_urls_live_as_long_as_asked(plain):
    with running_emulator(url_ttl_seconds=0) as emulator, connect(emulator.base_url, emulator.api_key) as api:
        data = task(api, task_id(api.post("/v1/videos/generations", json=OFFICIAL)))
        assert data["result"]["videos"][0]["expires_at"] == data["completed"]
        assert plain.get(data["result"]["videos"][0]["url"][0]).status_code == 403


def test_no_url_before_the_end_nor_made_up(plain):
    with running_emulator(job_seconds=600) as emulator, connect(emulator.base_url, emulator.api_key) as api:
        api.post("/v1/videos/generations", json=OFFICIAL)
        (url,) = emulator.state()["generations"][0]["urls"]
        assert plain.get(url).status_code == 403
        emulator.finish()
        assert plain.get(url.replace("-1-0-", "-1-1-")).status_code == 403
        assert plain.get(f"{emulator.base_url}/media/nothing.mp4").status_code == 403


def test_the_log_says_whether_a_key_came_along(submit, api, plain, emulator):
    url = video_url(api, task_id(submit()))
    plain.get(url, headers={"User-Agent": "one"})
    api.get(url)
    plain.get(url, headers={"Authorization": "Bearer something"})
    log = emulator.requests("media")
    assert [entry["authorization"] for entry in log] == ["absent", "valid", "wrong"]
    assert log[0]["headers"]["user-agent"] == "one"
    assert emulator.api_key not in str(emulator.state())


def test_ext_videos_come_with_sound(submit, api, plain):
    with opened(plain, video_url(api, task_id(submit(EXT)))) as video:
        assert video.streams.audio
        assert round(video.duration / av.time_base) == 8
