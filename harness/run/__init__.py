"""The orchestration: a plan becomes a stack, a load, experiments, and a folder of evidence, which is then judged.

preflight.py   the plan's files, checked by Prometheus' and Alertmanager's own tools
gate.py        a whole plan, from an empty machine to stored evidence
session.py     what a run has in hand while it goes on
phases.py      its parts: the load, and each phase from calm to calm
load.py        one scenario against a stack that is up
capacity.py    one load after another, until the edge is found
evidence.py    what a run leaves behind; judged from the folder alone
seal.py        that nothing of it was changed since
"""
