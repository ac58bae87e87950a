"""What the page and the server say to each other.

The page asks in JSON; the server answers in frames: the length of a header, the header as JSON, and arrays back to
back. What the page sends may come from anybody: its types, its ranges and its size are checked, and whatever is not
listed here is refused in a sentence.
"""

import base64
import binascii
import json
import math
import struct
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError
from torch import Tensor

from cnn_experiments.errors import UserError
from cnn_experiments.explorer.refusal import RefusalError
from cnn_experiments.runs.formats import cut, printable

DIGIT_SIDE = 28  # pixels of a drawing
MOST_BYTES_OF_TEXT = 2**16
MOST_BYTES_OF_UPLOAD = 20_000_000
MOST_BYTES_OF_HEADER = 2**12
ARRAY_TYPES = {"float32": np.float32, "uint8": np.uint8, "int32": np.int32}
ALIGNMENT = 4  # bytes

Id = Annotated[int, Field(strict=True, ge=0, le=2**53)]
Index = Annotated[int, Field(strict=True, ge=0, le=10_000_000)]
Pixels = Annotated[int, Field(strict=True, ge=1, le=10_000)]
Name = Annotated[str, Field(strict=True, min_length=1, max_length=200)]
Names = Annotated[list[Name], Field(max_length=300)]
Indices = Annotated[list[Index], Field(max_length=10_000)]
Place = Annotated[int, Field(strict=True, ge=-10_000, le=10_000)]


def _drawing(given: Any) -> Any:
    """The bytes of a drawing, from their base64."""
    if not isinstance(given, str):
        raise ValueError("give text in base64")
    try:
        content = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("this is no base64") from None
    if len(content) != DIGIT_SIDE**2:
        raise ValueError(f"{len(content)} bytes are no drawing of {DIGIT_SIDE}×{DIGIT_SIDE}")
    return content


class Strict(BaseModel):
    """Data with these keys and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TestImage(Strict):
    """One of the run's test images, by its number."""

    __test__ = False  # pytest would collect it by its name

    test: Index


class DrawnImage(Strict):
    """A drawing of 28×28 bytes, 255 for ink."""

    drawn: Annotated[bytes, BeforeValidator(_drawing)]


class UploadedImage(Strict):
    """A file that the page sent before, by the key that it got for it."""

    upload: Annotated[str, Field(strict=True, max_length=20)]


def _kind_of_image(given: Any) -> str | None:
    """Which kind of image a mapping says, by its key."""
    return next((key for key in ("test", "drawn", "upload") if isinstance(given, dict) and key in given), None)


AnyImage = Annotated[
    Annotated[TestImage, Tag("test")] | Annotated[DrawnImage, Tag("drawn")] | Annotated[UploadedImage, Tag("upload")],
    Discriminator(
        _kind_of_image,
        custom_error_type="image",
        custom_error_message='give {"test": number}, {"drawn": base64} or {"upload": key}',
    ),
]


class Off(Strict):
    """Maps of a layer that are switched off.

    Args:
        layer: its name.
        maps: their numbers, or ``all``.
        to: what they output instead.
    """

    layer: Name
    maps: Indices | Literal["all"]
    to: Literal["zero", "mean"] = "zero"

    def includes(self, layer: str, map: int) -> bool:
        """Whether a map is among these."""
        return layer == self.layer and (self.maps == "all" or map in self.maps)


class Square(Strict):
    """A grey square over the network's input, in its pixels; it may reach beyond the edges."""

    top: Place
    left: Place
    side: Pixels


class Asked(Strict):
    """What every ask has."""

    id: Id


class Runs(Asked):
    """What is there to see."""

    ask: Literal["runs"]


class Stop(Asked):
    """Stop what is computed for asks of a name."""

    ask: Literal["stop"]
    kind: Name


