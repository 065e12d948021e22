from sqlalchemy import BigInteger, Index, String, Table, Text

from coordinator.core.columns import DIGEST, ID, column, metadata

# A key, or a name of keys, that was used at least once: its digest leads to the id that what it owns hangs on.
#
# Several digests may lead to one id, as a key has another one with each SECRET_KEY. The key itself is never stored.
api_keys = Table(
    "api_keys",
    metadata,
    column("digest", DIGEST, primary_key=True),
    column("id", ID),
    column("created_us", BigInteger),
)

# The owner of a wallet, in the one form of its address that all others are brought to.
users = Table(
    "users",
    metadata,
    column("id", ID, primary_key=True),
    column("wallet", String, unique=True),
    column("created_us", BigInteger),
    column("last_login_us", BigInteger, nullable=True),
)

# A message that a wallet was asked to sign and has not signed yet: whoever logs in with it removes it.
challenges = Table(
    "challenges",
    metadata,
    column("nonce", String, primary_key=True),
    column("wallet", String),
    # The whole of it, so that what is verified is what was asked, whatever the settings are by then.
    column("message", Text),
    column("expires_us", BigInteger),
    Index("challenges_expiry", "expires_us"),
)

# A user who has logged in, found by the digest of the token; the token itself is never stored.
sessions = Table(
    "sessions",
    metadata,
    column("digest", DIGEST, primary_key=True),
    column("user_id", ID),
    column("created_us", BigInteger),
    column("expires_us", BigInteger),
    Index("sessions_of_user", "user_id"),
    Index("sessions_expiry", "expires_us"),
)

# An API key that a user has made; the key itself is never stored.
user_keys = Table(
    "user_keys",
    metadata,
    column("id", ID, primary_key=True),
    column("user_id", ID),
    column("role", String),
    column("name", String),
    column("digest", DIGEST, unique=True),
    column("created_us", BigInteger),
    column("last_used_us", BigInteger, nullable=True),
    column("revoked_us", BigInteger, nullable=True),
    Index("user_keys_of_user", "user_id", "id"),
)
