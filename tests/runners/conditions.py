"""The conditions of Azure Pipelines: the functions that the file calls; any other is refused."""

import re

from . import Refused

TOKEN = re.compile(r"\s*(?:(\w+)\(|variables\['([\w.]+)'\]|'([^']*)'|([,)]))")


def holds(condition: str, variables: dict) -> bool:
    """Whether a condition is true of the variables, where all before it went well."""
    tokens = TOKEN.findall(condition)
    if "".join(m[0] for m in TOKEN.finditer(condition)) != condition:
        raise Refused(f"condition {condition} is not known here")
    known = {name.lower(): value for name, value in variables.items()}

    def read():
        call, variable, text, _ = tokens.pop(0)
        if variable:
            return known.get(variable.lower(), "")
        if not call:
            return text
        values = []
        while tokens[0][3] != ")":
            values.append(read())
            if tokens[0][3] == ",":
                tokens.pop(0)
        tokens.pop(0)
        lower = [value.lower() if isinstance(value, str) else value for value in values]
        functions = {
            "and": lambda: all(values),
            "eq": lambda: lower[0] == lower[1],
            "in": lambda: lower[0] in lower[1:],
            "ne": lambda: lower[0] != lower[1],
            "or": lambda: any(values),
            "startsWith": lambda: lower[0].startswith(lower[1]),
            "succeeded": lambda: True,
        }
        if call not in functions:
            raise Refused(f"{call} in a condition is not known here")
        return functions[call]()

    return bool(read())
