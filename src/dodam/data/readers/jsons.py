"""JSONL, one object a line, streamed; JSON, an array of objects or an object that holds one, read whole."""

import json

from dodam.data.readers.encodings import blocks, encoding_of
from dodam.data.readers.row import Row, Rows
from dodam.data.readers.text import numbered_lines
from dodam.errors import DataError

MEND = "Mend it."


def jsonl_rows(path: str, encoding: str) -> Rows:
    """One JSON object a line."""
    for number, line in numbered_lines(path, encoding):
        where = f"{path}:{number}"
        if isinstance(line, DataError):
            yield where, line
        elif line.strip():
            yield where, _object(line, where)


def _object(line: str, where: str) -> Row | DataError:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        return DataError(f"is not JSON ({error.msg}, column {error.colno})", where=where, mend=MEND)
    except RecursionError:
        return DataError("is nested too deep", where=where)
    except ValueError as error:  # a number of thousands of digits
        return DataError(f"is not JSON ({error})", where=where, mend=MEND)
    if not isinstance(row, dict):
        return DataError("is not a JSON object, {…}", where=where)
    return row


def json_rows(path: str, encoding: str) -> Rows:
    """One JSON array of objects, or an object that holds one; or JSONL under another name. Read whole."""
    encoding = encoding_of(path, encoding)  # found out, and told, once
    text = "".join(blocks(path, encoding))
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            yield from jsonl_rows(path, encoding)
            return
        where = f"{path}:{error.lineno}"
        raise DataError(f"is not JSON ({error.msg}, column {error.colno})", where=where, mend=MEND) from None
    except RecursionError:
        raise DataError("is nested too deep", where=path) from None
    except ValueError as error:  # a number of thousands of digits
        raise DataError(f"is not JSON ({error})", where=path) from None
    if isinstance(value, dict):
        arrays = [inner for inner in value.values() if isinstance(inner, list) and inner and isinstance(inner[0], dict)]
        value = arrays[0] if len(arrays) == 1 and not {"messages", "conversations"} & value.keys() else [value]
    if not isinstance(value, list):
        raise DataError("is neither an array nor an object", where=path)
    for number, row in enumerate(value, start=1):
        where = f"{path}: entry {number}"
        yield where, row if isinstance(row, dict) else DataError("is not a JSON object, {…}", where=where)
