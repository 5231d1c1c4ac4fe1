"""Makes a self-signed certificate for this machine: `python tools/make_certificate.py FOLDER`.

Writes FOLDER/certificate.pem and FOLDER/key.pem, unless good ones lie there. For trying out and for
closed networks; browsers warn of it once. Where the service is public, take a real certificate.
"""

import os
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from musetalk_service.errors import ConfigurationError
from musetalk_service.utils.certificates import check_key_pair, machine_names, make_self_signed, read_certificate

_SPARE = timedelta(days=7)


def still_good(certificate: Path, key: Path, names: list[str]) -> bool:
    """Whether the files are a pair, for all these names, and not about to expire."""
    try:
        check_key_pair(certificate, key)
        found = read_certificate(certificate)
    except (ConfigurationError, OSError, ValueError):
        return False
    return set(names) <= set(found.names) and found.expires - datetime.now(timezone.utc) > _SPARE


def main(folder: Path) -> None:
    """Make what is missing."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    names = machine_names()
    if still_good(certificate, key, names):
        return
    folder.mkdir(parents=True, exist_ok=True)
    certificate_pem, key_pem = make_self_signed(names)
    key.unlink(missing_ok=True)
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key_pem)
    certificate.write_bytes(certificate_pem)
    print(f"Made {certificate} for {', '.join(names)}.")
    print("It is self-signed: a browser warns once, then go on to the page.")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_certificate.py FOLDER")
    main(Path(sys.argv[1]))
