"""Media cells: where their bytes lie, and how they become arrays."""

from plait.media.blob import Blob
from plait.media.changed import Change, Changed
from plait.media.given import as_array, content, given, is_picture
from plait.media.images import MAX_PIXELS, image, pixels
from plait.media.sounds import audio, seconds
from plait.media.videos import video

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
