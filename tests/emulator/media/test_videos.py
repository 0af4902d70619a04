"""The videos are what was asked for, and are served as a media host serves them."""

from __future__ import annotations

import io

import av
import pytest

from airflow_provider_apimart.emulator import running_emulator
from airflow_provider_apimart.emulator.media import font
from tests.emulator.conftest import EXT, OFFICIAL, connect, task, task_id, video_url


def opened(plain, url):
    response = plain.get(url)
    assert response.status_code == 200
    assert response.headers["content-type"] == "video/mp4"
    return av.open(io.BytesIO(response.content))


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


def test_the_prompt_is_in_the_picture(submit, api, plain):
    frames = []
    for prompt in ("HELLO", "WORLD"):
        with opened(plain, video_url(api, task_id(submit({**OFFICIAL, "prompt": prompt})))) as video:
            frames.append(next(video.decode(video=0)))
    # The rows of the prompt, below the three lines that say what the video is: bright where the letters are.
    for frame, prompt in zip(frames, ("HELLO", "WORLD"), strict=True):
        plane = bytes(frame.planes[0])
        stride = frame.planes[0].line_size
        scale, left = 720 // 180, 720 // 24
        top = left + 4 * scale * (font.HEIGHT + 3)
        for index, letter in enumerate(prompt):
            for row, bits in enumerate(font.glyph(letter)):
                for column in range(font.WIDTH):
                    y = top + row * scale + scale // 2
                    x = left + (index * (font.WIDTH + 1) + column) * scale + scale // 2
                    lit = plane[y * stride + x] > 140
                    assert lit == bool(bits >> (font.WIDTH - 1 - column) & 1)


def test_something_moves(submit, api, plain):
    with opened(plain, video_url(api, task_id(submit()))) as video:
        frames = [bytes(frame.planes[0]) for frame in video.decode(video=0)]
    assert frames[0] != frames[40] != frames[80]


def test_text_is_wrapped_and_cut():
    assert font.wrap("one two three", 7, 5) == ["one two", "three"]
    assert font.wrap("abcdefghij", 4, 5) == ["abcd", "efgh", "ij"]
    assert font.wrap("aa bb cc dd ee ff", 5, 2) == ["aa bb", "cc..."]
    assert font.glyph("é") == font.glyph("E")
    assert font.glyph("한") == font.BOX


def test_glyphs_are_whole():
    assert all(len(rows) == font.HEIGHT and max(rows) < 32 for rows in font.GLYPHS.values())
    assert set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") <= set(font.GLYPHS)


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
