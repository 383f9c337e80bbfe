"""Archives: every member is handed out once, and none of the known tricks costs memory, disk or time."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from images.archive import ArchiveLimits, ArchiveTooLarge, BrokenArchive, unpack_here
from images.unpack import unpack

LIMITS = ArchiveLimits(max_files=100, max_bytes=1_000_000, max_file_bytes=200_000)


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def targz(files: dict[str, bytes]) -> bytes:
    return tarred(files, "w:gz")


@pytest.fixture(autouse=True, params=[unpack_here, unpack], ids=["here", "in a helper"])
def opener(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything holds wherever an archive is opened, to the word."""
    monkeypatch.setattr(Opened, "unpack", staticmethod(request.param))


class Opened:
    """What unpacking gave: contents by name, refusals by name."""

    unpack = staticmethod(unpack)

    def __init__(self, folder: Path, data: bytes, limits: ArchiveLimits = LIMITS) -> None:
        source, target = folder / "archive", folder / "member"
        source.write_bytes(data)
        self.files: dict[str, bytes] = {}
        self.refused: dict[str, str] = {}
        for member in self.unpack(source, target, limits):
            if member.refused is None:
                self.files[member.name] = target.read_bytes()
                assert member.size == len(self.files[member.name])
            else:
                self.refused[member.name] = member.refused


@pytest.mark.parametrize("pack", [zipped, tarred, targz])
def test_every_file_comes_out(pack: Callable[[dict[str, bytes]], bytes], tmp_path: Path) -> None:
    files = {"a.png": b"one", "deep/er/b.tif": b"two" * 9999, "ü ö.png": b"3"}
    assert Opened(tmp_path, pack({**files, ".DS_Store": b"x", "__MACOSX/a.png": b"x"})).files == files


