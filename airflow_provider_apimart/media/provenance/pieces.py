"""What a file is, and what it was made of: a tree whose leaves are generated videos and files of the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

#: More are no video that anybody cut by hand; each needs its file on this machine.
MAX_PIECES = 200
MAX_DEPTH = 8
_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"


class SourceType(StrEnum):
    """IPTC's terms for how content came to be, those that fit here: https://cv.iptc.org/newscodes/digitalsourcetype/."""

    TRAINED = "trainedAlgorithmicMedia"
    COMPOSITE = "compositeWithTrainedAlgorithmicMedia"
    ALGORITHMIC = "algorithmicMedia"

    @property
    def uri(self) -> str:
        """The term as C2PA and XMP write it."""
        return f"{_IPTC}{self.value}"


class How(StrEnum):
    """How a file came to be."""

    #: By a model; :attr:`Piece.generated` says by which.
    GENERATED = "generated"
    #: Of its first piece, with the others put in: a rendition.
    DERIVED = "derived"
    #: Of its first piece: an image of a video.
    CONVERTED = "converted"
    #: Of all its pieces.
    JOINED = "joined"
    #: Nobody knows.
    UNKNOWN = "unknown"


class Generated(BaseModel):
    """A paid generation.

    :param model: as it was asked for, such as ``veo3.1-fast``.
    :param provider: who ran the model.
    :param created_at: when it was completed: ISO 8601 in UTC.
    :param prompt: only if the user wants it told.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    provider: str
    generation_id: str | None = None
    created_at: str | None = None
    prompt: str | None = None


class Piece(BaseModel):
    """A file and its history.

    :param input: which of the job's inputs it is, counted from 0; ``None`` if the job does not need the file.
    :param title: its name, without any folder.
    :param made_of: see :class:`How`; the order counts.
    :param source_type: what the user says about a file whose history nobody knows.
    """

    model_config = ConfigDict(frozen=True)

    input: int | None = None
    title: str
    how: How
    generated: Generated | None = None
    made_of: tuple[Piece, ...] = ()
    source_type: SourceType | None = None

    @property
    def kind(self) -> SourceType | None:
        """How the content came to be; ``None`` if nobody knows."""
        if self.source_type is not None:
            return self.source_type
        if self.how is How.GENERATED:
            return SourceType.TRAINED
        kinds = {piece.kind for piece in self.made_of}
        if kinds <= {None}:
            return None
        return kinds.pop() if len(kinds) == 1 else SourceType.COMPOSITE

    @property
    def file_number(self) -> int:
        """Which of the job's inputs it is.

        :raises ValueError: if it is none of them.
        """
        if self.input is None:
            raise ValueError(f"the file of {self.title} is needed, and is not there")
        return self.input

    def without_files(self) -> Piece:
        """Return the same history, for a file whose own manifest tells it: the other files are not needed."""
        pieces = tuple(piece.without_files() for piece in self.made_of)
        return self.model_copy(update={"input": None, "made_of": pieces})

    def without_prompts(self) -> Piece:
        """Return the same history with no prompt in it."""
        generated = self.generated and self.generated.model_copy(update={"prompt": None})
        pieces = tuple(piece.without_prompts() for piece in self.made_of)
        return self.model_copy(update={"generated": generated, "made_of": pieces})

    def generations(self) -> Iterator[Generated]:
        """Yield every generation in it, in order."""
        if self.generated is not None:
            yield self.generated
        for piece in self.made_of:
            yield from piece.generations()
