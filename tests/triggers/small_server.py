"""A small APIMart on loopback for many triggers, in a thread of its own: it counts connections and questions."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from types import TracebackType
from typing import Self


class SmallServer:
    """Answers every status request: at work for the first ``questions`` of a generation, then completed."""

    def __init__(self, questions: int = 1) -> None:
        self.after = questions
        self.connections = 0
        self.open_now = 0
        self.most_open = 0
        self.asked: Counter[str] = Counter()
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready, self._stop = threading.Event(), asyncio.Event()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.05)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                generation_id = head.split(b" ")[1].decode().partition("?")[0].rpartition("/")[2]
                self.asked[generation_id] += 1
                status = "completed" if self.asked[generation_id] > self.after else "processing"
                data = {"id": generation_id, "status": status, "progress": 50}
                if status == "completed":
                    data["result"] = {"videos": [{"url": ["http://127.0.0.1:9/a.mp4"]}]}
                body = json.dumps({"code": 200, "data": data}).encode()
                text = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(text.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open_now -= 1
            writer.close()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
