"""Hashes and checks passwords: argon2id, and clear text as the existing front end stores it."""

from __future__ import annotations

import hmac

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

MEMORY_KIB = 19456
ITERATIONS = 2
"""Cost parameters of argon2id as OWASP recommends first. Stored hashes with another cost are replaced at the next correct login."""


def is_hash(stored: str) -> bool:
    """Whether a stored password is an argon2 hash (and not clear text)."""
    if not stored.startswith("$argon2"):
        return False
    try:
        extract_parameters(stored)
    except (InvalidHashError, ValueError):
        return False
    return True


def hash_password(password: str) -> str:
    """A new hash with its own salt. Takes milliseconds of CPU: call it in a thread."""
    return _hasher().hash(_bytes(password))


def verify_password(stored: str, password: str) -> bool:
    """Whether a password is the stored one; a stored '' matches nothing. Takes milliseconds of CPU for a hash."""
    if not stored:
        return False
    if not is_hash(stored):
        return same_text(stored, password)
    try:
        return PasswordHasher().verify(stored, _bytes(password))
    except (VerificationError, InvalidHashError):
        return False


def needs_rehash(stored: str) -> bool:
    """Whether a stored password is clear text or a hash of another cost."""
    return bool(stored) and (not is_hash(stored) or _hasher().check_needs_rehash(stored))


def same_text(one: str, other: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(_bytes(one), _bytes(other))


def _bytes(text: str) -> bytes:
    # A device may send any text; a lone surrogate must not raise.
    return text.encode("utf-8", "surrogatepass")


def _hasher() -> PasswordHasher:
    return PasswordHasher(time_cost=ITERATIONS, memory_cost=MEMORY_KIB, parallelism=1)
