"""The answers to a status request that the contract records (sections 3 and 10), and what must come out of them."""

from __future__ import annotations

import json
from typing import Any

from airflow_provider_apimart.client.models import GenerationStatus as Status
from tests.client.samples import Answer, at

_MP4 = "https://getapib.org/video/clip.mp4"


def _done(result: Any, **more: Any) -> dict[str, Any]:
    return {"code": 200, "data": {"id": "task_x", "status": "completed", "result": result, **more}}


_ONE = {"status": Status.COMPLETED, "urls": [_MP4], "rejected": False}
_FAILED = {"status": Status.FAILED, "urls": []}

TASKS = [
    Answer(
        "10.4-processing",
        {
            "code": 200,
            "data": {
                "created": 1765000891,
                "estimated_time": 600,
                "id": "task_01KBS4",
                "progress": 91,
                "status": "processing",
            },
        },
        {
            "status": Status.PROCESSING,
            "progress": 91,
            "cost_usd": None,
            "created_at": at(1765000891),
            "estimated_seconds": 600.0,
            "urls": [],
            "completed_at": None,
        },
    ),
    Answer(
        "10.5-completed-video",
        {
            "code": 200,
            "data": {
                "actual_time": 155,
                "completed": 1765001046,
                "created": 1765000891,
                "estimated_time": 600,
                "id": "task_01KBS4",
                "progress": 100,
                "result": {
                    "videos": [{"expires_at": 1765087446, "url": ["https://upload.apimart.ai/f/video/clip.mp4"]}]
                },
                "status": "completed",
            },
        },
        {
            "status": Status.COMPLETED,
            "urls": ["https://upload.apimart.ai/f/video/clip.mp4"],
            "expires": [at(1765087446)],
            "actual_seconds": 155.0,
            "completed_at": at(1765001046),
            "progress": 100,
        },
    ),
    Answer(
        "10.6-completed-with-money",
        {
            "code": 200,
            "data": {
                "status": "completed",
                "credits_cost": 0.7,
                "cost": 0.07,
                "result": {"videos": [{"expires_at": 1791235057, "url": [_MP4]}]},
            },
        },
        {**_ONE, "cost_usd": 0.07, "expires": [at(1791235057)]},
    ),
    Answer(
        "10.7-completed-image-is-no-video",
        {
            "code": 200,
            "data": {
                "id": "task_i",
                "status": "completed",
                "progress": 100,
                "cost": 0.00476,
                "credits_cost": 0.0476,
                "result": {"images": [{"url": ["https://getapib.org/image/a.png"], "expires_at": 1789893301}]},
                "usage": {"total_tokens": 1},
            },
        },
        {"status": Status.COMPLETED, "urls": [], "cost_usd": 0.00476},
    ),
    Answer(
        "10.8-bare-webhook-object",
        {
            "id": "task_01KV7F",
            "status": "completed",
            "progress": 100,
            "created": 1781589029,
            "completed": 1781589058,
            "actual_time": 29,
            "cost": 0.006,
            "credits_cost": 0.06,
            "result": {"videos": [{"url": [_MP4], "expires_at": 1781675458}]},
        },
        {**_ONE, "cost_usd": 0.006, "actual_seconds": 29.0},
    ),
    Answer(
        "10.9-bare-failure-old",
        {"id": "task_x", "status": "failed", "progress": 100, "error": {"message": "boom", "code": ""}},
        {**_FAILED, "error_message": "boom", "error_code": None, "rejected": False},
    ),
    Answer(
        "10.9-bare-failure-new",
        {
            "id": "task_x",
            "status": "failed",
            "error": {"message": "boom", "type": "task_failed", "param": "", "code": "task_failed"},
        },
        {**_FAILED, "error_message": "boom", "error_code": "task_failed", "rejected": False},
    ),
    Answer(
        "10.10-content_policy-type",
        {"code": 200, "data": {"id": "t", "status": "failed", "error": {"type": "content_policy", "message": "no"}}},
        {**_FAILED, "error_code": "content_policy", "error_message": "no", "rejected": True},
    ),
    Answer(
        "10.10-content_rejected-code",
        {"code": 200, "data": {"id": "t", "status": "failed", "error": {"code": "content_rejected", "message": "no"}}},
        {**_FAILED, "error_code": "content_rejected", "rejected": True},
    ),
    Answer(
        "10.10-safety-review-text",
        {
            "code": 200,
            "data": {
                "status": "failed",
                "error": {"code": 400, "message": "request blocked by safety review", "type": "error"},
            },
        },
        {**_FAILED, "error_code": "400", "rejected": True},
    ),
    Answer(
        "10.10-message-only",
        {"code": 200, "data": {"status": "failed", "error": {"message": "content rejected"}}},
        {**_FAILED, "error_code": None, "error_message": "content rejected", "rejected": True},
    ),
    Answer(
        "3.6-PUBLIC_ERROR_UNSAFE_GENERATION",
        {"data": {"status": "failed", "error": "last error: PUBLIC_ERROR_UNSAFE_GENERATION"}},
        {**_FAILED, "rejected": True},
    ),
    Answer(
        "3.6-all-channels-failed-may-pass",
        {"data": {"status": "failed", "error": {"code": 500, "message": "all channels failed, last error: timeout"}}},
        {**_FAILED, "error_code": "500", "rejected": False},
    ),
    Answer(
        "3.6-error-is-text",
        {"data": {"status": "failed", "error": "upstream timeout"}},
        {**_FAILED, "error_message": "upstream timeout", "error_code": None, "rejected": False},
    ),
    Answer(
        "3.6-error_message",
        {"data": {"status": "failed", "error_message": "a"}},
        {**_FAILED, "error_message": "a"},
    ),
    Answer(
        "3.6-result-error",
        {"data": {"status": "failed", "result": {"error": "b"}}},
        {**_FAILED, "error_message": "b"},
    ),
    Answer(
        "3.6-result-error-object",
        {"data": {"status": "failed", "result": {"error": {"message": "b"}}}},
        {**_FAILED, "error_message": "b"},
    ),
    Answer("3.6-fail_reason", {"data": {"status": "failed", "fail_reason": "c"}}, {**_FAILED, "error_message": "c"}),
    Answer("3.6-message", {"data": {"status": "failed", "message": "d"}}, {**_FAILED, "error_message": "d"}),
    Answer("3.6-nothing-said", {"data": {"status": "failed"}}, {**_FAILED, "error_message": None, "rejected": False}),
    Answer(
        "10.11-completed-but-empty",
        {
            "code": 200,
            "data": {
                "status": "completed",
                "progress": 100,
                "error_message": "No images found ... Prohibited Use Policy",
                "result": {"images": []},
            },
        },
        {"status": Status.COMPLETED, "urls": [], "error_message": "No images found ... Prohibited Use Policy"},
    ),
    Answer("3.4-completed-empty-videos", _done({"videos": []}), {"status": Status.COMPLETED, "urls": []}),
    Answer("3.4-completed-no-result", {"data": {"status": "completed"}}, {"status": Status.COMPLETED, "urls": []}),
    Answer("3.4-completed-null-url", _done({"videos": [{"url": [None, ""]}]}), {"urls": []}),
    Answer("10.12-result-url-list", _done({"url": [_MP4]}), _ONE),
    Answer("10.12-result-video_url", _done({"video_url": _MP4}), _ONE),
    Answer(
        "10.12-url-string-and-thumbnail",
        _done({"videos": [{"url": _MP4}], "thumbnail_url": "https://getapib.org/t.jpg"}),
        _ONE,
    ),
    Answer("10.12-cost-string", _done({"videos": [{"url": [_MP4]}]}, cost="0.1234"), {**_ONE, "cost_usd": 0.1234}),
    Answer("10.12-data-list-processing", {"data": [{"status": "processing"}]}, {"status": Status.PROCESSING}),
    Answer(
        "11-unknown-names",
        _done([_MP4], trace_id="t-1", queue=3, poster="https://getapib.org/p.jpg", long="x" * 101, deep={"a": 1}),
        {**_ONE, "extra": {"trace_id": "t-1", "queue": "3"}},
    ),
    Answer("11-unknown-names-while-running", {"data": {"status": "processing", "trace_id": "t"}}, {"extra": {}}),
    Answer(
        "11-many-unknown-names",
        _done([_MP4], **{f"n{number}": "x" for number in range(50)}),
        {"extra": {f"n{number}": "x" for number in range(20)}},
    ),
    Answer("11-result-json-text", _done(json.dumps([_MP4])), _ONE),
    Answer("11-result-json-text-object", _done(json.dumps({"videos": [{"url": [_MP4]}]})), _ONE),
    Answer("11-result-json-text-broken", _done(f'["{_MP4}"'), {"urls": []}),
    Answer("11-result-json-text-deep", _done("[" * 100_000), {"urls": []}),
    Answer("11-result-video", _done({"video": _MP4}), _ONE),
    Answer("11-result-video-object", _done({"video": {"url": _MP4}}), _ONE),
    Answer("11-result-output", _done({"output": [_MP4]}), _ONE),
    Answer("11-result-output-objects", _done({"output": [{"video_url": _MP4}]}), _ONE),
    Answer("11-result-output-text", _done({"output": json.dumps([_MP4])}), _ONE),
    Answer("11-result-file_url", _done({"file_url": _MP4}), _ONE),
    Answer("11-result-download_url", _done({"download_url": _MP4}), _ONE),
    Answer("11-result-urls", _done({"urls": [_MP4]}), _ONE),
    Answer("11-the-documented-place-first", _done({"videos": [{"url": [_MP4]}], "file_url": f"{_MP4}?2"}), _ONE),
    Answer("3.4-result-bare-string", _done(_MP4), _ONE),
    Answer("3.4-result-list-of-strings", _done([_MP4]), _ONE),
    Answer("3.4-result-list-of-objects", _done([{"url": [_MP4]}]), _ONE),
    Answer("3.4-videos-object", _done({"videos": {"url": [_MP4]}}), _ONE),
    Answer("3.4-videos-of-strings", _done({"videos": [_MP4]}), _ONE),
    Answer("3.4-width-and-height", _done({"videos": [{"url": [_MP4], "duration": 8, "width": 1280}]}), _ONE),
    Answer("3.4-the-same-twice", _done({"videos": [{"url": [_MP4, _MP4]}], "video_url": _MP4}), _ONE),
    Answer("3.4-a-preview-beside-the-video", _done({"videos": [{"url": [_MP4]}], "url": "https://x.org/p.gif"}), _ONE),
    Answer(
        "3.4-samples-in-one-entry",
        _done({"videos": [{"url": ["https://a.org/1.mp4", "https://a.org/2.mp4"]}]}),
        {"urls": ["https://a.org/1.mp4", "https://a.org/2.mp4"]},
    ),
    Answer(
        "3.4-samples-in-entries",
        _done({"videos": [{"url": ["https://a.org/1.mp4"]}, {"url": ["https://a.org/2.mp4"]}]}),
        {"urls": ["https://a.org/1.mp4", "https://a.org/2.mp4"]},
    ),
    Answer(
        "3.5-no-expiry-means-24-hours",
        _done({"videos": [{"url": [_MP4]}]}, completed=1765001046),
        {"expires": [at(1765001046 + 86400)]},
    ),
    Answer("3.5-nothing-known", _done({"videos": [{"url": [_MP4]}]}), {"expires": [None]}),
    Answer(
        "3.5-expiry-as-text",
        _done({"videos": [{"url": [_MP4], "expires_at": "1765087446"}]}),
        {"expires": [at(1765087446)]},
    ),
    Answer(
        "3.5-expiry-in-milliseconds",
        _done({"videos": [{"url": [_MP4], "expires_at": 1765087446000}]}),
        {"expires": [at(1765087446)]},
    ),
    Answer(
        "3.5-expiry-beyond-the-calendar",
        _done({"videos": [{"url": [_MP4], "expires_at": 10**30}]}, completed=253402300799000),
        {"expires": [None], "completed_at": None},
    ),
    Answer("3.2-credits-only", _done({"url": _MP4}, credits_cost=0.7), {"cost_usd": 0.07}),
    Answer("3.2-credits-with-noise", _done({"url": _MP4}, credits_cost=0.047920000000000004), {"cost_usd": 0.004792}),
    Answer(
        "3.2-nulls",
        {"data": dict.fromkeys(("id", "status", "progress", "cost", "result", "error"))},
        {
            "status": Status.PROCESSING,
            "progress": None,
            "cost_usd": None,
            "error_message": None,
            "raw_status": "",
        },
    ),
    Answer("3.2-progress-as-text", {"data": {"status": "processing", "progress": "42%"}}, {"progress": 42}),
    Answer("3.2-progress-too-large", {"data": {"status": "processing", "progress": 1e308}}, {"progress": 100}),
    Answer("3.2-progress-too-small", {"data": {"status": "processing", "progress": -3}}, {"progress": 0}),
    Answer("3.2-cost-true", _done({"url": _MP4}, cost=True), {"cost_usd": None}),
    Answer(
        "lie-cost-NaN",
        b'{"data":{"status":"completed","cost":NaN,"result":"%s"}}' % _MP4.encode(),
        {
            "cost_usd": None,
            "urls": [_MP4],
        },
    ),
    Answer(
        "lie-cost-infinite",
        b'{"data":{"status":"completed","cost":1e999,"result":"%s"}}' % _MP4.encode(),
        {
            "cost_usd": None,
            "urls": [_MP4],
        },
    ),
    Answer(
        "lie-cost-of-5000-digits",
        b'{"data":{"status":"completed","cost":%s,"result":"%s"}}'
        % (
            b"9" * 5000,
            _MP4.encode(),
        ),
        {"cost_usd": None, "urls": [_MP4]},
    ),
    Answer("lie-surrogate-in-message", b'{"data":{"status":"failed","error":"\\ud800"}}', {"error_message": "?"}),
    Answer("lie-surrogate-in-url", _done({"videos": [{"url": [f"{_MP4}\ud800", _MP4]}]}), {"urls": [_MP4]}),
    Answer("lie-status-is-a-list", {"data": {"status": ["failed"]}}, {"status": Status.PROCESSING}),
    Answer("lie-url-not-http", _done({"videos": [{"url": ["file:///etc/passwd", "javascript:x"]}]}), {"urls": []}),
]

#: 3.3: every spelling that was recorded, and what is not an end.
STATUSES = {
    **dict.fromkeys(("completed", "success", "succeeded", "COMPLETED", " Completed "), Status.COMPLETED),
    **dict.fromkeys(("failed", "failure", "error", "cancelled", "canceled", "FAILED"), Status.FAILED),
    **dict.fromkeys(("submitted", "pending", "queued"), Status.PENDING),
    **dict.fromkeys(("processing", "in_progress", "expired", "complete?", "fail", "", "完成"), Status.PROCESSING),
}

#: Answers to a status request that are no task: no verdict comes out of them.
NO_TASK = [
    Answer("3.2-null-data", {"code": 200, "data": None}),
    Answer("3.2-empty-list", {"code": 200, "data": []}),
    Answer("3.2-empty-object", {"code": 200, "data": {}}),
    Answer("3.2-text", {"code": 200, "data": "processing"}),
    Answer("3.2-list-of-text", {"code": 200, "data": ["failed"]}),
    Answer("3.2-nothing", {}),
    Answer("lie-a-gateway-about-itself", {"status": "error", "message": "overloaded"}),
    Answer("lie-a-gateway-with-error", {"status": "failed", "error": {"message": "upstream"}}),
]
