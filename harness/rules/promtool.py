"""Rules and series put to `promtool test rules`, and what it finds at given moments."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.rules.quoted import unquoted
from harness.units import prometheus_duration

Sample = tuple[Mapping[str, str], float]

_NAME = r'[A-Za-z_][A-Za-z0-9_]*|"(?:[^"\\]|\\.)*"'
_LABEL = re.compile(rf'({_NAME})=("(?:[^"\\]|\\.)*")(?:, )?')
_SAMPLE = re.compile(rf'\{{((?:(?:{_NAME})="(?:[^"\\]|\\.)*"(?:, )?)*)\}} (\S+?)(?:, |$)')
_GOT = re.compile(r"^ +got: ?(.*)$", re.MULTILINE)
_RULE = re.compile(r"^ +rule: (.*), time: [0-9a-zµ.]+, err: (.*)$", re.MULTILINE)


class Unanswered(Exception):
    """promtool gave no answer: why, and of the rules that it could not evaluate, where it names any, why by name."""

    def __init__(self, reason: str, rules: Mapping[str, str] | None = None, late: bool = False):
        super().__init__(reason)
        self.rules = rules or {}
        self.late = late


@dataclass(frozen=True)
class Question:
    """A test of rules. All times are seconds of the test, which begins at 0."""

    rules: Path | None
    group_order: Sequence[str]  # the names of all groups
    evaluation_s: float
    step_s: float  # from value to value of a series
    series: Sequence[tuple[str, str]]  # each its notation and its values
    asks: Sequence[tuple[str, float]]  # what is to be found of which expression, and when


class Promtool:
    """Runs promtool, which may take minutes, so that it ends with us: by `end`, or when we are killed."""

    def __init__(self, promtool: str | Path):
        setpriv = shutil.which("setpriv")  # of util-linux
        self._argv = [*([setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []), str(promtool)]
        self._running: set[subprocess.Popen] = set()
        self._over = False

    def answer(self, question: Question, file: Path, within_s: float) -> list[list[Sample]]:
        """What each expression gives at its moment; the test is left in the file. Raises Unanswered.

        It is put as expectations that cannot hold, because what promtool got instead is exact.
        """
        impossible = [{"labels": "nothing", "value": -1}]
        test = {
            "rule_files": [] if question.rules is None else [_literally(question.rules)],
            "evaluation_interval": prometheus_duration(question.evaluation_s),
            "group_eval_order": list(question.group_order),  # it is random without
            "tests": [
                {
                    "interval": prometheus_duration(question.step_s),
                    "input_series": [{"series": name, "values": values} for name, values in question.series],
                    "promql_expr_test": [
                        {"expr": expr, "eval_time": prometheus_duration(at), "exp_samples": impossible}
                        for expr, at in question.asks
                    ],
                }
            ],
        }
        file.write_text(json.dumps(test, indent=0, ensure_ascii=False), encoding="utf-8")  # JSON is YAML
        code, said = self._test_rules(file, within_s)
        if failed := _RULE.findall(said):
            raise Unanswered(failed[0][1], dict(failed))
        got = _GOT.findall(said)
        if len(got) != len(question.asks):
            ended = f"it was ended by signal {-code}" if code < 0 else f"it ended with {code}"
            raise Unanswered(_reason(said) or f"{ended} and no reason")
        return [_samples(text) for text in got]

    def annotations(self, rules: Path, alerts: Sequence[str], within_s: float) -> dict[str, dict[str, str]]:
        """The annotations of each alert of a rule file that fires at once, by their names. The test is left beside the
        file. Raises Unanswered."""
        tests = [{"eval_time": "1m", "alertname": name, "exp_alerts": []} for name in alerts]
        test = {
            "rule_files": [_literally(rules)],
            "evaluation_interval": "1m",
            "tests": [{"interval": "1m", "alert_rule_test": tests}],
        }
        file = rules.with_suffix(".test.yaml")
        file.write_text(json.dumps(test, ensure_ascii=False), encoding="utf-8")
        _, said = self._test_rules(file, within_s)
        found = {
            name: {key: unquoted(text) for key, text in _LABEL.findall(texts)}
            for name, texts in re.findall(r'alertname="([^"]+)".*?\}\n +Annotations:\{(.*)\}$', said, re.M)
        }
        if not found:
            raise Unanswered(_reason(said))
        return found

    def end(self) -> None:
        """Kill what runs, and what is started from now on."""
        self._over = True
        for process in list(self._running):
            process.kill()

    def _test_rules(self, file: Path, within_s: float) -> tuple[int, str]:
        """Its exit code and what it said. Raises Unanswered, or HarnessError where it cannot be started."""
        try:
            process = subprocess.Popen(
                [*self._argv, "test", "rules", str(file)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                encoding="utf-8", errors="replace",
                env={**os.environ, "TMPDIR": str(file.parent)},  # its storage, which it leaves when it is killed
            )  # fmt: skip
        except OSError as error:
            raise HarnessError(f"promtool cannot be started: {error}") from None
        with process:
            self._running.add(process)
            if self._over:
                process.kill()
            try:
                out, errors = process.communicate(timeout=within_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise Unanswered(f"it gave no answer within {within_s:g} s", late=True) from None
            finally:
                self._running.discard(process)
        return process.returncode, errors + out


def _literally(path: Path) -> str:
    """A path as promtool takes it, which is for a pattern."""
    return re.sub(r"([*?\[\\])", r"\\\1", str(path))


def _reason(said: str) -> str:
    """The first thing that went wrong, of all that promtool says."""
    lines = [line.strip() for line in said.splitlines()]
    lines = [line for line in lines if line and line != "FAILED:" and not line.startswith("Unit Testing:")]
    return next((line.rpartition(", err: ")[2] for line in lines if ", err: " in line), " ".join(lines[:3])[:500])


def _samples(text: str) -> list[Sample]:
    if text == "nil":
        return []
    found, end = [], 0
    while match := _SAMPLE.match(text, end):
        labels = {_name(name): unquoted(value) for name, value in _LABEL.findall(match[1])}
        found.append((labels, float(match[2])))
        end = match.end()
    if end != len(text):
        raise Unanswered(f"what it found cannot be read: {text[end : end + 200]}")
    return found


def _name(text: str) -> str:
    """A label's name, quoted or not."""
    return unquoted(text) if text.startswith('"') else text