class Situated(Asked):
    """An ask about a situation: a run, an image, and what has been done to both.

    Args:
        run: 0, or 1 for the second run.
        image: which image; None where the answer does not depend on it.
        off: what is switched off.
        epoch: after which epoch of the training; None for the weights that the run kept.
        square: what is hidden of the image.
        slot: where on the page the answer goes; asks for different places do not replace each other.
    """

    run: Annotated[int, Field(strict=True, ge=0, le=1)] = 0
    image: AnyImage | None = None
    off: Annotated[list[Off], Field(max_length=100)] = []
    epoch: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] | None = None
    square: Square | None = None
    slot: Annotated[str, Field(strict=True, max_length=20)] = ""


class Image(Situated):
    """The image as it was given and as the network gets it."""

    ask: Literal["image"]


class Look(Situated):
    """The answer of the network, and what some layers output."""

    ask: Literal["look"]
    layers: Names = []


class Fields(Situated):
    """What a value sees, in every layer on the way."""

    ask: Literal["fields"]
    layer: Name
    row: Index = 0
    column: Index = 0
    map: Index | None = None


class Value(Situated):
    """The arithmetic behind a value."""

    ask: Literal["value"]
    layer: Name
    map: Index
    row: Index = 0
    column: Index = 0


class Ranking(Situated):
    """Which single map the answer depends on most."""

    ask: Literal["ranking"]
    class_: Annotated[Index | None, Field(alias="class")] = None
    layers: Names | None = None
    to: Literal["zero", "mean"] = "zero"


class Heat(Situated):
    """The probability of a class with each part of the image hidden."""

    ask: Literal["heat"]
    class_: Annotated[Index | None, Field(alias="class")] = None
    side: Pixels | None = None
    stride: Pixels | None = None


class GradCam(Situated):
    """Which places of the image speak for a class."""

    ask: Literal["gradcam"]
    class_: Annotated[Index | None, Field(alias="class")] = None
    layer: Name | None = None


class Exciting(Situated):
    """The test images that excite the maps of a layer most."""

    ask: Literal["exciting"]
    layer: Name


class Thumbnails(Situated):
    """Small pictures of test images."""

    ask: Literal["thumbnails"]
    indices: Annotated[list[Index], Field(max_length=64)]


class Kernels(Situated):
    """The weights of a layer as pictures."""

    ask: Literal["kernels"]
    layer: Name
    maps: Annotated[Indices | None, Field(min_length=1)] = None


class Statistics(Situated):
    """What the layers' values and gradients are like over some test images."""

    ask: Literal["statistics"]
    layers: Names | None = None


class Upload(Asked):
    """A photograph; its bytes follow the header."""

    ask: Literal["upload"]
    run: Annotated[int, Field(strict=True, ge=0, le=1)] = 0
    content: bytes = b""


Ask = (
    Runs
    | Stop
    | Image
    | Look
    | Fields
    | Value
    | Ranking
    | Heat
    | GradCam
    | Exciting
    | Thumbnails
    | Kernels
    | Statistics
    | Upload
)
_ASK: TypeAdapter[Ask] = TypeAdapter(Annotated[Ask, Field(discriminator="ask")])


def read_text(text: str) -> Ask:
    """An ask that came as text.

    Raises:
        UserError: it is not JSON, or not an ask.
    """
    if len(text) > MOST_BYTES_OF_TEXT:
        raise UserError(f"a message of {len(text):,} letters: at most {MOST_BYTES_OF_TEXT:,} are read")
    ask = _checked(_json(text))
    if isinstance(ask, Upload):
        raise UserError("upload: send the file's bytes behind the header")
    return ask


