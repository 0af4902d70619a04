"""What a task has read and made: told to Airflow as asset events, and kept for OpenLineage.

An asset event's ``extra`` is neither masked nor encrypted, and goes to whoever may read assets. So it holds no secret
and no signed URL, and has fewer than 2,000 bytes for each video.

Nothing here decides anything, so an error here fails no task.
"""

from __future__ import annotations

import json
import logging
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.providers.common.compat.sdk import Asset, AssetAlias

from airflow_provider_apimart.client.model_rules import FRAME_FIELDS
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.purchase.record import LandedVideo, Record
from airflow_provider_apimart.hooks.storage.paths import storage_path
from airflow_provider_apimart.storage.naming import AZURE, DatasetName, dataset_name

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_apimart.media.sidecar import Output as MediaOutput

log = logging.getLogger(__name__)

#: How much of a prompt an event tells.
MAX_PROMPT_BYTES = 400
#: Longer URIs are left out: S3 takes keys of 1,024 bytes.
MAX_URI_BYTES = 600
#: Ids of generations that one OpenLineage event lists.
MAX_IDS = 100
#: Generations, and files that another one was made of, that an asset event lists.
MAX_SOURCES = 5


@dataclass(frozen=True)
class Output:
    """Something that a task has written.

    :param rows: of a table; ``None`` for what has no rows.
    :param files: how many files it is.
    """

    name: DatasetName
    bytes: int | None = None
    rows: int | None = None
    files: int | None = None


