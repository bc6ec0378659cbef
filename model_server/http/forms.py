"""The picture inside a multipart form, as a browser or `curl -F image=@chest.png` sends it."""

import math

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, parse_options_header

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
    parts: list[Field | File] = []
    ends: list[bool] = []

    def keep(part: Field | File) -> None:
        parts.append(part)
        if len(parts) > 1 + MAX_PARTS:
            raise BadInput(422, "wrong_fields", f"the form has more than {MAX_PARTS} parts")

    try:
        in_memory = {"MAX_MEMORY_FILE_SIZE": math.inf}
        parser = FormParser(kind.decode(), keep, keep, lambda: ends.append(True), boundary, config=in_memory)
        # As a part of its own what stands before the first one is no error to the parser.
        parser.write(b"--" + boundary + b"\r\nContent-Disposition: form-data; name=preamble\r\n\r\n\r\n")
        parser.write(body)
    except FormParserError as error:
        raise BadInput(422, "broken_form", f"the multipart form cannot be read: {error}") from None
    if not ends:
        raise BadInput(422, "broken_form", "the multipart form is cut short")
    pictures = [part for part in parts if part.field_name in FIELDS]
    if len(pictures) != 1:
        few = f"the form has {len(pictures)} fields `image` or `file`; exactly one is needed"
        raise BadInput(422, "wrong_fields", few)
    [sent] = pictures
    content = sent.file_object.getvalue() if isinstance(sent, File) else sent.value
    if not content:
        raise BadInput(422, "empty_body", "the field is empty")
    return content
