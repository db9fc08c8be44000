"""C2PA content credentials: a signed record, in a picture's file, of how it was made.

The key is a local one, made at first use: it shows that a file is as this studio wrote it, and not
who that is, since no list of trust has it. Of the extra `provenance`.
"""

import datetime
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CERTIFICATES, KEY = "certificates.pem", "key.pem"
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
YEARS = 10


@dataclass(frozen=True)
class Keys:
    """A private key, and the chain of its certificates, as PEM."""

    certificates: str
    key: str


def keys_in(folder: str | Path) -> Keys:
    """Returns the keys of a folder, which are made if they are not there.

    Only its owner can read the private key.
    """
    folder = Path(folder)
    if not (folder / KEY).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        made = _made()
        (folder / CERTIFICATES).write_text(made.certificates)
        descriptor = os.open(folder / KEY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(made.key)
    return Keys((folder / CERTIFICATES).read_text(), (folder / KEY).read_text())


def signed(content: bytes, keys: Keys, title: str, settings: Mapping[str, Any]) -> bytes:
    """Returns a PNG file with credentials: that a model made it, with which settings.

    Raises:
        ValueError: `c2pa-python` is not installed, or the file cannot be signed.
    """
    c2pa = _c2pa()
    manifest = {
        "claim_generator_info": [{"name": "jaxdiff"}],
        "title": title,
        "format": "image/png",
        "assertions": [
            {
                "label": "c2pa.actions",
                "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": GENERATED}]},
            },
            {"label": "org.jaxdiff.settings", "data": dict(settings)},
        ],
    }
    info = c2pa.C2paSignerInfo(b"es256", keys.certificates.encode(), keys.key.encode(), None)
    out = io.BytesIO()
    try:
        with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(manifest)) as builder:
            builder.sign(signer, "image/png", io.BytesIO(content), out)
    except c2pa.C2paError as error:
        raise ValueError(f"the picture cannot be signed: {error}") from None
    return out.getvalue()


@dataclass(frozen=True)
class Credentials:
    """What a file's credentials say.

    Attributes:
        intact: whether the file is as it was when it was signed.
        settings: with which it was made.
        problems: codes of what is wrong; "signingCredential.untrusted" of every local key.
    """

    intact: bool
    settings: Mapping[str, Any]
    problems: tuple[str, ...]


UNTRUSTED = "signingCredential.untrusted"


def read(content: bytes) -> Credentials | None:
    """Returns the credentials of a PNG file, or None if it has none.

    Raises:
        ValueError: `c2pa-python` is not installed.
    """
    c2pa = _c2pa()
    try:
        with c2pa.Reader("image/png", io.BytesIO(content)) as reader:
            store = json.loads(reader.json())
    except c2pa.C2paError:
        return None
    manifest = store["manifests"][store["active_manifest"]]
    found = {each["label"]: each["data"] for each in manifest.get("assertions", [])}
    problems = tuple(each["code"] for each in store.get("validation_status", []))
    intact = not [code for code in problems if code != UNTRUSTED]
    return Credentials(intact, found.get("org.jaxdiff.settings", {}), problems)


def _c2pa() -> Any:
    try:
        import c2pa  # pyright: ignore[reportMissingImports] # noqa: PLC0415 - an extra
    except ImportError:
        raise ValueError(
            "credentials need the extra `provenance`: pip install 'jaxdiff[provenance]'"
        ) from None
    return c2pa


def _made() -> Keys:
    """Returns new keys: an authority of its own, and a key that it certifies."""
    from cryptography import x509  # noqa: PLC0415 - of the same extra
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

    now = datetime.datetime.now(datetime.UTC)

    def named(text):
        attributes = [(NameOID.COMMON_NAME, text), (NameOID.ORGANIZATION_NAME, "jaxdiff studio")]
        return x509.Name([x509.NameAttribute(*each) for each in attributes])

    def certificate(subject, key, issuer, issuer_key, authority):
        usage = dict.fromkeys(
            (
                "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                "encipher_only", "decipher_only",
            ),
            False,
        )  # fmt: skip
        signs = {"digital_signature": not authority, "key_cert_sign": authority}
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(x509.KeyUsage(**usage, **signs, crl_sign=authority), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False
            )
        )
        if not authority:
            purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purposes, critical=False)
        return builder.sign(issuer_key, hashes.SHA256())

    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain = [
        certificate("studio", leaf, "local authority", root, False),
        certificate("local authority", root, "local authority", root, True),
    ]
    pem = serialization.Encoding.PEM
    private = leaf.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Keys("".join(each.public_bytes(pem).decode() for each in chain), private.decode())
