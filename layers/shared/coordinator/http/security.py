"""What every answer tells browsers not to do with it, unless its route knows better."""

import base64
import hashlib
import re
from collections.abc import Iterable

_Headers = Iterable[tuple[bytes, bytes]]

# https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html#security-headers
_DEFAULTS = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    # Most answers are for one caller; what is not says so itself.
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    # For browsers that don't know frame-ancestors.
    (b"x-frame-options", b"DENY"),
)
# https://www.rfc-editor.org/rfc/rfc6797#section-7.2: not over plain HTTP. The host is this API's alone.
_BEHIND_TLS = (*_DEFAULTS, (b"strict-transport-security", b"max-age=31536000"))
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def security_headers(present: _Headers, scheme: str) -> list[tuple[bytes, bytes]]:
    """Those that an answer does not have yet."""
    names = {name for name, _ in present}
    return [header for header in (_BEHIND_TLS if scheme == "https" else _DEFAULTS) if header[0] not in names]


def page_policy(html: str) -> str:
    """The Content-Security-Policy of a documentation page: its own inline scripts, and whatever is served from here."""
    digests = [hashlib.sha256(script.encode()).digest() for script in _INLINE_SCRIPT.findall(html)]
    scripts = " ".join(("'self'", *(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)))
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
