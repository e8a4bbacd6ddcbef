"""A certificate for the emulated vendors, and a bundle by which the agent trusts it."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def make_certificate(path: Path) -> None:
    """Write a self-signed certificate of 127.0.0.1, and its key, into one PEM file. Needs the command `openssl`."""
    what = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    whose = ["-subj", "/CN=emulated vendors", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", *what, *whose, "-keyout", str(path), "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def make_bundle(certificate: Path, path: Path) -> None:
    """Write what SSL_CERT_FILE names: all that this system trusts, as for real vendors, and the certificate."""
    system = ssl.get_default_verify_paths()
    known = Path(system.cafile or system.openssl_cafile)
    path.write_text((known.read_text() if known.is_file() else "") + certificate.read_text())
