"""Identity and marker: the same in every try, and another for whatever is another post."""

from __future__ import annotations

import dataclasses

from airflow_provider_apimart.publishing.post import Post, PostIdentity, VideoFile, marker_of

IDENTITY = PostIdentity("dag", "run", "task", 2)
VIDEO = VideoFile("s3://b/clip.mp4", 10, "a" * 64)
POST = Post("youtube", VIDEO, {"title": "A dog"})


def test_the_marker_is_pinned() -> None:
    """A record or a draft of an earlier version has to be found again."""
    assert marker_of(IDENTITY, POST, "UC1", 0) == "apm-a411e34c21bdb5b6"
    keyed = dataclasses.replace(IDENTITY, post_key="summer")
    assert marker_of(keyed, POST, "UC1", 0) == "apm-2f7c72175a166072"


def test_what_does_not_change_it() -> None:
    cleared = dataclasses.replace(IDENTITY, clear_epoch=7)
    assert marker_of(cleared, POST, "UC1", 0) == marker_of(IDENTITY, POST, "UC1", 0)
    elsewhere = dataclasses.replace(VIDEO, uri="gs://other/clip.mp4", duration_seconds=8.0)
    retitled = Post("youtube", elsewhere, {"title": "A cat"})
    assert marker_of(IDENTITY, retitled, "UC1", 0) == marker_of(IDENTITY, POST, "UC1", 0)


def test_whatever_is_another_post_has_another_marker() -> None:
    video = dataclasses.replace(VIDEO, sha256="b" * 64)
    markers = [
        marker_of(IDENTITY, POST, "UC1", 0),
        marker_of(IDENTITY, POST, "UC1", 1),
        marker_of(IDENTITY, POST, "UC2", 0),
        marker_of(IDENTITY, Post("instagram", VIDEO, {}), "UC1", 0),
        marker_of(IDENTITY, Post("youtube", video, {}), "UC1", 0),
        *(
            marker_of(dataclasses.replace(IDENTITY, **change), POST, "UC1", 0)  # type: ignore[arg-type]
            for change in (
                {"dag_id": "other"},
                {"run_id": "other"},
                {"task_id": "other"},
                {"map_index": 3},
                {"post_key": "summer"},
                {"post_key": "winter"},
                # Not the same text in another place.
                {"dag_id": "run", "run_id": "dag"},
            )
        ),
    ]
    assert len(set(markers)) == len(markers)
    assert all(len(marker) == 20 and marker.isascii() and marker.isprintable() for marker in markers)


def test_with_a_post_key_the_run_does_not_count() -> None:
    one, other = (PostIdentity("d1", "r1", "t1", 1, 0, "summer"), PostIdentity("d2", "r2", "t2", 5, 3, "summer"))
    assert marker_of(one, POST, "UC1", 0) == marker_of(other, POST, "UC1", 0)
    assert one.place != other.place and one.place["post_key"] == "summer"
