"""Makes what the example needs: an authority, a certificate of it for 127.0.0.1, and one that was over yesterday.

python certificates.py FOLDER      ca.pem, tls.pem, tls.key, expired.pem; openssl must be installed
"""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(sys.argv[1])
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=FOLDER, check=True, capture_output=True)


(FOLDER / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
openssl("req", "-x509", *KEY, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=example authority", "-days", "30")
openssl("req", *KEY, "-keyout", "tls.key", "-out", "tls.csr", "-subj", "/CN=pneumonia-detector")
for name, days in (("tls", "30"), ("expired", "-1")):
    signed_by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "tls.csr", *signed_by, "-out", f"{name}.pem", "-days", days)
