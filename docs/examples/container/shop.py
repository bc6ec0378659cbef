"""A small web shop with metrics: python shop.py HOST:PORT [PID_FILE]"""

import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SERVED, LOCK = {200: 0}, threading.Lock()


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body go out together

    def do_GET(self):
        if self.path == "/metrics":
            with LOCK:
                lines = [f'shop_requests_total{{status="{status}"}} {n}' for status, n in SERVED.items()]
            return self.say("\n".join(["# TYPE shop_requests_total counter", *lines, ""]))
        if self.path not in ("/ready", "/live"):
            with LOCK:
                SERVED[200] += 1
        self.say(f'{{"pid": {os.getpid()}}}')

    def say(self, text):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *about):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size, daemon_threads = 1024, True


if __name__ == "__main__":
    host, _, port = sys.argv[1].rpartition(":")
    server = Server((host, int(port)), Shop)
    if sys.argv[2:]:
        with open(sys.argv[2], "w") as out:
            out.write(str(os.getpid()))
    server.serve_forever()
