"""``python -m airflow_provider_apimart.emulator``: an APIMart on loopback, until it is interrupted."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_apimart.emulator import server
from airflow_provider_apimart.emulator.state.settings import DAY_SECONDS, DEFAULT_KEY, EmulatorSettings

if TYPE_CHECKING:
    import uvicorn


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = argparse.ArgumentParser(prog="python -m airflow_provider_apimart.emulator", description=__doc__)
    add = parse.add_argument
    add("--host", default=server.HOST, help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8808, help="port; 0 takes a free one (default: %(default)s)")
    add("--job-seconds", type=float, default=20.0, help="how long a generation takes (default: %(default)s)")
    add("--vary-jobs", action="store_true", help="stretch each job by up to 30 %%, fixed by its id")
    add("--state", type=Path, help="SQLite file that keeps everything (default: memory)")
    add("--no-media-cache", action="store_true", help="do not keep the videos beside the state file")
    add("--api-key", action="append", dest="api_keys", help=f"a key to let in; repeatable (default: {DEFAULT_KEY})")
    add("--any-key", action="store_true", help='let every key in that does not start with "bad"')
    add("--balance", type=Decimal, default=Decimal(100), help="the account's dollars (default: %(default)s)")
    add("--balance-floor", type=Decimal, default=Decimal("0.05"), help="below it all is a 402 (default: %(default)s)")
    add("--key-quota", type=Decimal, help="dollars that each key may spend (default: the account's balance)")
    add("--unlimited-key", action="store_true", help="keys without a quota: their balance says -1")
    add("--url-ttl-seconds", type=float, default=DAY_SECONDS, help="life of a video's URL (default: %(default)s)")
    add("--renew-urls", action="store_true", help="a task whose URL expired gives a new one when asked for")
    add("--ignore-idempotency", action="store_true", help="behave as if Idempotency-Key meant nothing")
    add("--idempotency-ttl-seconds", type=float, default=DAY_SECONDS, help="memory of keys (default: %(default)s)")
    add("--split-samples", action="store_true", help="sample_count > 1 gives several entries of `videos`")
    add(
        "--model-retired",
        action="append",
        dest="retired_models",
        metavar="ID[=fails]",
        help="a model that is no longer available: refused, or (=fails) accepted and failed; repeatable",
    )
    add("--processing-seconds", type=float, default=5.0, help="YouTube's and Instagram's work (default: %(default)s)")
    add("--listing-seconds", type=float, default=0.0, help="until YouTube lists an upload (default: %(default)s)")
    add("--youtube-token-seconds", type=float, default=3600.0, help="life of an access token (default: %(default)s)")
    add("--latency-ms", type=float, default=0.0, help="wait before every answer (default: %(default)s)")
    add("--public-url", help="base of the URLs that are handed out (default: the request's host)")
    add("--end-with-stdin", action="store_true", help="stop when standard input closes, as when the parent has died")
    return parse


def _watch_stdin(running: uvicorn.Server) -> None:
    # sys.stdin is not used: a waiting thread would hold its lock, and that makes the interpreter crash at exit.
    while os.read(0, 4096):
        continue
    running.should_exit = True


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM, and return the exit code."""
    given = vars(parser().parse_args(argv))
    host, port, end_with_stdin = (given.pop(name) for name in ("host", "port", "end_with_stdin"))
    given["balance_usd"], given["key_quota_usd"] = given.pop("balance"), given.pop("key_quota")
    given["balance_floor_usd"] = given.pop("balance_floor")
    given["media_cache"] = not given.pop("no_media_cache")
    given["retired_models"] = tuple(given["retired_models"] or ())
    given["api_keys"] = tuple(given["api_keys"] or (DEFAULT_KEY,))
    try:
        sock = server.open_socket(host, port)
    except OSError as error:
        print(f"cannot listen on {host}:{port}: {error.strerror}", file=sys.stderr)
        return 1
    with sock:
        try:
            running = server.make_server(EmulatorSettings(**given), host, port)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
        shown = f"[{host}]" if ":" in host else host
        print(f"APIMart emulator on http://{shown}:{sock.getsockname()[1]}", flush=True)
        if end_with_stdin:
            threading.Thread(target=_watch_stdin, args=(running,), daemon=True).start()
        # When it is done, uvicorn raises the signal that stopped it once more. A requested stop is not a failure.
        signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            running.run([sock])
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
