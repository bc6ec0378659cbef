"""The network behind LitServe: `python lit.py PORT`.

Of the settings that were tried these served most: ZeroMQ, base64 in JSON rather than a form, 2 ms of waiting.
"""

import base64
import sys

import litserve
import numpy as np
from fastapi import Request

from model_server.classes import CLASSES
from model_server.inference.images import decode
from model_server.inference.model import ready


class Classifier(litserve.LitAPI):
    def setup(self, device):
        self.model = ready(max_batch=self.max_batch_size)

    def decode_request(self, request: Request):
        return decode(base64.b64decode(request["image"]))

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, batch):
        return self.model.predict(batch)

    def unbatch(self, output):
        return output.tolist()

    def encode_response(self, probability):
        return {
            "class": CLASSES[probability > 0.5],
            "probability": round(probability, 6),
            "model_version": self.model.version,
        }


if __name__ == "__main__":
    server = litserve.LitServer(Classifier(max_batch_size=16, batch_timeout=0.002), accelerator="cpu", fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error", access_log=False)
