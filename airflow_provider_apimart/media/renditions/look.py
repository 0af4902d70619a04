"""What can be asked for: shapes, logo, captions, end card, sound. Values are checked before any work begins.

The models cross into the child process as JSON. Texts in them are data: they are drawn, and never become part of a
filter's arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.media.renditions.presets import PRESETS

Fit = Literal["pad", "crop", "blur"]
Position = Literal["top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right"]
#: x264's presets: how much work goes into the same quality in fewer bytes.
Effort = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"]
Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
_Even = Annotated[int, Field(ge=64, le=4096, multiple_of=2)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _from(key: str) -> BeforeValidator:
    """Take a plain text as the model's ``key``."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


class Shape(_Model):
    """One output: a preset, or a shape of your own.

    :param preset: a name of :data:`.PRESETS`. What is given besides it wins over it.
    :param name: what the output is called, in results and in its file's name; the preset's name if not given.
    :param width: in pixels, even.
    :param height: in pixels, even.
    :param fit: what happens if the video has another shape: ``pad`` it with bars of ``background``, ``crop`` it, or
        fill the bars with the ``blur`` of itself.
    :param background: ``#rrggbb``, of the bars.
    :param frame_rate: pictures a second; ``None`` keeps the video's, or the nearest that the preset allows.
    :param crf: x264's quality: lower is better and larger.
    :param effort: x264's preset.
    :param video_bitrate: never exceeded (in any second or two), in bits a second.
    :param audio_bitrate: in bits a second.
    """

    preset: str | None = None
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]{0,39}$")]
    width: _Even
    height: _Even
    fit: Fit = "pad"
    background: Colour = "#000000"
    frame_rate: Annotated[float, Field(ge=1, le=120)] | None = None
    crf: Annotated[float, Field(ge=0, le=51)] = 20
    effort: Effort = "medium"
    video_bitrate: Annotated[int, Field(ge=100_000, le=200_000_000)] = 12_000_000
    audio_bitrate: Annotated[int, Field(ge=32_000, le=512_000)] = 192_000

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"preset": value}
        if not isinstance(value, Mapping) or value.get("preset") is None:
            return value
        preset = PRESETS.get(value["preset"]) if isinstance(value["preset"], str) else None
        if preset is None:
            raise ValueError(f"one of {', '.join(PRESETS)}")
        known = {
            "name": value["preset"],
            "width": preset.width,
            "height": preset.height,
            "video_bitrate": preset.video_bitrate,
            "audio_bitrate": preset.audio_bitrate,
        }
        return {**known, **{key: given for key, given in value.items() if given is not None}}

    @model_validator(mode="after")
    def _within_preset(self) -> Shape:
        preset = PRESETS.get(self.preset or "")
        if preset is None:
            return self
        low, high = preset.frame_rate
        if self.frame_rate is not None and not low <= self.frame_rate <= high:
            raise ValueError(f"frame_rate {self.frame_rate:g}: {self.preset} takes {low:g} to {high:g} ({preset.page})")
        if self.video_bitrate > preset.video_bitrate:
            raise ValueError(f"video_bitrate {self.video_bitrate}: {self.preset} takes at most {preset.video_bitrate}")
        return self


class Logo(_Model):
    """A picture over the video.

    :param path: PNG, WebP or JPEG; its transparency is kept.
    :param width: as a share of the video's width.
    :param margin: to the edges, as a share of the shorter side.
    """

    path: str
    position: Position = "top-right"
    width: Annotated[float, Field(gt=0, le=1)] = 0.15
    margin: Annotated[float, Field(ge=0, le=0.4)] = 0.04
    opacity: Annotated[float, Field(gt=0, le=1)] = 1.0


class TextStyle(_Model):
    """How text is drawn.

    :param fonts: paths of TrueType or OpenType fonts. Each character is drawn with the first that has it; an emoji with
        the first colour font that has it. Empty: the worker's own fonts (Noto, DejaVu).
    :param size: of the letters, as a share of the video's shorter side.
    """

    fonts: tuple[str, ...] = ()
    size: Annotated[float, Field(ge=0.01, le=0.3)] = 0.05
    colour: Colour = "#ffffff"


#: A text of several hours; a file of captions may be longer.
MAX_CAPTION_CHARACTERS = 200_000
MAX_CUES = 20_000


