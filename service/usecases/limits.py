"""How much one client may ask of the service at once."""

from dataclasses import dataclass

from service.persistence.orm import LABEL_CHARS

DECODED_BYTES = 512 * 2**20
"""One upload of 1,000 photographs, which takes 288 MiB while it is taken in, or adaptations to three of them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of the public contract.

    Attributes:
        file_bytes: of one file.
        request_bytes: of one request, and of what its archive unpacks to.
        image_pixels: of one image, checked before a pixel is decoded.
        decodes_in_flight: images decoded at the same time by the whole process, which bounds its memory.
        decoded_bytes: pixels of the whole process: of open uploads, of predictions, of a pool to suggest from, and
            of adaptations, each.
    """

    file_bytes: int = 32 * 2**20
    request_bytes: int = 256 * 2**20
    image_pixels: int = 100_000_000
    min_classes: int = 2
    max_classes: int = 100
    support_images: int = 1_000
    prediction_images: int = 64
    metadata_pairs: int = 50
    label_chars: int = LABEL_CHARS
    decodes_in_flight: int = 4
    decoded_bytes: int = DECODED_BYTES
