"""Reading a recipe: JSON values as the typed records that they stand for, and errors that name the field at fault."""

import dataclasses
import json
import sys
import types
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal


class RecipeError(ValueError):
    """A recipe that cannot be used; the message is one sentence that says why."""


class OtherFileError(RecipeError):
    """A file that is not the one that the recipe was made with."""


def require(holds: bool, field: str, value: object, needed: str) -> None:
    """Raises ValueError naming a field, its value and what it must be, unless `holds`."""
    if not holds:
        raise ValueError(f"{field} is {value}; it must be {needed}")


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Errors in the recipe's terms: which of its parts could not be had."""
    try:
        yield
    except ValueError as error:
        kind = OtherFileError if isinstance(error, OtherFileError) else RecipeError
        raise kind(f"{what}: {str(error).rstrip('.')}") from error


def json_values(text: str | bytes) -> Any:
    """What a JSON text (bytes: UTF-8) holds. Raises RecipeError, also for a field twice and numbers that are none."""
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        values = json.loads(decoded, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
        json.dumps(values, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except RecipeError:
        raise
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested without end
        raise RecipeError(f"the recipe is not readable JSON ({error})") from error
    return values


def _without_repeats(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise RecipeError(f"the recipe has the field {shortened_json(repeated)} twice in one place; keep one of them")
    return found


def _refuse_constant(name: str):
    raise RecipeError(f"the recipe holds {name}, which is no number; give a finite one")


def read_value(kind: Any, value: Any, where: str) -> Any:
    """`value`, as JSON has it, as the type `kind`; `where` names its place. Raises RecipeError."""
    if dataclasses.is_dataclass(kind):
        return _read_record(kind, value, where)
    if _is_union(kind):
        return _read_union(kind, value, where)
    if typing.get_origin(kind) is tuple and isinstance(value, list):
        return _read_list(kind, value, where)
    if typing.get_origin(kind) is Literal:
        # Types are compared too, since 1 == True.
        if any(type(value) is type(choice) and value == choice for choice in typing.get_args(kind)):
            return value
    elif kind is float:
        if type(value) in (int, float) and abs(value) <= sys.float_info.max:
            return float(value)
    elif type(value) is kind:
        return value
    raise RecipeError(f"{where} is {shortened_json(value)}; it must be {_in_words(kind)}")


def _read_record(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise RecipeError(f"{where or 'the recipe'} is {shortened_json(value)}; it must be an object with named fields")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in value:
        if name not in fields:
            raise RecipeError(
                f"there is no field {_place(where, _as_word(name))}; the fields there are {', '.join(fields)}"
            )
    for name, field in fields.items():
        if name not in value and field.default is dataclasses.MISSING:
            raise RecipeError(f"the field {_place(where, name)} is missing; it must be {_in_words(field.type)}")
    found = {name: read_value(fields[name].type, entry, _place(where, name)) for name, entry in value.items()}
    try:
        return kind(**found)
    except ValueError as error:
        raise RecipeError(_place(where, str(error))) from error


def _read_union(kind: Any, value: Any, where: str) -> Any:
    """An object belongs to the record that has its `source`; anything else to the first type that takes it."""
    options = typing.get_args(kind)
    records = {_source(option): option for option in options if dataclasses.is_dataclass(option)}
    if len(records) == 1 and isinstance(value, dict):
        return _read_record(next(iter(records.values())), value, where)
    if records and isinstance(value, dict):
        source = value.get("source")
        if not isinstance(source, str) or source not in records:
            raise RecipeError(f"{where}.source is {shortened_json(source)}; choose one of {', '.join(records)}")
        return _read_record(records[source], value, where)
    for option in options:
        try:
            return read_value(option, value, where)
        except RecipeError:
            continue  # the sentence below names all of them
    raise RecipeError(f"{where} is {shortened_json(value)}; it must be {_in_words(kind)}")


def _read_list(kind: Any, value: list, where: str) -> tuple:
    kinds = typing.get_args(kind)
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(value) != len(kinds):
        raise RecipeError(f"{where} is {shortened_json(value)}; it must be {_in_words(kind)}")
    return tuple(
        read_value(entry_kind, entry, f"{where}[{index}]")
        for index, (entry_kind, entry) in enumerate(zip(kinds, value, strict=True))
    )


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def _source(record: Any) -> Any:
    return next((field.default for field in dataclasses.fields(record) if field.name == "source"), None)


def _in_words(kind: Any) -> str:
    """What a value of this type is called in a message."""
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(json.dumps(choice) for choice in typing.get_args(kind))
    if _is_union(kind):
        return " or ".join(_in_words(option) for option in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        kinds = typing.get_args(kind)
        return "a list" if kinds[-1] is Ellipsis else f"[{', '.join(map(_in_words, kinds))}]"
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}
    return words.get(kind, "an object with named fields")


def _place(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _as_word(name: str) -> str:
    return name if name.isprintable() and len(name) <= 60 else shortened_json(name)


def shortened_json(value: object) -> str:
    """A value as JSON, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}…"
