"""Verifies receipts of an AITBC coordinator, and that its log only grows, without trusting it or anybody.

Needs `cryptography` and `rfc8785`. The command is `aitbc-verify`; the coordinator verifies by this code too.
"""
