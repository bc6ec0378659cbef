"""The generator's process: its command line, one run of a schedule, and an end that leaves nothing out.

Importing this registers with Locust: the options, a check of everything before any load, complete CSV files, and one
orderly end for a signal, the run's own time, Locust's --run-time and the web UI's stop button alike.
"""

from __future__ import annotations

import logging
import signal
from typing import Any, ClassVar, NoReturn

import gevent
import locust.stats
import psutil
from locust import events
from locust.runners import LocalRunner, WorkerRunner

from harness.errors import HarnessError, UsageError
from harness.load.clock import now
from harness.load.locust import distributed, golden
from harness.load.locust.closed import Closed
from harness.load.locust.dispatch import MISTAKEN, Dispatch, first_of, make_ready, one_line
from harness.load.locust.iterations import Iterations
from harness.load.locust.load import Load, paths
from harness.load.locust.open_model import OpenModel

logger = logging.getLogger(__name__)

EXAMINED = 100  # requests of a scenario that may come from slow clients
CSV_MARGIN_S = 0.1  # so that the writer, whose second began before ours, is surely first
START_S = 0.1  # from the warm-up to the epoch of the schedule


class Run(Load):
    """One run of a user's schedule in this process alone."""

    current: ClassVar[Run | None] = None  # of this process, until the end of its test

    def __init__(self, user: OpenModel):
        super().__init__(user)
        self._clients = getattr(user.environment.parsed_options, "clients", None) or 0
        self._dispatch: Dispatch | None = None
        Run.current = self

    def start(self) -> None:
        """Begin, in a greenlet of its own: Locust stops users when their number is reduced, and the load goes on."""
        gevent.spawn(self._run)

    def _run(self) -> None:
        """Dispatch until the schedule or its time is over."""
        try:
            self._keep_schedule()
        except Exception as error:
            self.mistake(one_line(error))
        self.over()

    def _keep_schedule(self) -> None:
        for mistake in golden.take(self.user, self.schedule, self.host):
            self.mistake(mistake)
        make_ready(self.user, self.client)
        if self.ending:
            return
        epoch = now() + START_S
        self.started(epoch, f"clients:{self._clients}" if self._clients else str(self.schedule))
        self._dispatch = Dispatch(
            self.user, self.client, self.schedule, self.deliver, epoch, for_s=self.for_s, clients=self._clients
        )
        self._dispatch.start()
        self._dispatch.wait()

    def settle(self) -> dict[str, Any] | None:
        if self._dispatch is None:
            return None
        self._dispatch.stop()
        self._dispatch.wait()
        self.mistakes |= self._dispatch.mistakes
        return self._dispatch.account


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    add = parser.add_argument
    add("--arrivals", metavar="SCHEDULE", help="when requests are due, such as poisson:60/s:seed=7 or constant:60/s")
    add(
        "--clients",
        type=int,
        metavar="N",
        help="closed model: no schedule but N clients, each sending its next request when it has its response. It "
        "measures throughput; its latencies suffer from coordinated omission",
    )
    add("--for", dest="for_s", type=float, metavar="SECONDS", help="end the run after this time on the schedule")
    add("--corpus", metavar="DIR", help="folder of labelled images: NORMAL/ and PNEUMONIA/")
    add("--ca-file", metavar="PATH", help="the authorities to trust for https, instead of the system's")
    add("--connect-to", metavar="HOST:PORT", help="connect here; requests and certificates go by the host all the same")
    add("--insecure", action="store_true", help="accept any certificate of the service")
    add("--client-cert", metavar="PATH", include_in_web_ui=False, help="our own certificate for https, PEM")
    add(
        "--client-key", metavar="PATH", include_in_web_ui=False,
        help="its key, PEM and not encrypted; where left out it is in the file of the certificate",
    )  # fmt: skip
    add(
        "--headers-file", metavar="PATH", env_var="HARNESS_HEADERS_FILE", include_in_web_ui=False,
        help='JSON object of headers for every request, such as {"Authorization": "Bearer KEY"}; a request that sets a '
        "header itself keeps its own",
    )  # fmt: skip
    here = {"include_in_web_ui": False}
    add("--rows", metavar="PATH", help="append one fixed-width row per request to this file", **here)
    add("--events", metavar="PATH", help="append the generator's account to this JSON-lines file", **here)
    add("--golden", metavar="PATH", help="ask each input alone before the load, its rows appended to this file", **here)
    add("--golden-each", type=int, metavar="N", default=1, help="how often: once for each replica", **here)
    add("--generator", metavar="NAME", default="load", help="what this generator is called", **here)


