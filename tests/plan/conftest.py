"""What the tests of plans share."""

import copy
import functools
from types import SimpleNamespace

import pytest
import yaml


@pytest.fixture(scope="session", autouse=True)
def chaos_toolkit_reads_each_text_once():
    """Hundreds of plans have the same experiments, and the reader of YAML that Chaos Toolkit has is a slow one."""
    read = functools.cache(yaml.safe_load)
    of_a_file = SimpleNamespace(safe_load=lambda file: copy.deepcopy(read(file.read())), YAMLError=yaml.YAMLError)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chaoslib.loader.yaml", of_a_file)
        yield
