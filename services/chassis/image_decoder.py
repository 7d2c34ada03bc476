"""The program that decodes an image for a service: it may crash, hang or run out of memory, and takes nobody with it.

It reads one request from its standard input, answers it on its standard output and ends, so that what an image does to
it reaches no other image. Both are a line of JSON and as many bytes as the line says. `darkroom.py` is the other end.
"""

import io
import json
import resource
import sys
import warnings
from typing import Any

# All that Pillow imports later by itself, because by then no file can be opened any more.
from PIL import Image, ImageOps, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from services.chassis.images import MAX_PIXELS, MAX_SIDE_PX, ImageFile, ImageRefused

MEMORY_BYTES = 768 * 2**20
"""All the memory of the process; the largest image of the most wasteful kind takes some 500 MiB."""
CPU_SECONDS = 10
"""What one image may take; the largest takes about one."""

_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP", "image/x-portable-pixmap": "PPM"}
_NEEDED_LATER = (JpegImagePlugin, MpoImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin)
_TOO_LARGE = f"must have at most {MAX_SIDE_PX} px a side and {MAX_PIXELS / 1e6} megapixels"


def opened(file: ImageFile) -> Image.Image:
    """The image of a file, its pixels not read yet. Raises ImageRefused for anything beyond the limits."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow finds odd in a file is nobody's business here
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(file.data), formats=[_FORMATS[file.media_type]])
            # A JPEG may hold more pictures than its own, a small one for example: those are not looked at.
            frames = 1 if file.media_type == "image/jpeg" else getattr(image, "n_frames", 1)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageRefused(_TOO_LARGE) from None
    except MemoryError:
        raise
    except Exception:  # a decoder can fail in any way on bytes that somebody made up
        raise ImageRefused(f"is not a readable {file.media_type}") from None
    if max(image.size) > MAX_SIDE_PX or image.width * image.height > MAX_PIXELS:
        raise ImageRefused(f"{_TOO_LARGE}; it has {image.width}x{image.height}")
    if frames > 1:
        raise ImageRefused("must be a still picture, not an animation")
    return image


def decoded(image: Image.Image) -> Image.Image:
    """The image in RGB and the right way up, all its pixels read. Raises ImageRefused."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except MemoryError:
        raise
    except Exception:  # as above
        raise ImageRefused("is damaged or incomplete") from None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey, which convert() would clip to white
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    return image.convert("RGB")


def answer(file: ImageFile, fit: tuple[int, int] | None) -> tuple[dict[str, Any], bytes]:
    """What is told of a file: the size of its picture, and its pixels at the size `fit` where that is asked for."""
    try:
        image = decoded(opened(file))
        pixels = b"" if fit is None else image.resize(fit, Image.Resampling.LANCZOS).tobytes()
    except ImageRefused as refusal:
        return {"refused": str(refusal)}, b""
    except MemoryError:
        return {"refused": "takes too much memory to decode: save it anew as a plain PNG or JPEG"}, b""
    return {"width": image.width, "height": image.height}, pixels


def confine() -> None:
    """Give up what a decoder has no use for: more memory, more time, files and connections."""
    Image.preinit()
    Image.MAX_IMAGE_PIXELS = 2 * MAX_PIXELS  # some decoders take memory for all pixels before they tell the size
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))  # what it was born with; sockets count too
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # pictures belong into no core dump


def main() -> None:
    """Answer one request; none when nobody asks any more."""
    confine()
    if line := sys.stdin.buffer.readline():
        request = json.loads(line)
        file = ImageFile(request["media_type"], sys.stdin.buffer.read(request["size_bytes"]))
        facts, pixels = answer(file, request["fit"])
        sys.stdout.buffer.write(json.dumps({**facts, "size_bytes": len(pixels)}).encode() + b"\n" + pixels)


if __name__ == "__main__":
    main()
