"""A YAML or JSON file with the line of every value, so that a complaint can say where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from harness.document import Loader, Unreadable, compose, compose_json, shown, text_of, yaml_trouble
from harness.units import nearest

Loc = tuple[str | int, ...]
SECRETS = {"requests", "metrics", "httpHeaders", "dependencies", "environment"}  # no value in them is quoted
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class YamlFile:
    """The content of a file, and the line each place in it came from."""

    name: str  # as the user would write it
    data: Any
    lines: Mapping[Loc, int]

    def place(self, loc: Loc = ()) -> str:
        """file:line of a place, or of the nearest one around it that exists."""
        while loc and loc not in self.lines:
            loc = loc[:-1]
        return f"{self.name}:{self.lines.get(loc, 1)}"


class _Loader(Loader):
    """The safe loader, whose every error has a line; it quotes no value."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            if not isinstance(value, int) or abs(value) < 2**63:  # more digits are no number that anything here takes
                return value
        except (ValueError, KeyError, AttributeError, TypeError, OverflowError):
            pass
        kind = node.tag.rpartition(":")[2]
        raise yaml.constructor.ConstructorError(None, None, f"no valid {kind}", node.start_mark)


def read(path: Path, problems: list[str]) -> YamlFile | None:
    """The file, YAML or by its ending JSON, or None with the reason appended to `problems`. A key written twice is an
    error, not last-one-wins."""
    name, as_json = shown(path), path.suffix == ".json"
    lines: dict[Loc, int] = {}
    twice: list[str] = []
    try:
        text = text_of(path)
        node = compose_json(text) if as_json else compose(text)
        loader = _Loader("")
        data = None if node is None else loader.construct_document(node)
        if node is not None:
            _walk(node, (), lines, name, twice)
    except yaml.YAMLError as error:
        found = yaml_trouble(error, "JSON" if as_json else "YAML")
        problems.append(f"{name}:{found.line}: {found}")
        return None
    except Unreadable as error:
        problems.append(f"{name}:{error.line}: {error}" if error.line else f"{name}: {error}")
        return None
    problems += twice
    return YamlFile(name, data, lines)


def validated(file: YamlFile, model: type[Model], problems: list[str], at: Loc = (), **context: Any) -> Model | None:
    """The part of a file at a place as a model, or None with every problem appended, each with its line and remedy.
    context: of the validation."""
    data = file.data
    for key in at:
        data = data[key]
    if not isinstance(data, dict):
        found = "nothing" if data is None else f"a {type(data).__name__}"
        problems.append(f"{file.place(at)}: {dotted(at) or 'the file'}: must be a mapping, got {found}")
        return None
    try:
        return model.model_validate(data, context=context)
    except ValidationError as error:
        problems += complaints(file, error, model, at)
        return None


def complaints(file: YamlFile, error: ValidationError, model: type[BaseModel], at: Loc = ()) -> list[str]:
    """What a model has against the part of a file at a place, one line each."""
    found = []
    for one in error.errors():
        loc = (*at, *(p for p in one["loc"] if not (isinstance(p, str) and ("(" in p or "[" in p))))
        words = _words(one, model)
        if SECRETS & {*loc}:
            words = words.partition("; got ")[0]
        found.append(f"{file.place(loc)}: {dotted(loc)}: {words}")
    return found


def _walk(node: yaml.Node, loc: Loc, lines: dict[Loc, int], name: str, problems: list[str]) -> None:
    lines.setdefault(loc, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            line, word = key.start_mark.line + 1, (key.tag, key.value)
            if word in seen:
                problems.append(f"{name}:{line}: {key.value}: written twice (first on line {seen[word]})")
            seen[word] = line
            lines[(*loc, key.value)] = line
            _walk(value, (*loc, key.value), lines, name, problems)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            _walk(value, (*loc, i), lines, name, problems)


def dotted(loc: Loc) -> str:
    """A place as its keys and numbers, like checks[0].quiet."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _words(one: Any, model: type[BaseModel]) -> str:
    """Pydantic's complaint in a user's words."""
    match one["type"]:
        case "extra_forbidden":
            known = _keys(model, one["loc"][:-1])
            return f"unknown key; {nearest(str(one['loc'][-1]), known)}"
        case "missing":
            return "is missing"
        case "model_type" | "tuple_type" | "list_type":
            what = "mapping" if one["type"] == "model_type" else "list"
            return f"must be a {what}; got {_quoted(one['input'])}"
        case "string_type" if isinstance(one["input"], (bool, int, float)) or one["input"] is None:
            return f"must be text: put it in quotes, or YAML reads it as {json.dumps(one['input'])}"
        case "float_type" | "int_type" if isinstance(one["input"], str):
            number = "number" if one["type"] == "float_type" else "whole number"
            return f"must be a {number}, without a unit; YAML reads {_quoted(one['input'])} as text"
        case "value_error":
            return str(one["ctx"]["error"])
        case _:
            return f"{one['msg'][0].lower()}{one['msg'][1:]}; got {_quoted(one['input'])}"


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."


def _keys(model: type[BaseModel], loc: Loc) -> list[str]:
    """The keys a section may have, found by walking the models along a place."""
    import typing

    current: Any = model
    for part in loc:
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            return []
        fields = {f.alias or n: f.annotation for n, f in current.model_fields.items()}
        if isinstance(part, str) and part in fields:
            current = fields[part]
            while typing.get_args(current):
                models = [a for a in typing.get_args(current) if a is not type(None)]
                current = models[0 if typing.get_origin(current) is Annotated else -1]
    if not (isinstance(current, type) and issubclass(current, BaseModel)):
        return []
    return [f.alias or n for n, f in current.model_fields.items()]
