"""What a server imports, which takes seconds; imported once, in the process that the tests' servers are forked from."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # as the server has it, before torch is there

import model_server.__main__
import model_server.inference.dicom
import model_server.inference.model
import model_server.storage.database  # noqa: F401