@dataclass(frozen=True)
class Lineage:
    """What a task has read and made.

    :param facts: what the run's own facet tells of the generations, under its fields' names; empty if there are none.
    :param post: the same of a post.
    :param extra: of the event for each asset in the task's ``outlets``.
    :param items: for an asset alias: the asset of each thing that was made, with its event's extra.
    """

    inputs: tuple[DatasetName, ...] = ()
    outputs: tuple[Output, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    post: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    items: tuple[tuple[DatasetName, Mapping[str, Any]], ...] = ()


def tell_assets(task: Any, context: Mapping[str, Any] | Context, lineage: Lineage) -> None:
    """Write into the events of the task's outlets what was made. It never raises.

    An ``Asset`` gets one event, with everything in its extra. An ``AssetAlias`` gets an asset, with an event, for each
    thing that was made.
    """
    try:
        events: Any = context.get("outlet_events")
        for outlet in (task.outlets or ()) if events is not None else ():
            if isinstance(outlet, AssetAlias):
                for name, extra in lineage.items:
                    events[outlet].add(Asset(name.quoted_uri), extra=dict(extra))
            elif hasattr(outlet, "uri") or hasattr(outlet, "name"):
                events[outlet].extra.update(lineage.extra)
    except Exception:
        log.warning("The task's asset events do not say what was made.", exc_info=True)


def named(path: Any) -> DatasetName | None:
    """Return the name of a file, a folder or a URL; ``None`` for what is none."""
    text = str(path)
    account = None
    if text.partition("://")[0].lower() in AZURE:
        try:
            account = getattr(storage_path(text).fs, "account_name", None)
        except Exception as error:
            # Each storage back end raises its own errors. Without the account the name is only less exact.
            log.info("The storage account of %s is not known: %s", text, type(error).__name__)
    return dataset_name(text, account=account)


def inputs_of(paths: Iterable[Any]) -> tuple[DatasetName, ...]:
    """Return the names of the files that a task reads, without those that are not set."""
    found = [named(path) for path in paths if path is not None and str(path).strip()]
    return tuple(dict.fromkeys(name for name in found if name is not None))


# --- generations -----------------------------------------------------------------------------------------------------


def of_generation(record: Record, request: VeoRequest, landed: Sequence[LandedVideo], *, map_index: int) -> Lineage:
    """Return what a generation has read and made.

    :param landed: the videos in storage; empty if none was to be landed.
    """
    about = {
        "generation_id": record.generation_id,
        "model": record.model,
        "cost_usd": record.cost_usd,
        "prompt": _cut(request.prompt),
        "map_index": map_index,
    }
    files = [(name, video) for video in landed if (name := named(video.path)) is not None]
    videos = [_file(name, video.path, video.bytes, video.sha256) for name, video in files]
    frames = (getattr(request, name, None) for name in FRAME_FIELDS)
    return Lineage(
        inputs=inputs_of(frames),
        outputs=tuple(Output(name, bytes=video.bytes, files=1) for name, video in files),
        facts=generation_facts([record.generation_id or ""], [record.model], cost_usd=record.cost_usd),
        extra={**about, "videos": videos},
        items=tuple((name, {**about, "videos": [video]}) for (name, _), video in zip(files, videos, strict=True)),
    )


def generation_facts(
    ids: Sequence[str], models: Iterable[str], *, cost_usd: float | None = None, count: int | None = None
) -> dict[str, Any]:
    """Return what the run's own facet tells of generations.

    :param count: how many there are, if ``ids`` names only the first.
    """
    return {
        "generations": len(ids) if count is None else count,
        "generationIds": list(ids),
        "models": sorted(set(models)),
        "costUsd": cost_usd,
    }


@dataclass
class Tally:
    """What a batch has landed, counted for its lineage while the lines of its manifest are written."""

    videos: int = 0
    bytes: int = 0
    generations: int = 0
    ids: list[str] = field(default_factory=list)
    models: set[str] = field(default_factory=set)

    def over(self, lines: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the lines unchanged."""
        for line in lines:
            self._count(line)
            yield line

    def _count(self, line: Mapping[str, Any]) -> None:
        # (A reused row's video was made by another row or run.)
        if line["outcome"] != "landed":
            return
        self.generations += 1
        self.models.add(line["request"]["model"])
        if len(self.ids) < MAX_IDS:
            self.ids.append(line["generation_id"])
        self.videos += len(line["videos"])
        self.bytes += sum(video["bytes"] for video in line["videos"])


def of_batch(result: Mapping[str, Any], tally: Tally, *, map_index: int) -> Lineage:
    """Return what a batch has made: its manifest, and the folder of its videos beside it, however many there are.

    :param result: the operator's XCom.
    """
    extra = {**result, "map_index": map_index, "models": sorted(tally.models)[:MAX_IDS]}
    if result["manifest"] is None:
        # A dry run.
        return Lineage(extra=extra)
    manifest, videos = named(result["manifest"]), named(posixpath.dirname(result["manifest"]))
    outputs = [Output(manifest, rows=result["rows"], files=1)] if manifest else []
    if videos and tally.videos:
        outputs.append(Output(videos, bytes=tally.bytes, files=tally.videos))
    extra["uri"] = _short(manifest.uri) if manifest else None
    return Lineage(
        outputs=tuple(outputs),
        facts=generation_facts(tally.ids, tally.models, cost_usd=result["cost_usd"], count=tally.generations),
        extra=extra,
        items=((manifest, extra),) if manifest else (),
    )


# --- media -----------------------------------------------------------------------------------------------------------


def of_media(made: Sequence[tuple[str, MediaOutput]], *, generation_ids: Sequence[str] = (), map_index: int) -> Lineage:
    """Return what media work has read and made: videos, and pictures of them.

    :param made: each file with the name that the task's result gives it.
    :param generation_ids: the generations that it was made of, as far as they are known.
    """
    about = _about_media(generation_ids, map_index)
    told: list[tuple[DatasetName, str, dict[str, Any]]] = []
    for label, output in made:
        if (name := named(output.path)) is not None:
            entry = {"name": label, "kind": output.kind, **_file(name, output.path, output.bytes, output.sha256)}
            entry["made_of"] = [source.sha256 for source in output.made_of[:MAX_SOURCES]]
            told.append((name, "images" if output.has_audio is None else "videos", entry))
    extra: dict[str, Any] = {**about, "videos": [], "images": []}
    for _, kind, entry in told:
        extra[kind].append(entry)
    return Lineage(
        inputs=inputs_of(source.path for _, output in made for source in output.made_of),
        outputs=tuple(Output(name, bytes=entry["bytes"], files=1) for name, _, entry in told),
        extra=extra,
        items=tuple((name, {**about, "videos": [], "images": [], kind: [entry]}) for name, kind, entry in told),
    )


def of_check(result: Mapping[str, Any], *, generation_ids: Sequence[str] = (), map_index: int) -> Lineage:
    """Return what a check has read: the video, which an event of the task is about.

    :param result: the operator's XCom.
    """
    name = named(result["path"])
    if name is None:
        return Lineage()
    video = _file(name, result["path"], result["bytes"], result["sha256"])
    extra = {**_about_media(generation_ids, map_index), "verdict": result["verdict"], "videos": [video]}
    return Lineage(inputs=(name,), extra=extra, items=((name, extra),))


def _about_media(generation_ids: Sequence[str], map_index: int) -> dict[str, Any]:
    # One name for one generation, as elsewhere. Nothing is paid for media work.
    about: dict[str, Any] = {"generation_id": generation_ids[0] if len(generation_ids) == 1 else None}
    if len(generation_ids) > 1:
        about["generation_ids"] = list(generation_ids[:MAX_SOURCES])
    return {**about, "cost_usd": 0.0, "map_index": map_index}


# --- posts -----------------------------------------------------------------------------------------------------------


def of_post(result: Mapping[str, Any], *, map_index: int) -> Lineage:
    """Return what a publish operator has read and made.

    :param result: the operator's XCom.
    """
    video = result["video"]
    source = named(video["path"])
    target, account, post_id = (str(result[name]) for name in ("target", "account", "post_id"))
    # OpenLineage has no rule for posts. An account's id is the same for every tool that asks the target.
    post = DatasetName(f"{target}://{quote(account, safe='')}", post_id)
    told = {name: result[name] for name in ("target", "account", "post_id", "url", "state", "public_since")}
    extra = {**told, **video, "uri": _short(source.uri) if source else None, "map_index": map_index}
    return Lineage(
        inputs=(source,) if source else (),
        outputs=(Output(post),),
        post={
            "target": target,
            "account": account,
            "postId": post_id,
            "url": result["url"],
            "state": result["state"],
            "sha256": video["sha256"],
            "generationId": video["generation_id"],
        },
        extra=extra,
        items=((post, extra),),
    )


def _file(name: DatasetName, path: str, size: int | None, sha256: str) -> dict[str, Any]:
    return {"path": path, "uri": _short(name.uri), "bytes": size, "sha256": sha256}


def _short(uri: str) -> str | None:
    """Return a URI that leaves room for the path, which says the same and is needed to read the file."""
    return uri if len(uri.encode()) <= MAX_URI_BYTES else None


def _cut(prompt: str) -> str:
    """Return the beginning of a prompt that takes at most :data:`MAX_PROMPT_BYTES` of JSON."""
    text = prompt[:MAX_PROMPT_BYTES]
    while len(json.dumps(text, ensure_ascii=False).encode()) - 2 > MAX_PROMPT_BYTES - 3:
        text = text[: len(text) - max(1, len(text) // 20)]
    return text if text == prompt else f"{text}..."
