"""``VideoProvenanceOperator``: says in the file that a video was made by AI, and signs it."""

from __future__ import annotations

import importlib.util
import posixpath
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import airflow_provider_apimart
from airflow_provider_apimart.client.errors import ConfigurationError, FieldProblem, InvalidParameterError
from airflow_provider_apimart.hooks.c2pa import C2paSignerHook
from airflow_provider_apimart.media.provenance.pieces import How, Piece, SourceType
from airflow_provider_apimart.media.sidecar import Output
from airflow_provider_apimart.media.workshop import Order, Source, Wanted, make
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.media.base import MediaOperator, source_of
from airflow_provider_apimart.operators.media.origins import PROVENANCE, Origins
from airflow_provider_apimart.operators.videos import video_problems
from airflow_provider_apimart.storage.files import stored_sha256

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_apimart.media.provenance.signer import SignerSettings

#: Raised when the same file and facts are to give another mark.
WORK_VERSION = 1
_SOURCE_TYPES = tuple(str(each) for each in SourceType)
_POSTERS = "allowed: a list of paths or results of images that were made of the video, or None"


class VideoProvenanceOperator(MediaOperator):
    """Say in a video, and in its posters, that they were made by AI, so that software can read it.

    Without a signer it writes IPTC's properties into the file's XMP: ``DigitalSourceType``, ``AISystemUsed``, the
    generation's id. With one it also signs a C2PA manifest ("Content Credentials") with the same facts. What a
    rendition, a join or a poster was made of is in its manifest as an ingredient, with a manifest of its own, down to
    each generation. The facts come from the sidecars that landing and the other media operators write.

    Pictures and sound stay bit for bit as they are. The result is another file beside the first, or in
    ``output_path``; a retry that finds it whole keeps it, although a second signature would have other bytes. A file
    that came with a manifest keeps it: as an ingredient if it is signed, else it is copied as it is, because a change
    would break its signature.

    Needs the extra ``media``; with a signer ``provenance`` as well.

    Returns (XCom) ``{"kind": "provenance", "path", "bytes", "sha256", "width", "height", "duration_seconds",
    "has_audio", "fingerprint", "parameters", "made_of", "made_at", "videos": [...], "digital_source_type", "signed",
    "posters": [{...}]}``: whatever takes a generate task's output takes this. ``signed`` is false where only XMP was
    written.

    :param video: a landed video, a rendition or a join: another task's output, one of its ``videos``, a row of a
        batch's manifest, or an absolute path (text or ``ObjectStoragePath``).
    :param posters: images that were made of it, marked in the same way: paths or results of other tasks.
    :param signer_conn_id: the connection with the certificate and the key, of the type ``c2pa_signer``. ``None``: XMP
        only.
    :param tell_prompt: whether the prompts are told, too. Whoever gets the file can then read them.
    :param source_type: how the content came to be, for files of your own, of which no sidecar tells it:
        ``trainedAlgorithmicMedia``, ``compositeWithTrainedAlgorithmicMedia`` or ``algorithmicMedia``. ``None`` refuses
        such a file. What a sidecar tells goes first.
    :param sample: which of a generation's several videos, counted from 1; ``None`` if it has only one.
    :param output_path: a folder for what is made: a local path or any ``ObjectStoragePath``, with ``/`` at the end.
        ``None`` puts it beside the video. The files' names hold a fingerprint, so they never replace one another.
    :param time_limit: how long the work on one file may take: ``timedelta`` or seconds.
    :param memory_limit_mib: how much memory it may take, in MiB. Signing takes up to some 600 MiB for large files.
    """

    template_fields: Sequence[str] = (
        "video",
        "posters",
        "signer_conn_id",
        "tell_prompt",
        "source_type",
        "sample",
        *MediaOperator.template_fields,
    )
    object_fields: ClassVar[Collection[str]] = ("video", "posters")

    def __init__(
        self,
        *,
        video: Any,
        posters: Any = None,
        signer_conn_id: str | None = None,
        tell_prompt: bool = False,
        source_type: str | None = None,
        sample: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.video = video
        self.posters = posters
        self.signer_conn_id = signer_conn_id
        self.tell_prompt = tell_prompt
        self.source_type = source_type
        self.sample = sample
        self._refuse_literals()

    def _own_problems(self, check: arguments.Check) -> list[FieldProblem]:
        problems = self._one_video_problems(check, self.video, self.sample)
        problems += check(_posters_problems, "posters", self.posters)
        problems += check(_conn_problems, "signer_conn_id", self.signer_conn_id)
        problems += check(_flag_problems, "tell_prompt", self.tell_prompt)
        return problems + check(_source_type_problems, "source_type", self.source_type)

    def execute(self, context: Context) -> dict[str, Any]:
        """Mark or sign the video and its posters."""
        with self._work():
            # First of all: a certificate that cannot be used is told before anything is read.
            signer = self._signer()
            video = source_of(self.video, self.sample)
            posters = [source_of(poster, name="posters") for poster in _list_of(self.posters)]
            # All are looked up before the first is made.
            orders = [self._order(source, signer) for source in (video, *posters)]
            made = [make(order)[0] for order in orders]
        posters_made = {f"posters[{number}]": output for number, output in enumerate(made[1:])}
        self._tell_made(context, {"video": made[0], **posters_made})
        results = [self._result(order, output) for order, output in zip(orders, made, strict=True)]
        return {**results[0], "posters": results[1:]}

    def _signer(self) -> SignerSettings | None:
        if arguments.is_unset(self.signer_conn_id):
            return None
        require_provenance()
        return C2paSignerHook(str(self.signer_conn_id).strip()).signer()

    def _order(self, source: Source, signer: SignerSettings | None) -> Order:
        origins = Origins(signed=signer is not None, tell_prompt=_flag_of(self.tell_prompt))
        piece = self._known(source, origins.of(source.place, source.sha256 or stored_sha256(source.place)))
        parameters = {
            "piece": piece.model_dump(mode="json", exclude_none=True),
            "signer": signer.public() if signer else None,
        }
        software = {"name": "airflow-provider-apimart", "version": airflow_provider_apimart.__version__}
        return Order(
            job="provenance",
            version=WORK_VERSION,
            inputs=tuple(origins.sources),
            wanted=(
                Wanted(
                    kind=PROVENANCE,
                    name="signed" if signer else "marked",
                    suffix=posixpath.splitext(source.place.name)[1],
                    parameters=parameters,
                ),
            ),
            folder=self._folder(),
            private={"software": software, "signer": signer.private() if signer else None},
            **self._bounds(),
        )

    def _known(self, source: Source, piece: Piece) -> Piece:
        """Return the history of a file, after checking that somebody knows how its content came to be."""
        if piece.kind is not None:
            return piece
        if arguments.is_unset(self.source_type):
            raise InvalidParameterError(
                (
                    FieldProblem(
                        "source_type",
                        None,
                        f"no sidecar tells how {source.place.uri} was made, so nothing is said about it; give its "
                        f"source_type, one of {', '.join(_SOURCE_TYPES)}, or the path of a landed video or of what was "
                        "made of one",
                    ),
                )
            )
        said = SourceType(str(self.source_type).strip())
        return piece.model_copy(update={"how": How.UNKNOWN, "made_of": (), "source_type": said})

    def _result(self, order: Order, output: Output) -> dict[str, Any]:
        source, (wanted,) = order.inputs[0], order.wanted
        signed = wanted.parameters["signer"] is not None
        if not signed and output.sha256 == source.sha256:
            self.log.warning(
                "%s came with a C2PA manifest, which a change would break: %s is a copy of it as it is. To add to it, "
                "give a signer_conn_id.",
                source.place.uri,
                output.path,
            )
        piece = Piece.model_validate(wanted.parameters["piece"])
        return {**output.as_result(), "digital_source_type": str(piece.kind), "signed": signed}


def require_provenance() -> None:
    """Check that the extra ``provenance`` is installed, without loading it.

    :raises ConfigurationError: if it is not.
    """
    if importlib.util.find_spec("c2pa") is None:
        raise ConfigurationError(
            "signing needs c2pa-python, which the extra brings: "
            "pip install 'airflow-provider-apimart[media,provenance]'"
        )


# --- arguments --------------------------------------------------------------------------------------------------------


def _list_of(value: Any) -> list[Any]:
    found = arguments.from_json_text(value)
    if arguments.is_unset(found):
        return []
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _posters_problems(name: str, value: Any) -> list[FieldProblem]:
    try:
        posters = _list_of(value)
    except (ValueError, RecursionError):
        return [FieldProblem(name, value, _POSTERS)]
    return [problem for poster in posters for problem in video_problems(name, poster, None)]


def _conn_problems(name: str, value: Any) -> list[FieldProblem]:
    if value is None or isinstance(value, str):
        return []
    return [FieldProblem(name, value, "allowed: the id of a connection of the type c2pa_signer, or None for XMP only")]


def _source_type_problems(name: str, value: Any) -> list[FieldProblem]:
    if arguments.is_unset(value):
        return []
    return arguments.choice_problems(name, str(value).strip(), _SOURCE_TYPES)


def _flag_of(value: Any) -> bool:
    return value is True or str(value).strip().lower() == "true"


def _flag_problems(name: str, value: Any) -> list[FieldProblem]:
    if isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in ("true", "false")):
        return []
    return [FieldProblem(name, value, "allowed: True or False")]
