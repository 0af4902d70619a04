"""The harness's fixture, for all tests of the client."""

from __future__ import annotations

from tests.client.harness import both as both