class Captions(TextStyle):
    """Captions, from a file or a text.

    :param path: a file in UTF-8.
    :param text: the text itself, instead of a file: at most 200,000 characters and 20,000 captions.
    :param format: ``srt``, ``vtt`` (WebVTT) or ``text``, whose paragraphs share the video's time evenly. ``None`` goes
        by the file's suffix, or by what the text looks like.
    :param mode: ``burn`` them into the picture, or add them as a ``soft`` track that the viewer can turn off.
    :param language: of a soft track: three letters of ISO 639-2.
    :param margin: to the lower edge, as a share of the height.
    :param outline: ``#rrggbb``, around the letters.
    """

    path: str | None = None
    text: Annotated[str, Field(max_length=MAX_CAPTION_CHARACTERS)] | None = None
    format: Literal["srt", "vtt", "text"] | None = None
    mode: Literal["burn", "soft"] = "burn"
    language: Annotated[str, Field(pattern=r"^[a-z]{3}$")] = "und"
    margin: Annotated[float, Field(ge=0, le=0.4)] = 0.08
    outline: Colour = "#000000"

    @field_validator("text")
    @classmethod
    def _not_too_many(cls, text: str | None) -> str | None:
        # Each caption has an arrow between its times, or is a paragraph.
        count = 0 if text is None else max(text.count("-->"), sum(1 for part in text.split("\n\n") if part.strip()))
        if count > MAX_CUES:
            raise ValueError(f"{count} captions; at most {MAX_CUES}")
        return text

    @model_validator(mode="after")
    def _one_source(self) -> Captions:
        if (self.path is None) == (self.text is None):
            raise ValueError("either path or text")
        return self


class EndCard(TextStyle):
    """A still after the video.

    :param path: a picture that is fitted into the shape; ``text`` is drawn over it.
    :param background: ``#rrggbb``.
    """

    path: str | None = None
    text: Annotated[str, Field(max_length=2_000)] | None = None
    seconds: Annotated[float, Field(gt=0, le=60)] = 2.0
    size: Annotated[float, Field(ge=0.01, le=0.3)] = 0.08
    background: Colour = "#000000"

    @model_validator(mode="after")
    def _something(self) -> EndCard:
        if self.path is None and not (self.text or "").strip():
            raise ValueError("path, text, or both")
        return self


class Music(_Model):
    """A music bed under the video's own sound.

    :param path: any sound file. It is repeated if it is shorter than the video.
    :param volume_db: added to the music's own level.
    :param ducking: whether the music becomes quieter while the video's own sound is heard.
    :param fade_seconds: at the end.
    """

    path: str
    volume_db: Annotated[float, Field(ge=-60, le=12)] = -12.0
    ducking: bool = True
    fade_seconds: Annotated[float, Field(ge=0, le=30)] = 1.5


class Loudness(_Model):
    """The loudness of the whole, by EBU R128.

    :param lufs: integrated. Networks bring videos to about -14.
    :param true_peak_db: never exceeded, in dBTP.
    """

    lufs: Annotated[float, Field(ge=-40, le=-5)] = -14.0
    true_peak_db: Annotated[float, Field(ge=-9, le=0)] = -1.0


def _loudness(value: Any) -> Any:
    # A template renders a number to text.
    return {"lufs": value} if isinstance(value, int | float | str) and not isinstance(value, bool) else value


class Look(_Model):
    """Everything that all outputs share. A plain text stands for a logo's, a caption file's or a music's path, and for
    an end card's text; a number for the loudness in LUFS.
    """

    logo: Annotated[Logo | None, _from("path")] = None
    captions: Annotated[Captions | None, _from("path")] = None
    end_card: Annotated[EndCard | None, _from("text")] = None
    music: Annotated[Music | None, _from("path")] = None
    loudness: Annotated[Loudness | None, BeforeValidator(_loudness)] = None


class Wanted(_Model):
    """What to make of one video."""

    shapes: Annotated[tuple[Shape, ...], Field(min_length=1, max_length=12)]
    look: Look = Look()

    @model_validator(mode="after")
    def _names_differ(self) -> Wanted:
        names = [shape.name for shape in self.shapes]
        if len(set(names)) < len(names):
            raise ValueError(f"each output its own name; these are {', '.join(names)}")
        return self


def wanted(shapes: Any, **look: Any) -> tuple[Wanted | None, list[FieldProblem]]:
    """Check what is asked for, and return it, or everything that is wrong with it.

    :param shapes: presets and shapes of your own: a name, a mapping, or a list of them.
    :param look: the fields of :class:`Look`; ``None`` leaves one out.
    """
    many = list(shapes) if isinstance(shapes, list | tuple) else [shapes]
    given = {name: value for name, value in look.items() if value is not None}
    try:
        return Wanted.model_validate({"shapes": many, "look": given}), []
    except ValidationError as error:
        # A shape that is wrong is counted as missing too.
        found = [each for each in error.errors(include_url=False) if not (many and each["type"] == "too_short")]
        return None, [_problem(dict(each)) for each in found]


def _problem(found: Mapping[str, Any]) -> FieldProblem:
    place = [part for part in found["loc"] if part != "look"]
    field = ".".join(str(part) for part in place) or "shapes"
    text = str(found["msg"]).removeprefix("Value error, ")
    return FieldProblem(field, found.get("input"), text)
