"""Image files and archives that were made to do harm, or were damaged: refused in bounded time and memory."""

import io
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cnn_experiments.datamodules import dogs_vs_cats_files, photographs
from cnn_experiments.datamodules.dogs_vs_cats import DogsVsCats
from cnn_experiments.datamodules.dogs_vs_cats_files import find_photographs
from cnn_experiments.datamodules.photographs import FORMATS, UnusableImageError, read_photograph
from cnn_experiments.errors import UserError

ENDINGS = {"JPEG": ".jpg", "JPEG2000": ".jp2", "TIFF": ".tif"}
few = settings(
    max_examples=25, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
many = settings(few, max_examples=1000)


def encoded(format_name: str, mode: str = "RGB", **options: object) -> bytes:
    """A small image in a format, as bytes."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, format_name, **options)
    return content.getvalue()


SOUND = {name: encoded(name) for name in FORMATS} | {
    "grey TIFF": encoded("TIFF", "L"),
    "deflated TIFF": encoded("TIFF", "RGB", compression="tiff_adobe_deflate"),
    "CMYK": encoded("JPEG", "CMYK"),
    "progressive": encoded("JPEG", progressive=True),
    "palette": encoded("PNG", "P"),
    "transparent": encoded("WEBP", "RGBA"),
    "bits": encoded("PPM", "1"),
    "icon sizes": encoded("BMP", "L"),
}


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The content, with some bytes changed, removed, repeated or added."""
    damaged = bytearray(content)
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, max(0, len(damaged) - 1)))
        stretch = draw(st.integers(1, 16))
        match draw(st.sampled_from(["change", "remove", "repeat", "large number", "cut", "add"])):
            case "change":
                damaged[start : start + stretch] = draw(st.binary(min_size=stretch, max_size=stretch))
            case "remove":
                del damaged[start : start + stretch]
            case "repeat":
                damaged[start:start] = damaged[start : start + 64]
            case "large number":
                damaged[start : start + 4] = draw(st.sampled_from([b"\xff" * 4, b"\x7f" + b"\xff" * 3, bytes(4)]))
            case "cut":
                del damaged[start:]
            case "add":
                damaged += draw(st.binary(max_size=64))
    return bytes(damaged)


def read_or_refused(name: str, content: bytes) -> None:
    """Read an image; anything but an image or a refusal is an error."""
    with suppress(UnusableImageError):
        image = read_photograph(Path(name), content)
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert image.shape[0] * image.shape[1] <= photographs.MOST_PIXELS


class TestDamagedImages:
    @pytest.mark.parametrize("kind", SOUND)
    def test_sound_ones_are_read(self, kind: str) -> None:
        assert read_photograph(Path("x"), SOUND[kind]).shape == (24, 30, 3)

    @pytest.mark.parametrize("kind", SOUND)
    @few
    @given(data=st.data())
    def test_damaged_ones_are_images_or_refused(self, kind: str, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(["x", f"x{ENDINGS.get(kind, '.' + kind.lower())}"]))
        read_or_refused(name, data.draw(damaged(SOUND[kind])))

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", SOUND)
    @many
    @given(data=st.data())
    def test_a_thousand_damaged_ones(self, kind: str, data: st.DataObject) -> None:
        read_or_refused("x", data.draw(damaged(SOUND[kind])))

    @few
    @given(content=st.binary(max_size=400))
    def test_any_bytes(self, content: bytes) -> None:
        read_or_refused("x", content)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -5.0])
    def test_numbers_that_are_no_colours(self, value: float) -> None:
        content = io.BytesIO()
        Image.fromarray(np.full((8, 8), value, np.float32)).save(content, "TIFF")
        assert read_photograph(Path("x.tif"), content.getvalue()).shape == (8, 8, 3)

    def test_memory_and_time_are_bounded(self, tmp_path: Path) -> None:
        for number, content in enumerate([SOUND["PNG"], *bombs()]):
            (tmp_path / str(number)).write_bytes(content)
        code = (
            "import contextlib, pathlib, resource, sys\n"
            "from cnn_experiments.datamodules.photographs import UnusableImageError, read_photograph\n"
            "for file in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
            "    with contextlib.suppress(UnusableImageError):\n"
            "        print(file.name, read_photograph(file).shape)\n"
            "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
        )
        command = [sys.executable, "-c", code, str(tmp_path)]
        process = subprocess.run(command, capture_output=True, text=True, timeout=30)
        read, *peaks = process.stdout.splitlines()
        assert read == "0 (24, 30, 3)", process.stderr
        assert len(peaks) == 1 + len(bombs())
        assert int(peaks[-1]) - int(peaks[0]) < 100  # MiB


