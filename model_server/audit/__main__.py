"""python -m model_server.audit verify FILE

Exit codes: 0 whole, 1 changed, cut, moved or added to, 2 usage, 3 unclear: the end may be a killed writer's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model_server.audit import key
from model_server.audit.verify import verify_file
from model_server.settings import AUDIT_KEY


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model_server.audit", description="Judges an audit log.")
    verb = parser.add_subparsers(dest="verb", required=True).add_parser(
        "verify", help="find changed, cut, moved and added lines"
    )
    verb.add_argument("file", type=Path)
    verb.add_argument("--key-file", default="", help=f"else ${AUDIT_KEY}, else audit.key beside the log")
    verb.add_argument("--at-least", type=int, default=0, metavar="N", help="records known of: audit_log_records")
    options = parser.parse_args(argv)
    try:
        report = verify_file(options.file, key.read(options.key_file, options.file.parent), options.at_least)
    except key.BadKey as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"{options.file}: {error.strerror}")
    for kind, findings in (("BROKEN", report.broken), ("UNCLEAR", report.unclear), ("note", report.notes)):
        for line, why in findings:
            print(f"{kind}  {options.file}:{line}: {why}")
    verdict = "broken" if report.broken else "unclear" if report.unclear else "whole"
    print(f"{report.records} records, {verdict}")
    return {"whole": 0, "broken": 1, "unclear": 3}[verdict]


if __name__ == "__main__":
    sys.exit(main())
