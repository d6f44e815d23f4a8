"""Upload bytes to pixels: the one decoder of training, evaluation and service.

`decode` turns a file into the input arrays of one or several base models. The file is told by its bytes. Its size is
checked before a pixel is decoded. The whole image is kept, never a centre crop.

What a pixel becomes: EXIF orientation is applied, transparency is put on white, CMYK, YCbCr and LAB become RGB. Grey of
16 bits is scaled by its bit depth. Whole numbers of 32 bits are read as 8 or 16 bits where they fit, floats in 0..1
as they are; any other range is stretched to 0..255 from the image's own least and greatest value, and what is not a
number is white. Colour profiles are ignored.

    files       what the bytes are, and the parts of them that make the picture
    rasters     the decoded picture, and its pixels as opaque 8-bit grey or RGB
    drawings    drawings told from photographs, and their ink
    decoding    the arrays of the requested formats
"""

from service.imaging.decoding import Decoded, decode
from service.imaging.files import media_type

__all__ = ["Decoded", "decode", "media_type"]
