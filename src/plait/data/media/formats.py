"""Which pictures, sounds and films are known by their endings and first bytes, and which of them can be decoded here."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Mapping

KINDS = ("image", "audio", "video")

#: Formats of Pillow that it only names, that start another program, or that hold no picture: never opened.
_NOT_OPENED = frozenset(("BUFR", "EPS", "FITS", "FPX", "GRIB", "HDF5", "IPTC", "MIC", "MPEG", "PCD", "WMF"))


def _table(text: str) -> dict[str, str]:
    """Format -> its endings, of ``format ending ending, format ...``."""
    return {name: endings for name, _, endings in (entry.partition(" ") for entry in text.split(", "))}


#: Formats of Pillow -> endings; what else Pillow has is too rare or too short a name to tell by.
_PILLOW = _table(
    "AVIF avif avifs, BMP bmp, CUR cur, DCX dcx, DDS dds, DIB dib, GIF gif, ICNS icns, ICO ico, HEIF heic heif "
    "hif, JPEG jpg jpeg jpe jfif mpo, JPEG2000 jp2 j2k j2c jpc jpf jpx, JXL jxl, PCX pcx, PNG png apng, PPM ppm "
    "pgm pbm pnm pfm, PSD psd, QOI qoi, SGI sgi, SUN ras, TGA tga icb vda vst, TIFF tif tiff, WEBP webp, XBM xbm, "
    "XPM xpm"
)
#: Formats of libsndfile -> endings.
_SNDFILE = _table(
    "AIFF aif aiff aifc, AU au snd, CAF caf, FLAC flac, IRCAM ircam, MP3 mp3, NIST nist sph, OGG ogg oga opus, "
    "PAF paf, PVF pvf, RF64 rf64, SVX 8svx svx, VOC voc, W64 w64, WAV wav wave"
)
#: Formats of FFmpeg (through PyAV) -> endings, of sounds and of films.
_FFMPEG_AUDIO = _table(
    "aac aac adts, ac3 ac3, amr amr awb, ape ape, asf wma, dsf dsf, dts dts, eac3 eac3, matroska mka weba, mov "
    "m4a m4b m4r, mp3 mp2 mpa, mpc mpc, ogg spx, rm ra, tak tak, tta tta, wv wv"
)
_FFMPEG_VIDEO = _table(
    "asf wmv asf, avi avi divx, dv dv, flv flv f4v, gxf gxf, h264 h264 264, hevc hevc h265 265, ivf ivf, matroska "
    "mkv webm mk3d, mjpeg mjpeg mjpg, mov mp4 m4v mov qt 3gp 3g2 3gpp mj2 insv, mpeg mpg mpeg mpe vob m2p, mpegts "
    "ts mts m2ts m2t, mpegvideo m1v m2v, mxf mxf, nut nut, ogg ogv ogm, rm rm rmvb, wtv wtv, yuv4mpegpipe y4m"
)
#: Known for what they are, decoded by nothing that plait uses.
_UNDECODED = {
    "image": "svg svgz eps wmf emf exr hdr dcm xcf psb djvu cr2 cr3 nef arw dng orf rw2 raf pef srw",
    "audio": "mid midi kar aax m4p",
    "video": "swf r3d braw",
}
#: Endings that other names have too (hosts, source files): believed only where such files are there.
AMBIGUOUS = frozenset(("au", "ts", "dts", "ra", "rm", "ras", "nut", "cur"))

_BRANDS = {"image": (b"avif", b"avis"), "audio": (b"M4A ", b"M4B ", b"F4A ")}
_UNREAD_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_MAGIC = (
    (
        "image",
        rb"\xff\xd8\xff|\x89PNG|GIF8|BM|II\*\x00|MM\x00\*|RIFF.{4}WEBP|\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51|qoif|8BPS",
    ),
    ("image", rb"P[1-7]\s|DDS |\x00\x00\x01\x00[\x01-\xff]\x00|icns"),
    (
        "audio",
        rb"RIFF.{4}WAVE|RF64|OggS|fLaC|ID3|\xff[\xe2-\xfb]|FORM.{4}AIF|\.snd|caff|#!AMR|wvpk|MAC |TTA1|riff\x2e\x91",
    ),
    (
        "video",
        rb"\x1a\x45\xdf\xa3|RIFF.{4}AVI |\x00\x00\x01[\xb3\xba]|FLV\x01|\x30\x26\xb2\x75|\x06\x0e\x2b\x34|YUV4MPEG",
    ),
    ("video", rb"\x47.{187}\x47|.{4}\x47.{191}\x47|\x00\x00\x00\x01[\x67\x40]"),
)
_PATTERNS = tuple((kind, re.compile(pattern, re.DOTALL)) for kind, pattern in _MAGIC)
_UNREAD = re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL |\x76\x2f\x31\x01|%!PS|\s*<svg", re.DOTALL)
#: First bytes that ``kind_of_bytes`` needs.
HEAD = 400


def image_formats() -> tuple[str, ...]:
    """Names of the formats that Pillow may open, those that other packages registered (HEIF, say) among them."""
    from PIL import Image

    Image.init()
    return tuple(name for name in Image.ID if name not in _NOT_OPENED)


@functools.lru_cache(maxsize=1)
def _demuxers() -> frozenset[str]:
    """Names of the formats that PyAV reads; none where it is not installed."""
    if importlib.util.find_spec("av") is None:
        return frozenset()
    import av

    return frozenset(name for joined in av.formats_available for name in joined.split(","))


def readable() -> Mapping[str, frozenset[str]]:
    """Kind -> endings of what the installed decoders read.

    Films are listed without PyAV as well: their encoder says what is to be installed.
    """
    return {kind: _readable(kind) for kind in KINDS}


def _readable(kind: str) -> frozenset[str]:
    """Endings of one kind: decoders of the others need not be imported."""
    return _pictures(image_formats()) if kind == "image" else _played(kind)


@functools.lru_cache(maxsize=4)
def _pictures(formats: tuple[str, ...]) -> frozenset[str]:
    return _endings(_PILLOW, formats)


@functools.lru_cache(maxsize=2)
def _played(kind: str) -> frozenset[str]:
    if kind == "video":
        return _endings(_FFMPEG_VIDEO, _demuxers() or _FFMPEG_VIDEO)
    import soundfile

    return _endings(_SNDFILE, soundfile.available_formats()) | _endings(_FFMPEG_AUDIO, _demuxers())


@functools.lru_cache(maxsize=1)
def known() -> Mapping[str, str]:
    """Ending -> kind, of all that is known, decoded here or not."""
    tables = (("audio", _FFMPEG_AUDIO), ("video", _FFMPEG_VIDEO), ("audio", _SNDFILE), ("image", _PILLOW))
    listed = {ending: kind for kind, table in tables for ending in _endings(table, table)}
    undecoded = {ending: kind for kind, words in _UNDECODED.items() for ending in words.split()}
    return {**undecoded, **listed}


def _endings(table: Mapping[str, str], formats: object) -> frozenset[str]:
    available = frozenset(formats)  # type: ignore[call-overload]
    return frozenset(ending for name, words in table.items() if name in available for ending in words.split())


def kind_of_name(name: str) -> tuple[str, bool] | None:
    """The kind of file that a name is of, and whether it is decoded here; None when it is of no known kind.

    Example:
        >>> kind_of_name("p/1.JPG"), kind_of_name("notes.txt"), kind_of_name("scan.dcm")
        (('image', True), None, ('image', False))
    """
    stem, dot, ending = name.rpartition(".")
    kind = known().get(ending.lower()) if dot and stem and len(name) <= 1000 and "\n" not in name else None
    return None if kind is None else (kind, ending.lower() in _readable(kind))


def kind_of_bytes(head: bytes) -> tuple[str, bool] | None:
    """The kind that a file's first bytes show, and whether it is decoded here; None when they show none.

    Example:
        >>> kind_of_bytes(b"GIF89a"), kind_of_bytes(b"hello")
        (('image', True), None)
    """
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in _UNREAD_BRANDS and not any(b in head[16:64] for b in _BRANDS["image"]):
            return "image", "HEIF" in image_formats()
        return next((kind for kind, brands in _BRANDS.items() if brand in brands), "video"), True
    if _UNREAD.match(head):
        return "image", False
    return next(((kind, True) for kind, pattern in _PATTERNS if pattern.match(head)), None)
