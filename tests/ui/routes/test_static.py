"""The pages' own files are for everybody, and nothing beside them is."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_apimart.ui.routes import static
from tests.ui.conftest import Client


def test_a_file_is_served_with_its_type_and_asked_for_again(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static, "FOLDER", tmp_path)
    (tmp_path / "video.js").write_text("globalThis.AirflowPlugin = 1")
    (tmp_path / "secrets.py").write_text("no")
    browser = client(None)
    answer = browser.get("/apimart/static/video.js")
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = browser.get("/apimart/static/video.js", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304 and not again.content
    for name in ("secrets.py", "..%2Fplugin.py", "%2e%2e/plugin.py", "nothing.js", "video.js%00"):
        assert browser.get(f"/apimart/static/{name}").status_code in (404, 403), name
