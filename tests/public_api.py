"""The public names and what they take, a line each; of classes that functions make, the name.

With torch and dask: python tests/public_api.py > docs/api/public_api.txt
"""

import ast
import importlib
import inspect
from importlib.util import find_spec

import skattrib

PACKAGES = [
    "comparison",
    "explainers",
    "findings",
    "gradients",
    "metrics",
    "planting",
    "plots",
    "preprocessing",
    "retraining",
]
PACKAGES += ["torch_adapters"] * bool(find_spec("torch"))
PACKAGES += ["distributed"] * bool(find_spec("dask") and find_spec("distributed"))


def public_names():
    """(name, function or class) of all that is public, each once, where it is imported from."""
    found = {}
    for module in [skattrib, *(importlib.import_module(f"skattrib.{name}") for name in PACKAGES)]:
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value):
                found.setdefault(id(value), (f"{module.__name__}.{name}", value))
    return list(found.values())


def lines():
    """Of functions, classes and their methods."""
    found = []
    for name, value in public_names():
        made_here = inspect.isclass(value) and "\nParameters\n" not in inspect.getdoc(value)
        found.append(name if made_here else name + takes(value))
        if inspect.isclass(value):
            for method in sorted(vars_of(value)):
                found.append(f"{name}.{method}{takes(getattr(value, method))}")
    return found


def vars_of(cls):
    """Public methods that this package defines."""
    for name, value in inspect.getmembers(cls, callable):
        ours = getattr(value, "__module__", None) or ""
        if not name.startswith("_") and ours.startswith("skattrib"):
            yield name


def takes(value):
    """The parameters, as in a call."""
    parameters = []
    for one in inspect.signature(value).parameters.values():
        if one.name == "self":
            continue
        default = one.default
        if default is not one.empty and not is_literal(default):
            default = ...
        parameters.append(one.replace(annotation=one.empty, default=default))
    text = str(inspect.Signature(parameters))
    return text.replace("Ellipsis", "...")


def is_literal(value):
    try:
        return ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError):
        return False


def parameters(line):
    """(positional names, keyword-only names, {name: default}) of a line."""
    a = ast.parse(f"def f{line[line.index('(') :]}: ...").body[0].args
    places = [one.arg for one in [*a.posonlyargs, *a.args]]
    words = [one.arg for one in a.kwonlyargs]
    defaults = dict(zip(reversed(places), map(ast.unparse, reversed(a.defaults)), strict=False))
    defaults |= {
        name: ast.unparse(value)
        for name, value in zip(words, a.kw_defaults, strict=True)
        if value is not None
    }
    return places, words, defaults


def broken(old, new):
    """What a call that was right before would meet now, in words; empty if nothing."""
    if "(" not in old:
        return ""
    places, words, defaults = parameters(old)
    now_places, now_words, now_defaults = parameters(new)
    if now_places[: len(places)] != places:
        return f"takes {now_places} by position, not {places}"
    if missing := {*words} - {*now_words, *now_places}:
        return f"no longer takes {missing}"
    if changed := {name for name, value in defaults.items() if now_defaults.get(name) != value}:
        return f"has other defaults of {changed}"
    if needed := ({*now_places, *now_words} - {*places, *words}) - {*now_defaults}:
        return f"needs {needed}"
    return ""


if __name__ == "__main__":
    print("\n".join(lines()))
