"""A server of several processes, in the shapes that real ones have: `python several_processes.py SHAPE PORT`."""

import os
import socket
import subprocess
import sys
import time

shape, port = sys.argv[1], int(sys.argv[2])


def listening(backlog=64):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen(backlog)
    return server


def serve(server, pause_s=0.0):
    while True:
        time.sleep(pause_s)
        server.accept()[0].close()


def run(*more, **options):
    return subprocess.Popen([sys.executable, __file__, *more, str(port)], **options)


match shape:
    case "one":
        serve(listening())
    case "slow":
        serve(listening(), pause_s=0.3)
    case "deferred":  # it is handed a connection only once that has sent something
        server = listening()
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
        serve(server)
    case "full":  # its queue has no room while it hangs, so that connections are not even made
        serve(listening(backlog=0))
    case "deaf":  # it listens, and never accepts
        kept = listening()
        time.sleep(120)
    case "workers":  # forked by a master that holds the socket and replaces those that die
        server = listening()
        workers = set()
        while True:
            while len(workers) < 2:
                if not (worker := os.fork()):
                    serve(server)
                workers.add(worker)
            workers.discard(os.wait()[0])
    case "session":  # a child in a session of its own, as a daemon's
        run("one", start_new_session=True).wait()
    case "nameless":  # a child without our mark in its environment, in a session of its own
        run("one", start_new_session=True, env={}).wait()
    case "daemon":  # twice forked, so that its parent is gone
        if not os.fork():
            os.setsid()
            if os.fork():
                os._exit(0)
            serve(listening())
        time.sleep(120)
