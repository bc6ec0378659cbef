"""python -m model_server.keys add NAME --role predict [--role feedback] [--expires 90d]

Makes, lists and revokes API keys. A running server takes up a change within two seconds. A key is shown once, when it
is made; the file keeps only its hash. Exit codes: 0 done, 1 no such key or a bad file, 2 usage.
"""

import argparse
import contextlib
import datetime
import fcntl
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from model_server.security import keyring
from model_server.security.keyring import BadKeys
from model_server.settings import PREFIX, Settings

DEFAULT = Settings.model_fields["keys"].default
UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model_server.keys", description="API keys of the service.")
    parser.add_argument(
        "--keys", type=Path, default=os.environ.get(PREFIX + "KEYS", DEFAULT), metavar="FILE",
        help=f"the keys file (default: ${PREFIX}KEYS, else {DEFAULT})",
    )  # fmt: skip
    verbs = parser.add_subparsers(dest="verb", required=True)
    add = verbs.add_parser("add", help="make a key and show it, this once")
    add.add_argument("name", help="whose it is; the principal in the audit log")
    add.add_argument("--role", action="append", required=True, choices=keyring.ROLES, help="may be given several times")
    add.add_argument("--expires", type=_expiry, help="90d, 12h, 30m or a time such as 2030-01-31T00:00:00Z")
    add.add_argument("--rate", type=float, metavar="PER_S", help="requests a second, instead of the server's limit")
    verbs.add_parser("list", help="every key: id, name, roles, until when")
    revoke = verbs.add_parser("revoke", help="let a key open nothing any more")
    revoke.add_argument("key", help="its id, or the name whose keys are all revoked")
    options = parser.parse_args(argv)
    try:
        _done(options)
    except ValidationError as error:  # of a new key
        parser.error("; ".join(f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}" for wrong in error.errors()))
    except (BadKeys, OSError) as error:
        print(f"keys: {error}", file=sys.stderr)
        return 1
    return 0


def _done(options: argparse.Namespace) -> None:
    if options.verb == "list":
        for key in keyring.load(options.keys):
            standing = f"until {key.expires.isoformat()}" if key.expires else "no end"
            if key.revoked:
                standing = f"revoked {key.revoked.isoformat()}"
            elif key.expired(keyring.now().timestamp()):
                standing = standing.replace("until", "expired")
            print(f"{key.id}  {key.name:20} {','.join(key.roles):24} {standing}")
        return
    with contextlib.ExitStack() as done:
        folder = os.open(options.keys.absolute().parent, os.O_RDONLY)
        done.callback(os.close, folder)
        fcntl.flock(folder, fcntl.LOCK_EX)  # one change at a time, so that none is lost
        if options.verb == "add":
            keys = keyring.load(options.keys) if options.keys.exists() else []
            roles = tuple(dict.fromkeys(options.role))
            token, key = keyring.make(options.name, roles, options.expires, options.rate)
            keyring.save(options.keys, [*keys, key])
            print(token)
            return
        keys = keyring.load(options.keys)
        ended = [key for key in keys if options.key in (key.id, key.name) and not key.revoked]
        if not ended:
            raise BadKeys(f"{options.keys} has no key {options.key} that is not revoked")
        revoked = {"revoked": keyring.now()}
        keyring.save(options.keys, [key.model_copy(update=revoked) if key in ended else key for key in keys])
        print("revoked " + ", ".join(key.id for key in ended))


def _expiry(text: str) -> datetime.datetime:
    if form := re.fullmatch(r"(\d{1,6})([mhd])", text):
        at = keyring.now() + datetime.timedelta(**{UNITS[form[2]]: int(form[1])})
    else:
        try:
            at = datetime.datetime.fromisoformat(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text}: neither 90d, 12h, 30m nor an ISO 8601 time") from None
        if at.tzinfo is None:
            raise argparse.ArgumentTypeError(f"{text} names no time zone; 2030-01-31T00:00:00Z does")
    if at <= keyring.now():
        raise argparse.ArgumentTypeError(f"{text} is over already")
    return at


if __name__ == "__main__":
    sys.exit(main())
