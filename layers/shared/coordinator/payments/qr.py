"""QR codes (ISO/IEC 18004) of payments."""

import io


def qr_code(uri: str) -> bytes:
    """An SVG picture of a text, with the quiet zone around it."""
    # Only one route draws any.
    import segno  # noqa: PLC0415

    drawn = io.BytesIO()
    segno.make_qr(uri, error="m").save(drawn, kind="svg", scale=8, border=4, dark="#000", light="#fff", xmldecl=False)
    return drawn.getvalue()
