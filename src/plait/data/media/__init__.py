"""Media cells: where their bytes lie, and how they become arrays."""

from plait.data.media.blob import Blob
from plait.data.media.given import as_array, content, given, is_picture
from plait.data.media.images import MAX_PIXELS, image, pixels
from plait.data.media.keys import Change, Changed
from plait.data.media.sounds import audio, seconds
from plait.data.media.videos import video

__all__ = [
    "MAX_PIXELS",
    "Blob",
    "Change",
    "Changed",
    "as_array",
    "audio",
    "content",
    "given",
    "image",
    "is_picture",
    "pixels",
    "seconds",
    "video",
]
