import pytest
from small_project import Project


@pytest.fixture
def project(tmp_path):
    """A whole project, small and quick, that a test may spoil."""
    return Project(tmp_path)