def read_bytes(content: bytes) -> Ask:
    """An ask that came as bytes: a file, behind a header.

    Raises:
        UserError: it is not an upload, or too large.
    """
    if len(content) < 4:
        raise UserError("a message of fewer than 4 bytes has no header")
    (length,) = struct.unpack_from("<I", content)
    if length > min(MOST_BYTES_OF_HEADER, len(content) - 4):
        raise UserError(f"a header of {length:,} bytes: there are not so many, or it is too long")
    try:
        header = _json(content[4 : 4 + length].decode())
    except UnicodeDecodeError:
        raise UserError("the header is no text in UTF-8") from None
    if not isinstance(header, dict) or header.get("ask") != "upload":
        raise UserError("bytes are read with the ask upload alone")
    size = len(content) - 4 - length
    if size > MOST_BYTES_OF_UPLOAD:
        raise RefusalError("too_large", megabytes=MOST_BYTES_OF_UPLOAD // 10**6)
    return _checked({**header, "content": content[4 + length :]})


def id_of(message: str | bytes) -> int | None:
    """The id of a message that was refused, so that the page knows which; None where it cannot be told."""
    try:
        if isinstance(message, bytes):
            (length,) = struct.unpack_from("<I", message)
            message = message[4 : 4 + min(length, MOST_BYTES_OF_HEADER)].decode()
        content = _json(message[:MOST_BYTES_OF_TEXT])
    except (UserError, UnicodeDecodeError, struct.error):
        return None
    number = content.get("id") if isinstance(content, dict) else None
    return number if type(number) is int and 0 <= number <= 2**53 else None


def _json(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no number")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise UserError(f"a message that is no JSON ({_one_line(str(error))})") from None


def _checked(content: Any) -> Ask:
    try:
        return _ASK.validate_python(content)
    except (ValidationError, RecursionError) as error:
        raise UserError(_sentence(error)) from None


def _sentence(error: ValidationError | RecursionError) -> str:
    """What is wrong with an ask, in a sentence; of several things the first."""
    if isinstance(error, RecursionError):
        return "a message that is nested too deeply"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    return _one_line(f"{where}: {reason}" if where else f"a message that is no ask: {reason}")


def _one_line(text: str) -> str:
    return cut(printable(text), 300)


def frame(header: Mapping[str, Any]) -> bytes:
    """A header and the arrays in it as one message.

    Args:
        header: plain values, and arrays or tensors of the `ARRAY_TYPES` anywhere in it. Numbers that are not finite
            become null.
    """
    arrays: list[NDArray[Any]] = []
    offset = 0

    def plain(value: Any) -> Any:
        nonlocal offset
        if isinstance(value, Tensor):
            value = value.detach().cpu().numpy()
        if isinstance(value, np.ndarray):
            kind = value.dtype.name
            if kind not in ARRAY_TYPES:
                raise TypeError(f"an array of {kind} cannot be sent")
            arrays.append(np.ascontiguousarray(value))
            place = [offset, kind, list(value.shape)]
            offset += _padded(value.nbytes)
            return {"array": place}
        if isinstance(value, Mapping):
            return {str(key): plain(part) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(part) for part in value]
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value

    text = json.dumps(plain(header), separators=(",", ":"), allow_nan=False).encode()
    parts = [struct.pack("<I", len(text)), text, bytes(_padded(len(text) + 4) - len(text) - 4)]
    for array in arrays:
        parts += [array.tobytes(), bytes(_padded(array.nbytes) - array.nbytes)]
    return b"".join(parts)


def _padded(size: int) -> int:
    """A size in bytes up to the next multiple of 4."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def read_frame(content: bytes) -> dict[str, Any]:
    """The header of a `frame`, with its arrays in their places; for programs and tests that ask in the page's stead."""
    (length,) = struct.unpack_from("<I", content)
    start = _padded(length + 4)

    def whole(value: Any) -> Any:
        if isinstance(value, dict) and set(value) == {"array"}:
            offset, kind, shape = value["array"]
            number = math.prod(shape)
            return np.frombuffer(content, ARRAY_TYPES[kind], number, start + offset).reshape(shape)
        if isinstance(value, dict):
            return {key: whole(part) for key, part in value.items()}
        return [whole(part) for part in value] if isinstance(value, list) else value

    header: dict[str, Any] = whole(json.loads(content[4 : 4 + length]))
    return header
