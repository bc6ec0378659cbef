"""Go's quoted strings, beside Python's literals, which know the same escapes."""

import ast
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.rules.quoted import unquoted


@pytest.mark.parametrize(
    "text",
    ['""', '"a"', r'"a\\b"', r'"\"q\" \n\t\a\v"', r'"\x41\u00e9\U0001F600\101"', '"ä {}"', r'"\\n"'],
)
def test_a_quoted_string_says_what_python_reads_in_it(text):
    assert unquoted(text) == ast.literal_eval(text)


def test_between_backquotes_a_backslash_is_a_backslash_and_an_unknown_escape_stays():
    assert unquoted(r"`a\d`") == r"a\d"
    assert unquoted(r'"a\d"') == r"a\d"


def test_many_threads_read_at_once():
    with ThreadPoolExecutor(8) as several:
        assert set(several.map(unquoted, [r'"\"pending\""'] * 20_000)) == {'"pending"'}
