"""Ed25519 signatures (RFC 8032) of bundles.

What is signed are the bytes of manifest.json, which lists the SHA-256 of every other file. The signature is 64 bytes in
a file beside the bundle's folder, NAME.pose.sig; keys are PEM files. `openssl pkeyutl -rawin` signs and verifies alike.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from pose_runtime.bundle import Bundle
from pose_runtime.errors import BundleError
from pose_runtime.store.durable import replace_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SYSTEM_KEY = Path("/etc/jetpose/bundle-key.pub")
"""The public key that a device trusts, if it is there."""

SIGNATURE_BYTES = 64
_MAX_KEY_BYTES = 1 << 16


class PublicKey:
    """A key that bundles must be signed with.

    Args:
        path: of a PEM file.

    Raises:
        BundleError: it cannot be read, or is no ed25519 public key.
    """

    def __init__(self, path: Path) -> None:
        _need_cryptography()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        self.path = path
        try:
            key = load_pem_public_key(_read(path, _MAX_KEY_BYTES))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise BundleError(f"{path}: no public key in PEM, as pose-bundle keygen writes it") from error
        if not isinstance(key, Ed25519PublicKey):
            raise BundleError(f"{path}: got another kind of key, wanted ed25519")
        self._key: Ed25519PublicKey = key

    def verify(self, bundle: Bundle, signature: bytes | None) -> None:
        """Refuse a bundle that this key did not sign.

        The bytes that are verified are those that `bundle` was loaded from, whatever the disk holds by now: their hash
        is `bundle.digest`, and every file that is read through `bundle` has the hash that they list.

        Args:
            bundle: loaded.
            signature: 64 bytes, None for none.

        Raises:
            BundleError: no or another signature, or the manifest on the disk is another one by now.
        """
        from cryptography.exceptions import InvalidSignature

        if signature is None:
            raise BundleError(f"{bundle.path}: is not signed; {self.path} is configured, so it must be")
        try:
            self._key.verify(signature, bundle.manifest_bytes())
        except InvalidSignature as error:
            raise BundleError(f"{bundle.path}: its signature is not by the key {self.path}, or not of it") from error


def configured_key(path: Path | None) -> PublicKey | None:
    """The key that bundles must be signed with: that of `path`, else the device's; None where neither is.

    Raises:
        BundleError: there is a key, but it cannot be used: nothing is taken for signed then.
    """
    if path is not None:
        return PublicKey(path)
    try:
        SYSTEM_KEY.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BundleError(f"{SYSTEM_KEY}: {error.strerror}; wanted a key that this user may read, or none") from error
    return PublicKey(SYSTEM_KEY)


def generate_key(path: Path) -> Path:
    """A new pair of keys: the private one at `path`, readable by its owner only, the public one at `path`.pub.

    Raises:
        BundleError: one of them exists, or cannot be written.
    """
    _need_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    public = path.with_name(f"{path.name}.pub")
    for file in (path, public):
        if os.path.lexists(file):
            raise BundleError(f"{file}: exists already; a key is never overwritten")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        replace_file(path, secret, 0o600)
        replace_file(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    except OSError as error:
        raise BundleError(f"{path}: cannot write it: {error.strerror}") from error
    return public


def sign(bundle: Bundle, key: Path) -> Path:
    """Sign a bundle with the private key in a file.

    Returns:
        The file of the signature, beside the bundle's folder.

    Raises:
        BundleError: the key cannot be read, others may read it, it is of another kind; the file cannot be written.
    """
    signature = _private_key(key).sign(bundle.manifest_bytes())
    path = signature_path(bundle.path)
    try:
        replace_file(path, signature)
    except OSError as error:
        raise BundleError(f"{path}: cannot write it: {error.strerror}") from error
    return path


def signature_path(folder: Path) -> Path:
    """Where the signature of the bundle in a folder lies, if it has one. Raises BundleError: no such folder."""
    try:
        real = folder.resolve(strict=True)  # NAME.pose also where . or a link was given
    except (OSError, RuntimeError) as error:
        raise BundleError(f"{folder}: {getattr(error, 'strerror', None) or error}") from error
    return real.with_name(f"{real.name}.sig")


def read_signature(path: Path) -> bytes | None:
    """The signature in a file; None where there is no file. Raises BundleError."""
    if not os.path.lexists(path):
        return None
    data = _read(path, SIGNATURE_BYTES)
    if len(data) != SIGNATURE_BYTES:
        raise BundleError(f"{path}: got {len(data)} bytes, wanted the {SIGNATURE_BYTES} of an ed25519 signature")
    return data


def _private_key(path: Path) -> Ed25519PrivateKey:
    _need_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(path, _MAX_KEY_BYTES, private=True)
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it wants a password
        raise BundleError(
            f"{path}: no private key in PEM without a password, as pose-bundle keygen writes it"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(f"{path}: got another kind of key, wanted ed25519")
    return key


def _read(path: Path, limit: int, *, private: bool = False) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"{path}: no regular file")
            if private and status.st_mode & 0o077:
                raise BundleError(
                    f"{path}: others may use this private key (mode {status.st_mode & 0o777:o}): chmod 600 it"
                )
            data = file.read(limit + 1)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}") from error
    if len(data) > limit:
        raise BundleError(f"{path}: got over {limit} bytes, wanted at most that many")
    return data


def _need_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise BundleError("signatures need the package cryptography: pip install 'jetpose[live]'") from error
