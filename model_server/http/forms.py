"""The picture inside a multipart form, as a browser or `curl -F image=@chest.png` sends it."""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from model_server.errors import BadInput

FIELDS = (b"image", b"file")
MAX_PARTS = 16


def picture(body: bytes, content_type: str) -> bytes:
    """The body itself, or the field `image` or `file` where the body is a multipart form. Raises BadInput.

    Other fields are passed over, and so is what stands before the first part and behind the last one (RFC 2046, 5.1.1).
    The parser bounds the headers of a part, and the number of parts is bounded here.
    """
    if not content_type[:10].lower().startswith("multipart/"):
        return body
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise BadInput(415, "wrong_form", "of multipart bodies, multipart/form-data is taken")
    if not (boundary := options.get(b"boundary")):
        raise BadInput(422, "broken_form", "the multipart form has no boundary")
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())
        # As a part of its own what stands before the first one is no error to the parser.
        parser.write(b"--" + boundary + b"\r\n\r\n\r\n")
        parser.write(body)
    except FormParserError as error:
        raise BadInput(422, "broken_form", f"the multipart form cannot be read: {error}") from None
    if not form.ended:
        raise BadInput(422, "broken_form", "the multipart form is cut short")
    if len(form.pictures) != 1:
        raise BadInput(
            422, "wrong_fields", f"the form has {len(form.pictures)} fields `image` or `file`; exactly one is needed"
        )
    if not form.pictures[0]:
        raise BadInput(422, "empty_body", "the field is empty")
    return bytes(form.pictures[0])


class _Form:
    """Collects what the parser calls out."""

    def __init__(self):
        self.pictures: list[bytearray] = []
        self.ended = False
        self._parts, self._name, self._value, self._into = -1, b"", b"", None

    def callbacks(self) -> dict:
        return {
            "on_part_begin": self._begin,
            "on_header_begin": self._header,
            "on_header_field": self._field,
            "on_header_value": self._said,
            "on_header_end": self._headed,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._parts, self._into = self._parts + 1, None
        if self._parts > MAX_PARTS:
            raise BadInput(422, "wrong_fields", f"the form has more than {MAX_PARTS} parts")

    def _header(self) -> None:
        self._name = self._value = b""

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _said(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _headed(self) -> None:
        if self._name.lower() == b"content-disposition" and self._into is None:
            _, options = parse_options_header(self._value)
            if options.get(b"name") in FIELDS:
                self._into = bytearray()
                self.pictures.append(self._into)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._into is not None:
            self._into += memoryview(data)[start:end]

    def _end(self) -> None:
        self.ended = True
