"""Base64url without padding (RFC 7515, section 2), in its one canonical form."""

import base64


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """The bytes that this text stands for.

    Raises:
        ValueError: it is not what `encode` writes, but padded, with other characters, or with bits that say nothing.
            Else one signature could be written in several ways.
    """
    data = decode_leniently(text)
    if encode(data) != text:
        raise ValueError("not canonical base64url")
    return data


def decode_leniently(text: str) -> bytes:
    """The same, but padding may be there and the last bits are not looked at.

    Raises:
        ValueError: it has other characters, or an impossible length.
    """
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
