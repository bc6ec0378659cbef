"""The picture in a multipart form."""

import pytest

from model_server.errors import BadInput
from model_server.http.forms import picture

KIND = "multipart/form-data; boundary=b"


def part(name: str, data: bytes, more: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


@pytest.mark.parametrize("name", ["image", "file"])
def test_a_form_gets_the_answer_its_picture_gets(served, corpus, name):
    body = corpus[1][0]
    raw = served.post("/predict", content=body).json()
    sent = served.post("/predict", files={name: ("chest.jpg", body, "image/jpeg")}, data={"note": "other fields"})
    assert sent.status_code == 200 and sent.json()["probability"] == raw["probability"]


def test_the_field_is_exactly_what_was_sent():
    data = bytes(range(256)) * 50 + b"\r\n--bb\r\n--\r\n"
    assert picture(form(part("patient", b"x"), part("image", data, '; filename="--b"')), KIND) == data
    assert picture(b"not a form", "image/png") == b"not a form"


IMAGE = part("image", b"x")
TAKEN = {  # RFC 2046, 5.1.1
    "text before": b"This is a form.\r\n\r\n--bb\r\n--" + b"\r\n" + form(IMAGE),
    "empty lines before": b"\r\n\r\n" + form(IMAGE),
    "text behind": form(IMAGE) + b"--b\r\nThe end. --b\r\n",
    "nothing behind": form(IMAGE)[:-2],
    "white space behind the first boundary": form(IMAGE).replace(b"--b\r\n", b"--b \t\r\n", 1),
    "white space behind a boundary": form(part("note", b"y"), IMAGE).replace(b"\r\n--b\r\n", b"\r\n--b \t\r\n"),
    "white space behind the last boundary": form(IMAGE)[:-2] + b" \t\r\n",
    "base64": form(part("image", b"eA==", "\r\nContent-Transfer-Encoding: base64")),
    "several fields": form(part("note", b""), IMAGE, part("note", b"")),
}


@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN)
def test_what_stands_around_the_parts_is_passed_over(body):
    assert picture(body, KIND) == b"x"
    assert picture(body, KIND.upper().replace("BOUNDARY=B", 'boundary="b"')) == b"x"


REFUSED = {
    "no field": (form(), KIND, "wrong_fields"),
    "another field": (form(part("picture", b"x")), KIND, "wrong_fields"),
    "two pictures": (form(part("image", b"x"), part("file", b"y")), KIND, "wrong_fields"),
    "an empty picture": (form(part("image", b"")), KIND, "empty_body"),
    "no end": (part("image", b"x"), KIND, "broken_form"),
    "cut in a header": (b"--b\r\nContent-Dispo", KIND, "broken_form"),
    "another boundary": (form(part("image", b"x")), "multipart/form-data; boundary=c", "broken_form"),
    "no boundary": (form(part("image", b"x")), "multipart/form-data", "broken_form"),
    "a long boundary": (form(part("image", b"x")), "multipart/form-data; boundary=" + 300 * "b", "broken_form"),
    "no form": (form(part("image", b"x")), "multipart/mixed; boundary=b", "wrong_form"),
    "bare text": (b"hello", KIND, "broken_form"),
    "text and an end": (b"hello\r\n--b--\r\n", KIND, "wrong_fields"),
    "a boundary in the middle of a line": (b"hello " + form(part("image", b"x")), KIND, "wrong_fields"),
    "an empty boundary": (form(part("image", b"x")), "multipart/form-data; boundary=", "broken_form"),
    "a thousand parts": (form(*[part("x", b"")] * 1000), KIND, "wrong_fields"),
    "half of base64": (form(part("image", b"eA=", "\r\nContent-Transfer-Encoding: base64")), KIND, "broken_form"),
    "a part without a name": (b"--b\r\n\r\nx\r\n" + form(part("image", b"x")), KIND, "broken_form"),
    "an endless header": (b"--b\r\nX: " + b"x" * (1 << 20), KIND, "broken_form"),
    "endless headers": (b"--b\r\n" + b"X: x\r\n" * 100_000, KIND, "broken_form"),
}


@pytest.mark.parametrize(("body", "kind", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_form_that_cannot_be_used_is_refused_with_the_reason(served, body, kind, reason):
    answer = served.post("/predict", content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["reason"]) == (415 if reason == "wrong_form" else 422, reason)
    with pytest.raises(BadInput):
        picture(body, kind)
