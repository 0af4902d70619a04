"""Signs with c2pa-python. Runs in the child process: the library is native code that reads hostile bytes.

What a file was made of is signed first where it has no manifest of its own, into unnamed files, so that the whole
history is in the manifest of the last one. Nothing is fetched from the network, except a timestamp if one is asked for.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import c2pa
from PIL import Image

from airflow_provider_apimart.media.errors import BadInput, Refused, Unavailable
from airflow_provider_apimart.media.provenance.manifest import manifest_of, relationships
from airflow_provider_apimart.media.provenance.marking import Format, format_of, has_credentials, mark
from airflow_provider_apimart.media.provenance.pieces import How, Piece, SourceType
from airflow_provider_apimart.media.provenance.xmp import properties

#: A file from outside may name an address for its manifest. Nothing is asked there.
SETTINGS: dict[str, Any] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": True},
    "builder": {"thumbnail": {"enabled": False}},
    "core": {"backing_store_memory_threshold_in_mb": 16},
}


class Signatory:
    """Signs the outputs of one job.

    :param settings: as from :meth:`.SignerSettings.private`.
    :param software: ``name`` and ``version`` of what signs.
    :param inputs: the job's files.
    """

    def __init__(self, settings: dict[str, Any], software: dict[str, str], inputs: Sequence[str]) -> None:
        self._software = software
        self._inputs = inputs
        self._context = c2pa.Context.from_dict(SETTINGS)
        self._settings = settings
        self._signer = _signer(settings)

    def sign(self, piece: Piece, sink: BinaryIO) -> None:
        """Write a file with properties in its XMP, and a manifest.

        :raises BadInput: if a file is to blame.
        :raises Refused: if the certificate is.
        :raises Unavailable: if the timestamp authority is.
        """
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(open(self._inputs[piece.file_number], "rb"))
            kind = self._format(source, piece)
            told = properties(piece)
            marked: BinaryIO = source
            if told:
                marked = cast(BinaryIO, stack.enter_context(tempfile.TemporaryFile()))
                try:
                    mark(source, marked, kind, told)
                except ValueError as error:
                    raise BadInput(piece.file_number, str(error)) from None
            self._signed(piece, source, marked, kind, sink)

    def sample(self) -> dict[str, Any]:
        """Sign a small image, read it back, and return ``state`` and ``codes`` of its validation.

        :raises Refused: if it cannot be signed.
        :raises Unavailable: if only the timestamp cannot be had.
        """
        try:
            return self._sample(self._signer)
        except c2pa.C2paError as error:
            self._blame_timestamps(error)
            raise Refused(f"nothing can be signed with this certificate: {error}") from None

    def _blame_timestamps(self, error: c2pa.C2paError) -> None:
        url = self._settings["timestamp_url"]
        if not url:
            return
        try:
            self._sample(_signer({**self._settings, "timestamp_url": None}))
        except c2pa.C2paError:
            return
        raise Unavailable(f"the timestamp authority {urlsplit(url).hostname} gave no timestamp: {error}") from None

    def _sample(self, signer: c2pa.Signer) -> dict[str, Any]:
        piece = Piece(input=0, title="sample.jpg", how=How.UNKNOWN, source_type=SourceType.ALGORITHMIC)
        definition = manifest_of(piece, self._software, (), has_credentials=False)
        unsigned, signed = io.BytesIO(), io.BytesIO()
        Image.new("L", (8, 8)).save(unsigned, format="JPEG")
        unsigned.seek(0)
        with c2pa.Builder(definition, context=self._context) as builder:
            builder.sign(signer, Format.JPEG.value, unsigned, signed)
        signed.seek(0)
        with c2pa.Reader(Format.JPEG.value, signed, context=self._context) as reader:
            results = (reader.get_validation_results() or {}).get("activeManifest", {})
            codes = [each["code"] for each in results.get("failure", [])]
            return {"state": reader.get_validation_state(), "codes": codes}

    def _signed(self, piece: Piece, source: BinaryIO, marked: BinaryIO, kind: Format, sink: BinaryIO) -> None:
        """Sign ``marked``, which shows the same as ``source``, into ``sink``."""
        own = self._has_credentials(source, piece, kind)
        with contextlib.ExitStack() as stack:
            related = relationships(piece, has_credentials=own)
            labels = [(f"ingredient-{number}", relationship) for number, (_, relationship) in enumerate(related)]
            definition = manifest_of(piece, self._software, labels, has_credentials=own)
            try:
                builder = stack.enter_context(c2pa.Builder(definition, context=self._context))
            except c2pa.C2paError as error:
                raise Refused(f"C2PA does not accept the manifest: {error}") from None
            for (ingredient, relationship), (label, _) in zip(related, labels, strict=True):
                with self._ingredient(ingredient, as_is=own) as (file, media_type):
                    about = {"title": ingredient.title, "relationship": relationship, "label": label}
                    try:
                        builder.add_ingredient(about, media_type, file)
                    except c2pa.C2paError as error:
                        raise BadInput(ingredient.file_number, f"C2PA cannot read it: {error}") from None
            marked.seek(0)
            try:
                builder.sign(self._signer, kind.value, marked, sink)
            except c2pa.C2paError as error:
                self.sample()  # It raises if the certificate or the timestamp authority is to blame.
                raise BadInput(piece.file_number, f"it cannot be signed: {error}") from None

    @contextlib.contextmanager
    def _ingredient(self, piece: Piece, *, as_is: bool) -> Any:
        """Open an ingredient, signed if there is something to say about it that it does not say by itself."""
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(open(self._inputs[piece.file_number], "rb"))
            kind = format_of(source)
            source.seek(0)
            if kind is None:
                yield source, "application/octet-stream"
                return
            if as_is or piece.kind is None or self._has_credentials(source, piece, kind):
                source.seek(0)
                yield source, kind.value
                return
            signed = cast(BinaryIO, stack.enter_context(tempfile.TemporaryFile()))
            self._signed(piece, source, source, kind, signed)
            signed.seek(0)
            yield signed, kind.value

    @staticmethod
    def _format(source: BinaryIO, piece: Piece) -> Format:
        kind = format_of(source)
        if kind is None:
            raise BadInput(piece.file_number, "it is none of MP4, MOV, JPEG, WebP and PNG")
        return kind

    @staticmethod
    def _has_credentials(source: BinaryIO, piece: Piece, kind: Format) -> bool:
        try:
            return has_credentials(source, kind)
        except ValueError as error:
            raise BadInput(piece.file_number, str(error)) from None


def _signer(settings: dict[str, Any]) -> c2pa.Signer:
    url = settings["timestamp_url"]
    try:
        return c2pa.Signer.from_info(
            c2pa.C2paSignerInfo(
                alg=settings["algorithm"].encode(),
                sign_cert=settings["certificates"].encode(),
                private_key=settings["private_key"].encode(),
                ta_url=url.encode() if url else None,
            )
        )
    except c2pa.C2paError as error:
        raise Refused(f"C2PA does not accept the certificate or its key: {error}") from None