def bombs() -> list[bytes]:
    """Small files that say that they hold enormous images."""

    def png(width: int, height: int) -> bytes:
        def chunk(kind: bytes, content: bytes) -> bytes:
            return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        body = zlib.compress(bytes(10_000_000))
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")

    def gif(frames: int) -> bytes:
        content = io.BytesIO()
        pictures = [Image.new("L", (8, 8), shade % 256) for shade in range(2)]
        pictures[0].save(content, "GIF", save_all=True, append_images=pictures[1:])
        body = content.getvalue()
        return body[:-1] + body[-60:-1] * frames + b";"

    sof = SOUND["JPEG"].index(b"\xff\xc0")
    jpeg = SOUND["JPEG"][: sof + 5] + struct.pack(">HH", 65_000, 65_000) + SOUND["JPEG"][sof + 9 :]
    text = zlib.compress(bytes(200_000_000))
    note = b"comment\0\0" + text
    chunk = struct.pack(">I", len(note)) + b"zTXt" + note + struct.pack(">I", zlib.crc32(b"zTXt" + note))
    return [
        png(2**31 - 1, 2**31 - 1),
        png(100_000, 100_000),
        gif(200_000),
        jpeg,
        b"P6 99999 99999 255\n" + bytes(100),
        SOUND["PNG"][:33] + chunk + SOUND["PNG"][33:],
    ]


