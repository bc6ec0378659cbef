"""python -m model_server.audit verify FILE [FILE...]

Judges an audit log in one piece or in several, in any order. Exit codes: 0 whole, 1 changed, cut, moved or added to,
2 usage, 3 unclear: the end may be a killed writer's.
"""

import argparse
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

from model_server.audit.chain import BadKey, read_key
from model_server.audit.verify import in_order, verify_files
from model_server.settings import AUDIT_KEY


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model_server.audit", description="Judges an audit log.")
    verb = parser.add_subparsers(dest="verb", required=True).add_parser(
        "verify", help="find changed, cut, moved and added lines"
    )
    verb.add_argument("files", type=Path, nargs="+", metavar="FILE", help="the pieces of the log, in any order")
    verb.add_argument("--key-file", default="", help=f"else ${AUDIT_KEY}, else audit.key beside the last piece")
    verb.add_argument("--at-least", type=int, default=0, metavar="N", help="records known of: audit_log_records")
    options = parser.parse_args(argv)
    try:
        files = in_order(options.files)
        report = verify_files(files, read_key(options.key_file, files[-1].parent), options.at_least)
    except BadKey as error:
        parser.error(str(error))
    except (OSError, EOFError, zlib.error) as error:
        parser.error(f"{getattr(error, 'filename', None) or 'a compressed piece'}: {error}")
    for kind in ("BROKEN", "UNCLEAR", "INTERRUPTED", "notes"):
        for line, why, file in getattr(report, kind.lower()):
            print(f"{kind.removesuffix('s')}  {file}:{line}: {why}")
    verdict = "broken" if report.broken else "unclear" if report.unclear else "whole"
    interrupted = f"; interrupted: {len(report.interrupted)}" if report.interrupted else ""
    print(f"{report.records} records, {verdict}{interrupted}")
    return {"whole": 0, "broken": 1, "unclear": 3}[verdict]


if __name__ == "__main__":
    sys.exit(main())
