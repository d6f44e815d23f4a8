"""The support set of a version as bytes: 48 an example, its id and the digest of its bytes.

An example whose bytes are not kept has zeros for a digest.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

_ID_BYTES = 16
_MEMBER_BYTES = 48
_NO_DIGEST = "0" * 64


@dataclass(frozen=True, slots=True)
class SupportMember:
    """One example of a version's support set."""

    example_id: UUID
    digest: str | None


def pack_support(members: Iterable[SupportMember]) -> bytes:
    """The members as bytes, in their order."""
    return b"".join(member.example_id.bytes + bytes.fromhex(member.digest or _NO_DIGEST) for member in members)


def unpack_support(data: bytes) -> tuple[SupportMember, ...]:
    """The members that `pack_support` wrote."""
    parts = (data[start : start + _MEMBER_BYTES] for start in range(0, len(data), _MEMBER_BYTES))
    return tuple(SupportMember(UUID(bytes=part[:_ID_BYTES]), _digest(part[_ID_BYTES:].hex())) for part in parts)


def _digest(text: str) -> str | None:
    return None if text == _NO_DIGEST else text