@events.init.add_listener
def _prepare(environment: Any, **_: Any) -> None:
    """Everything that can be wrong with a scenario or its options, found before any load and reported in one line."""
    options = environment.parsed_options
    scheduled = any(hasattr(u, "schedule") for u in environment.user_classes)
    if not scheduled:
        if any(getattr(options, own) for own in ("arrivals", "clients", "for_s", "rows", "events")):
            _prepare_any(environment, options)
        return
    try:
        user = _one_user(environment)
        alone = isinstance(environment.runner, LocalRunner)
        if options.for_s is not None and not options.for_s > 0:
            raise UsageError(f"--for: must be above 0 seconds, got {options.for_s:g}")
        if options.clients is not None and not options.clients > 0:
            raise UsageError(f"--clients: must be above 0, got {options.clients}")
        if options.clients and not alone:
            raise UsageError("--clients: workers share a schedule, and this is none; leave out --processes or --master")
        if not isinstance(environment.runner, WorkerRunner):
            for path in filter(None, paths(options)):
                with open(path, "ab"):
                    pass
        user.check(options)
        if not options.clients:
            _refuse_no_arrival(user, options)
        user.prepare(options)
        one = user(environment)
        first = first_of(one, one.request(0), 0)
        host = environment.host or user.host or ""
        if options.headless or host:  # with the web UI it may be set later
            client = user.client(host, options)
            client.prepare(first)
            client.close()
            if client.tls is not None:
                _refuse_slow_clients(one)
        if not alone:
            distributed.join(environment, user)
    except Exception as error:
        _refuse(environment, error)
    _begin(environment)


def _prepare_any(environment: Any, options: Any) -> None:
    """The users of a locustfile that keep no schedule: recorded as they are, or their iterations on a schedule."""
    try:
        if not isinstance(environment.runner, LocalRunner):
            raise UsageError("its users keep no schedule that workers could share; leave out --processes or --master")
        if options.clients:
            raise UsageError("--clients is for a user that defines its k-th request; here the number of users is -u")
        if options.for_s is not None and not options.for_s > 0:
            raise UsageError(f"--for: must be above 0 seconds, got {options.for_s:g}")
        (Iterations if options.arrivals else Closed)(environment)
    except Exception as error:
        _refuse(environment, error)
    _begin(environment)


def _refuse(environment: Any, error: Exception) -> NoReturn:
    """End before any load, with one line that says why."""
    logger.error(f"{environment.locustfile}: {one_line(error)}")
    for worker in psutil.Process().children():  # of --processes; Locust leaves those that have yet to join
        worker.kill()
    raise SystemExit(error.exit_code if isinstance(error, HarnessError) else MISTAKEN) from None


def _begin(environment: Any) -> None:
    gevent.get_hub().loop.update_now()  # else Locust's --run-time counts from before the imports, up to seconds ago
    gevent.signal_handler(signal.SIGINT, _interrupt, environment)


def _one_user(environment: Any) -> type[OpenModel]:
    """The one user class of a run. Raises UsageError where there is another, or what would start users otherwise."""
    users = sorted(environment.user_classes, key=lambda u: u.__name__)
    scheduled = [u.__name__ for u in users if hasattr(u, "schedule")]
    if len(users) > 1:
        names = ", ".join(u.__name__ + " (keeps none)" * (u.__name__ not in scheduled) for u in users)
        raise UsageError(
            f"one user class is one schedule, and here are {len(users)}: {names}; name the one to run: `locust ... "
            f"{scheduled[0]}`, `harness load --user {scheduled[0]}`, or load.user in gate.yaml"
        )
    if environment.shape_class is not None:
        raise UsageError(
            f"{type(environment.shape_class).__name__} is a LoadTestShape, and the load here is the schedule of "
            f"{scheduled[0]}; leave the shape out, and give arrivals such as ramp:10/s..100/s:over=60s"
        )
    return users[0]


def _refuse_no_arrival(user: type[OpenModel], options: Any) -> None:
    """Raises UsageError where a schedule has no arrival, or none within the time of the run."""
    schedule = user.schedule(options)
    first_s = next(iter(schedule.times()), None)
    if first_s is None:
        raise UsageError(f"{user.__name__}.arrivals: {schedule} holds no arrival, so nothing would be sent")
    if options.for_s is not None and first_s >= options.for_s:
        raise UsageError(
            f"--for: the first arrival of {schedule} is due after {first_s:g} s, so within {options.for_s:g} s nothing "
            "would be sent"
        )


def _refuse_slow_clients(user: OpenModel) -> None:
    """Raises UsageError where a scenario for https has slow or aborting clients, as far as its first requests show."""
    for k in range(EXAMINED):
        if first_of(user, user.request(k), k).pace is not None:
            raise UsageError(
                f"pace: slow and aborting clients use plain HTTP only, and request {k} is one of theirs; use http://"
            )


def _interrupt(environment: Any) -> None:
    """SIGINT in a greenlet of its own: as KeyboardInterrupt it could strike a request between its end and its row."""
    environment.runner.quit()
    if environment.web_ui:
        environment.web_ui.stop()


@events.test_start.add_listener
def _starting(**_: Any) -> None:
    if Closed.current is not None:
        Closed.current.start()


@events.test_stopping.add_listener
def _stopping(**_: Any) -> None:
    if Run.current is not None:
        Run.current.finish()
    distributed.finish()


@events.quitting.add_listener  # before Locust decides on its exit code, and prints --json, which empties its entries
def _quitting(environment: Any, **_: Any) -> None:
    _stopping()
    _stopped()
    if environment.parsed_options.csv_prefix:  # Locust writes its CSV files once a second: wait for the last second
        gevent.sleep(locust.stats.CSV_STATS_INTERVAL_SEC + CSV_MARGIN_S)


@events.test_stop.add_listener
def _stopped(**_: Any) -> None:
    Run.current = None
    if Closed.current is not None:  # only now have its users ended what they had in flight
        Closed.current.finish()