@pytest.mark.parametrize("pack", [zipped, tarred, targz])
def test_names_are_never_paths(pack: Callable[[dict[str, bytes]], bytes], tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    opened = Opened(inner, pack({"../out.png": b"x", "/etc/out.png": b"x", "C:\\out.png": b"x", "a/../../b": b"x"}))
    assert opened.files == {}
    assert set(opened.refused.values()) == {"its name leads out of the archive"}
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            entry = tarfile.TarInfo(f"kind-{kind.decode()}")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    assert len(Opened(tmp_path, buffer.getvalue()).refused) == 4
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zip_archive:
        zip_archive.writestr(link, "/etc/passwd")
    assert list(Opened(tmp_path, buffer.getvalue()).refused) == ["link"]


def test_archives_in_archives_stay_closed(tmp_path: Path) -> None:
    opened = Opened(tmp_path, zipped({"inner.zip": zipped({"a": b"x"}), "b.tar.gz": targz({"a": b"x"}), "c": b"ok"}))
    assert set(opened.refused) == {"inner.zip", "b.tar.gz"} and opened.files == {"c": b"ok"}


@pytest.mark.parametrize("pack", [zipped, targz])
def test_a_bomb_is_stopped_by_what_it_unpacks_to(pack: Callable[[dict[str, bytes]], bytes], tmp_path: Path) -> None:
    opened = Opened(tmp_path, pack({"bomb": bytes(900_000), "good": b"x"}))
    assert opened.files == {"good": b"x"} and "B2S_MAX_UPLOAD_BYTES" in opened.refused["bomb"]
    many = pack({f"part-{number}": bytes(190_000) for number in range(90)})
    assert len(many) < 50_000
    with pytest.raises(ArchiveTooLarge, match="B2S_MAX_SET_BYTES"):
        Opened(tmp_path, many)


@pytest.mark.parametrize("pack", [zipped, tarred, targz])
def test_too_many_files_are_named_with_the_setting(pack: Callable[[dict[str, bytes]], bytes], tmp_path: Path) -> None:
    with pytest.raises(ArchiveTooLarge, match="B2S_MAX_SET_IMAGES"):
        Opened(tmp_path, pack({f"{number}": b"x" for number in range(101)}))


def test_a_huge_directory_is_not_even_read(tmp_path: Path) -> None:
    """The directory says that it has so many bytes: zipfile would take several times that of memory."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    directory = entry * 200_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 200_000 % 65536, 200_000 % 65536, len(directory), 4, 0)
    data = b"PK\x03\x04" + directory + end
    tracemalloc.start()
    with pytest.raises(ArchiveTooLarge):
        Opened(tmp_path, data)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_tar_header_cannot_fill_the_memory(tmp_path: Path) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 1 << 33
    data = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(100_000))
    with pytest.raises(BrokenArchive, match="fill the memory"):
        Opened(tmp_path, data)


@pytest.mark.parametrize("pack", [zipped, tarred, targz])
def test_damage_is_told_and_never_crashes(pack: Callable[[dict[str, bytes]], bytes], tmp_path: Path) -> None:
    whole = pack({"a.png": bytes(range(256)) * 300, "b.png": bytes(range(255, -1, -1)) * 300})
    for end in range(0, len(whole), max(1, len(whole) // 40)):
        _opens_or_says_why(tmp_path, whole[:end])
    for at in range(0, len(whole), max(1, len(whole) // 60)):
        _opens_or_says_why(tmp_path, whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])


def _opens_or_says_why(folder: Path, data: bytes, limits: ArchiveLimits = LIMITS) -> None:
    try:
        Opened(folder, data, limits)
    except (BrokenArchive, ArchiveTooLarge) as error:
        assert str(error)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": b"secret"}, zipfile.ZIP_STORED))
    data[6] |= 1
    at = data.rindex(b"PK\x01\x02")
    data[at + 8] |= 1
    assert Opened(tmp_path, bytes(data)).refused == {"a": "it is encrypted"}


LARGE = ArchiveLimits(max_files=2_000, max_bytes=1 << 34, max_file_bytes=1 << 26)


def peak(folder: Path, data: bytes, limits: ArchiveLimits = LARGE) -> int:
    """Bytes that Python had at once while the archive was opened, or refused in words."""
    tracemalloc.start()
    try:
        _opens_or_says_why(folder, data, limits)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    """One header block of a tar."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, size
    return entry.tobuf(tarfile.GNU_FORMAT)


def member(kind: bytes, body: bytes, name: str = "x") -> bytes:
    return header(kind, len(body), name) + body + bytes(-len(body) % 512)


def pax(key: bytes, value: bytes) -> bytes:
    """One record of a pax header."""
    size = len(key) + len(value) + 3
    while len(str(size)) + len(key) + len(value) + 3 != size:
        size += 1
    return b"%d %s=%s\n" % (size, key, value)


GLOBAL, EXTENDED = tarfile.XGLTYPE, tarfile.XHDTYPE
FILE = member(tarfile.REGTYPE, b"x", "a.png")
TAR_BOMBS = {
    "values of global headers": [
        b"".join(member(GLOBAL, pax(b"k%d" % n, bytes(900_000))) + FILE for n in range(30)),
    ],
    "values of headers in a chain": [b"".join(member(EXTENDED, pax(b"k", bytes(60_000))) for _ in range(15)) * 20],
    "a long header": [header(EXTENDED, 1 << 33) + bytes(9_000_000)],
    "records in records": [member(EXTENDED, b"2 " * 300_000 + b"=") + FILE],
    "digits": [member(EXTENDED, b"1" * 900_000) + FILE, member(EXTENDED, pax(b"path", b"1" * 900_000)) + FILE],
    "long names in a chain": [member(tarfile.GNUTYPE_LONGNAME, b"n" * 4_000) * 2_000 + FILE],
    "a long name": [member(tarfile.GNUTYPE_LONGNAME, b"n" * 3_900_000) + FILE],
    "links in a chain": [member(tarfile.GNUTYPE_LONGLINK, b"n") * 200_000],
    "empty headers in a chain": [member(EXTENDED, b"") * 200_000, member(GLOBAL, b"") * 200_000],
    "a size without end": [member(EXTENDED, pax(b"size", b"9" * 5_000)) + FILE],
    "folders": [member(tarfile.DIRTYPE, b"", "d/") * 60_000],
    "hidden files": [member(tarfile.REGTYPE, b"", ".x") * 60_000],
    "holes": [
        header(tarfile.GNUTYPE_SPARSE, 9)[:482] + b"\1" + header(tarfile.GNUTYPE_SPARSE, 9)[483:] + b"\1" * 9_000_000,
        member(EXTENDED, pax(b"GNU.sparse.map", b"1," * 100_000)) + FILE,
        member(EXTENDED, pax(b"GNU.sparse.major", b"1") + pax(b"GNU.sparse.minor", b"0")) + FILE + b"1\n" * 4_000_000,
    ],
}


@pytest.mark.parametrize("kind", TAR_BOMBS)
def test_headers_of_a_tar_cost_little_memory(kind: str, tmp_path: Path) -> None:
    for data in TAR_BOMBS[kind]:
        assert peak(tmp_path, gzip.compress(data + bytes(1024), 1)) < 12_000_000


def test_a_pax_header_names_its_file_and_no_other(tmp_path: Path) -> None:
    data = member(GLOBAL, pax(b"path", b"global.png") + pax(b"comment", b"c" * 999))
    data += member(EXTENDED, pax(b"path", "ü/long.png".encode()) + pax(b"mtime", b"1.5")) + FILE + FILE
    opened = Opened(tmp_path, data + bytes(1024))
    assert opened.files == {"ü/long.png": b"x", "a.png": b"x"}


def test_a_pax_size_counts(tmp_path: Path) -> None:
    data = member(EXTENDED, pax(b"size", b"700")) + header(tarfile.REGTYPE, 0, "big") + b"y" * 700 + bytes(324) + FILE
    assert Opened(tmp_path, data + bytes(1024)).files == {"big": b"y" * 700, "a.png": b"x"}


def test_sparse_files_of_every_kind_are_refused(tmp_path: Path) -> None:
    data = member(EXTENDED, pax(b"GNU.sparse.major", b"1") + pax(b"GNU.sparse.minor", b"0")) + FILE + FILE
    opened = Opened(tmp_path, data + bytes(1024))
    assert opened.files == {"a.png": b"x"} or set(opened.refused) == {"a.png"}
    assert "sparse" in opened.refused["a.png"]


@pytest.mark.parametrize("said", [100, 0, 0xFFFFFFFF])
def test_a_zip64_record_behind_the_directory_bounds_nothing(said: int, tmp_path: Path) -> None:
    """The end record says that the directory is small, and the zip64 record in front of it says the truth."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, *[0] * 8, 1, *[0] * 6)
    entry += b"x"
    for count in (22_000, 400_000):
        data = b"PK\x03\x04" + bytes(27) + entry * count
        where, size = 31, len(entry) * count
        data += struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, where)
        data += struct.pack("<4sLQL", b"PK\x06\x07", 0, where + size, 1)
        data += struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, 1, 1, said, 0, 0)
        with pytest.raises(ArchiveTooLarge):
            Opened(tmp_path, data, LARGE)
        assert peak(tmp_path, data) < 8_000_000


def test_folders_of_a_zip_are_counted(tmp_path: Path) -> None:
    with pytest.raises(ArchiveTooLarge, match="B2S_MAX_SET_IMAGES"):
        Opened(tmp_path, zipped({f"{number}/": b"" for number in range(1_300)}))
    assert Opened(tmp_path, zipped({**{f"{number}/": b"" for number in range(1_000)}, "a.png": b"x"})).files


def test_one_bad_member_of_a_zip_is_no_verdict_on_the_others(tmp_path: Path) -> None:
    good = zipped({"a": b"one" * 100, "b": bytes(range(256)), "c": b"three" * 100})
    at = good.index(bytes(range(100)))
    for place in range(at - 30, at + 60):
        data = good[:place] + bytes([good[place] ^ 0x7F]) + good[place + 1 :]
        opened = Opened(tmp_path, data)
        assert set(opened.files) >= {"a", "c"}, place - at