class TestRefusedUnread:
    def test_a_file_of_600_mb(self, photographs: Path) -> None:
        with (photographs / "cat.600.jpg").open("wb") as stream:
            stream.truncate(600_000_000)
        data = DogsVsCats(image_size=32)
        data.prepare()
        assert [(entry.file, entry.reason) for entry in data.set_aside] == [
            ("cat.600.jpg", "absurdly large: 600 MB"),
        ]
        with pytest.raises(UnusableImageError, match="600 MB"):
            data.read_image(photographs / "cat.600.jpg")

    def test_up_to_the_bounds_all_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "x.png").write_bytes(SOUND["PNG"])
        for bound, size in (("MOST_PIXELS", 24 * 30), ("MOST_BYTES", len(SOUND["PNG"]))):
            with monkeypatch.context() as patch:
                patch.setattr(photographs, bound, size)
                assert read_photograph(tmp_path / "x.png").shape == (24, 30, 3)
                patch.setattr(photographs, bound, size - 1)
                with pytest.raises(UnusableImageError, match="absurdly large"):
                    read_photograph(tmp_path / "x.png")

    @pytest.mark.parametrize("name", ["x.eps", "x.jpg", "x"])
    def test_no_other_program_is_started(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setattr(subprocess, "Popen", None)  # would fail with another error
        (tmp_path / name).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
        with pytest.raises(UnusableImageError, match=r"^no image \(of the formats AVIF, BMP, GIF, JPEG"):
            read_photograph(tmp_path / name)

    @pytest.mark.parametrize("brands", [b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1MiHEheic"])
    def test_what_phones_write(self, brands: bytes) -> None:
        with pytest.raises(UnusableImageError, match=r"^HEIC, which is not read: save it as JPEG$"):
            read_photograph(Path("x.heic"), b"\0\0\0\x18ftyp" + brands + bytes(100))

    @pytest.mark.parametrize("format_name", ["TGA", "ICO", "PCX", "SGI", "PDF"])
    def test_formats_that_are_not_on_the_list(self, format_name: str) -> None:
        with pytest.raises(UnusableImageError):
            read_photograph(Path("x"), encoded(format_name))

    def test_a_class_folder_of_such_files(self, tmp_path: Path) -> None:
        for label in ("cat", "dog"):
            (tmp_path / label).mkdir()
            (tmp_path / label / "x.eps").write_bytes(b"%!PS")
        with pytest.raises(UserError, match="has no images"):
            find_photographs(tmp_path, tmp_path / "data")


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write an archive of files by their names."""
    monkeypatch.setenv("CNN_EXPERIMENTS_DATA", str(tmp_path / "data"))

    def write(members: dict[str, bytes], name: str = "train.zip") -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as packed:
            for member, content in members.items():
                packed.writestr(member, content)
        return tmp_path / name

    return write


SMALL_ARCHIVE = {f"train/{label}.{number}.jpg": SOUND["JPEG"] for label in ("cat", "dog") for number in range(3)}


def outside(folder: Path) -> set[Path]:
    """The files below a folder that are not in the place for unpacked archives."""
    return {file for file in folder.rglob("*") if file.is_file() and "unpacked" not in file.parts}


class TestArchives:
    def test_a_member_larger_than_any_photograph(self, archive, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(dogs_vs_cats_files, "MOST_BYTES", 1_000_000)
        file = archive({**SMALL_ARCHIVE, "train/cat.600.jpg": bytes(1_000_001)})
        with pytest.raises(UserError, match=r"cat\.600\.jpg would take 1 MB, more than any photograph"):
            find_photographs(file, tmp_path / "data")
        assert not list((tmp_path / "data").rglob("*.jpg"))

    def test_an_archive_that_grows_beyond_measure(self, archive, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(dogs_vs_cats_files, "MUCH_ROOM", 10_000_000)
        file = archive({f"train/cat.{number}.jpg": bytes(1_000_000) for number in range(11)})
        with pytest.raises(UserError, match="more than 100 times its size"):
            find_photographs(file, tmp_path / "data")

    def test_an_archive_within_itself(self, archive, tmp_path: Path, monkeypatch) -> None:
        unpacked: list[Path] = []

        def unpack(file: Path, data_dir: Path) -> Path:
            unpacked.append(file)
            assert len(unpacked) < 100
            return tmp_path

        monkeypatch.setattr(dogs_vs_cats_files, "_unpacked", unpack)
        with pytest.raises(UserError, match="holds no photographs"):
            find_photographs(archive({}), tmp_path / "data")

    def test_a_size_that_is_not_the_true_one(self, archive, tmp_path: Path) -> None:
        file = archive({**SMALL_ARCHIVE, "train/cat.9.jpg": bytes(5_000_000)})
        content = file.read_bytes().replace(struct.pack("<I", 5_000_000), struct.pack("<I", 1000))
        file.write_bytes(content)
        with pytest.raises(UserError, match="no sound zip archive"):
            find_photographs(file, tmp_path / "data")
        assert sum(path.stat().st_size for path in (tmp_path / "data").rglob("*")) < 1_000_000

    @pytest.mark.parametrize("name", [".", "/", "train/" + "n" * 300 + ".jpg", "a\\..\\..\\b.jpg", "\x1b[2J.jpg"])
    def test_odd_names(self, archive, tmp_path: Path, name: str) -> None:
        file = archive({**SMALL_ARCHIVE, name: b"x"})
        before = outside(tmp_path)
        with suppress(UserError):
            find_photographs(file, tmp_path / "data")
        assert outside(tmp_path) == before

    def test_a_name_that_is_a_file_and_a_folder(self, archive, tmp_path: Path) -> None:
        file = archive({**SMALL_ARCHIVE, "train/cat.0.jpg/inner.jpg": b"x"})
        with pytest.raises(UserError, match="cannot unpack"):
            find_photographs(file, tmp_path / "data")

    @few
    @given(data=st.data())
    def test_damaged_archives(self, archive, tmp_path: Path, data: st.DataObject) -> None:
        self.damage(archive, tmp_path, data)

    @pytest.mark.slow
    @many
    @given(data=st.data())
    def test_a_thousand_damaged_archives(self, archive, tmp_path: Path, data: st.DataObject) -> None:
        self.damage(archive, tmp_path, data)

    def damage(self, archive, tmp_path: Path, data: st.DataObject) -> None:
        sound = archive(SMALL_ARCHIVE).read_bytes()
        file = tmp_path / "train.zip"
        file.write_bytes(data.draw(damaged(sound)))
        shutil.rmtree(tmp_path / "data", ignore_errors=True)  # each is unpacked, whatever its size
        before = outside(tmp_path)
        with suppress(UserError):
            folder, found = find_photographs(file, tmp_path / "data")
            assert all(photograph.path.is_relative_to(folder) for photograph in found)
        assert outside(tmp_path) == before
