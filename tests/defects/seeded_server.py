"""The bundled server with seeded defects: `python seeded_server.py DEFECT[,DEFECT] --port N`. For tests only."""

import sys
import time


class Uncounted:
    """What counting a 5xx does here: nothing."""

    def inc(self):
        pass


class Forgetful:
    """A request counter that never heard of 5xx."""

    def __init__(self, counter):
        self.counter = counter

    def labels(self, method, endpoint, status):
        return Uncounted() if status.startswith("5") else self.counter.labels(method, endpoint, status)


# What is imported is imported where it is used: whoever only asks for the names waits for no torch.


def ready_hard_wired():
    from model_server.service import Service

    real = Service.ready
    Service.ready = lambda self: (True, real(self)[1])


def uncounted_5xx():
    from model_server.telemetry.metrics import Metrics

    real = Metrics.__init__

    def init(self, *args, **kwargs):
        real(self, *args, **kwargs)
        self.requests = Forgetful(self.requests)

    Metrics.__init__ = init


def slow_inference():
    from model_server.inference.model import Model

    real = Model.predict

    def predict(self, *args):
        time.sleep(0.6)
        return real(self, *args)

    Model.predict = predict


DEFECTS = {"ready-hard-wired": ready_hard_wired, "uncounted-5xx": uncounted_5xx, "slow-inference": slow_inference}

if __name__ == "__main__":
    from model_server.__main__ import main

    for defect in sys.argv.pop(1).split(","):
        DEFECTS[defect]()
    sys.exit(main())
