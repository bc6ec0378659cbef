"""Runs one experiment by Chaos Toolkit's library in its own process: `python -m harness.chaos.runner FILE JOURNAL`.

    python -m harness.chaos.runner FILE JOURNAL wait     the same, once a line on standard input says so
    python -m harness.chaos.runner --rollbacks FILE      its rollbacks alone, where it did not get to them

Chaos Toolkit wants the main thread for its signals, reads `runtime` from settings only, and may end with 0 although
nothing was injected. So it gets its own process, rollbacks always, and its journal is judged elsewhere: this process'
exit code says only whether a journal was written.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from string import Template
from typing import Any

from harness.masking import hidden, masked
from harness.stack.process import heed_signals
from harness.witness import ADDRESSES

READY = ".ready"  # the suffix of a file beside the journal: all is loaded, and it waits
SETTINGS = {"runtime": {"rollbacks": {"strategy": "always"}}}


def command(experiment: Path, journal: Path, waits: bool = False) -> list[str]:
    """How the child is started; stop it with SIGINT (rollbacks run), then SIGUSR1, then SIGKILL."""
    return [sys.executable, "-m", "harness.chaos.runner", str(experiment), str(journal), *["wait"] * waits]


def main(experiment_file: Path, journal_file: Path, waits: bool = False) -> int:
    heed_signals()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # we are ended by it, also where a shell's & ignores it
    from chaoslib.experiment import run_experiment
    from chaoslib.loader import load_experiment
    from chaoslib.log import configure_logger
    from chaoslib.types import Strategy

    configure_logger()
    for handler in logging.getLogger("chaostoolkit").handlers:
        handler.addFilter(_without_secrets)
    experiment = load_experiment(str(experiment_file))
    _give(experiment)
    control = {"type": "python", "module": "harness.chaos.controls", "arguments": {"file": str(experiment_file)}}
    experiment.setdefault("controls", []).append({"name": "harness", "provider": control})
    if waits:
        from harness.chaos import controls, probes  # noqa: F401 - which takes a while, and is to be over by then

        journal_file.with_suffix(READY).touch()
        if not sys.stdin.readline():
            return 1  # whoever started us is gone
    journal = run_experiment(experiment, settings=SETTINGS, strategy=Strategy.DEFAULT)
    scratch = journal_file.with_suffix(".new")
    scratch.write_text(json.dumps(masked(journal), default=str, indent=1))
    scratch.rename(journal_file)
    return 0


def roll_back(experiment_file: Path) -> int:
    """Play the rollbacks of an experiment alone; 1 where one of them did not succeed."""
    heed_signals()
    from concurrent.futures import ThreadPoolExecutor

    from chaoslib.configuration import load_configuration
    from chaoslib.loader import load_experiment
    from chaoslib.rollback import run_rollbacks
    from chaoslib.secret import load_secrets
    from chaoslib.types import Dry

    experiment = load_experiment(str(experiment_file))
    _give(experiment)
    configuration = load_configuration(experiment.get("configuration", {}))
    secrets = load_secrets(experiment.get("secrets", {}), configuration)
    with ThreadPoolExecutor(max_workers=4) as pool:
        runs = list(run_rollbacks(experiment, configuration, secrets, pool, Dry.from_string(None)))
        done = [one.result() if hasattr(one, "result") else one for one in runs]
    failed = [one for one in done if one.get("status") != "succeeded"]
    for one in failed:
        last = "".join(one.get("exception") or ()).strip().splitlines()[-1:]
        print(hidden(f"{(one.get('activity') or {}).get('name')}: {' '.join(last)}"), file=sys.stderr)
    return 1 if failed else 0


def _give(experiment: dict[str, Any]) -> None:
    """Put into this process' environment what the plan gives the experiment, the addresses of the run filled in."""
    for extension in experiment.get("extensions") or ():
        given = extension.get("environment") if extension.get("name") == "harness" else None
        for name, text in (given or {}).items():
            os.environ[name] = Template(text).safe_substitute({key: os.environ.get(key, "") for key in ADDRESSES})


def _without_secrets(record: logging.LogRecord) -> bool:
    """Have a line of Chaos Toolkit's log, which becomes one of the run, quote no secret of the experiment."""
    record.msg, record.args = hidden(record.getMessage()), ()
    if record.exc_info:
        record.exc_text, record.exc_info = hidden(logging.Formatter().formatException(record.exc_info)), None
    return True


if __name__ == "__main__":
    if sys.argv[1] == "--rollbacks":
        sys.exit(roll_back(Path(sys.argv[2])))
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), waits="wait" in sys.argv[3:]))
