"""Alertmanager's configuration: the shipped one with the user's own files in it, which outlive every upgrade.

Alertmanager can include templates and secrets, but neither receivers nor routes, so that they are put in beforehand.
What the user wrote is carried over as YAML nodes: no text becomes a number or a truth value on the way (`18:00`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from exporter.config.decode import hidden_paths
from exporter.config.faults import Faults, Mark, join_key, nearest
from exporter.config.nodes import read
from exporter.errors import ConfigError, Fault

Routes: TypeAlias = Mapping[str, yaml.Node]
"""The shipped routes by the receiver that they lead to."""

SHIPPED, RECEIVERS, OVERRIDES = "alertmanager.yml", "receivers.yml", "overrides.yml"
"""What is written at every upgrade; and the user's own files beside it, written once and never again."""

_SECTIONS: dict[str, type[yaml.CollectionNode]] = {
    "global": yaml.MappingNode,
    "route": yaml.MappingNode,
    "adjust": yaml.MappingNode,
    "receivers": yaml.SequenceNode,
    "time_intervals": yaml.SequenceNode,
    "inhibit_rules": yaml.SequenceNode,
    "templates": yaml.SequenceNode,
}
_NAMED = {"receivers": "receiver", "time_intervals": "time interval"}
_ADJUSTABLE = (
    "group_by", "group_wait", "group_interval", "repeat_interval", "mute_time_intervals", "active_time_intervals",
    "matchers", "continue",
)  # fmt: skip
_SECRETS = {
    "smtp_auth_password", "slack_api_url", "opsgenie_api_key", "victorops_api_key", "auth_password", "api_key",
    "service_key", "password", "credentials", "client_secret", "bearer_token",
    "slack_configs.api_url", "pagerduty_configs.routing_key",
}  # fmt: skip
"""Keys that Alertmanager 0.25 also takes from a file, as KEY_file; some are a secret for one kind of channel only."""

_SECTION = re.compile(r"((?:#.*\n)*)^(\w+):.*\n(?:[ -].*\n|\n)*", re.MULTILINE)


def assemble(shipped: str, own: Mapping[str, str]) -> str:
    """The text of alertmanager.yml: that of the *shipped* one with what the files *own* (name to text) say.

    Of own files, `global` is taken key by key; `receivers` and `time_intervals` by name; `inhibit_rules` and
    `templates` are added; `route` changes keys of the root route, and its `routes` come before the shipped ones;
    `adjust` maps the receiver of a shipped route to keys of that route.  Of two files, the later one wins.
    Files that say nothing leave the shipped text as it is; a section that is changed loses the comments inside it.

    Raises ConfigError with every fault of the own files: YAML that cannot be read, other keys, secrets that do not
    stand in files of their own, routes to receivers or time intervals that nobody defined.
    """
    base = _compose(shipped, SHIPPED)
    routes = {_name(route, "receiver"): route for route in _items(_get(base, "route"), "routes")}
    faults: list[Fault] = []
    changed: set[str] = set()
    heard: list[str] = []
    for file, text in own.items():
        found, root = _checked(file, text, routes)
        faults += found.found
        if root is not None and root.value and not found:
            heard.append(file)
            for key, value in root.value:
                changed.add("route" if key.value == "adjust" else key.value)
                _take(base, routes, key.value, value)
    faults = faults or list(_undefined(base))
    if faults:
        raise ConfigError(faults)
    if not heard:
        return shipped
    head = f"# Written by `model-exporter bundle`, with your {' and '.join(heard)} in it.\n"
    return head + shipped[: shipped.index("\n\n") + 2] + _rendered(shipped, base, changed)


def _take(base: yaml.MappingNode, routes: Routes, section: str, own: yaml.Node) -> None:
    """Put one section of an own file into *base*."""
    if section == "adjust":
        for key, settings in own.value:
            _update(routes[key.value], settings)
        return
    into: Any = _get(base, section)
    if section == "route":
        _items(into, "routes")[:0] = _items(own, "routes")
        _update(into, yaml.MappingNode(own.tag, [(key, value) for key, value in own.value if key.value != "routes"]))
    elif section == "global":
        _update(into, own)
    elif section in _NAMED:
        for entry in own.value:
            places = [at for at, other in enumerate(into.value) if _name(other, "name") == _name(entry, "name")]
            into.value[slice(places[0], places[0] + 1) if places else slice(len(into.value), None)] = [entry]
    else:
        into.value += own.value


def _checked(file: str, text: str, routes: Routes) -> tuple[Faults, yaml.MappingNode | None]:
    """The faults of an own file, and its root, or None if it says nothing."""
    try:
        plain, faults = read(text, file, Path(), {})
    except ConfigError as error:
        return Faults(file, error.faults), None
    for key in hidden_paths(plain) if not faults else ():
        faults.add(plain.mark, key, "Alertmanager knows neither !file nor !env; its keys that end in _file name files")
    if faults or plain.value is None:
        return faults, None
    root = _compose(text, file)
    if not isinstance(root, yaml.MappingNode):
        faults.add(plain.mark, "", f"expected a mapping with keys such as {', '.join(_SECTIONS)}")
        return faults, None
    root.value = [(key, value) for key, value in root.value if value.value or value.tag != "tag:yaml.org,2002:null"]
    for key, value in root.value:
        kind = _SECTIONS.get(key.value)
        if kind is None:
            faults.add(_mark(key), key.value, _unknown("unknown key", key.value, _SECTIONS))
        elif not isinstance(value, kind):
            faults.add(_mark(value), key.value, f"expected a {'list' if kind is yaml.SequenceNode else 'mapping'}")
        else:
            _check_section(faults, key.value, value, routes)
    _check_secrets(faults, root, "", "")
    return faults, root


def _check_section(faults: Faults, section: str, own: yaml.Node, routes: Routes) -> None:
    if section in _NAMED:
        for number, entry in enumerate(own.value):
            if not _name(entry, "name"):
                faults.add(_mark(entry), f"{section}[{number}].name", "is missing: the name that routes use")
    elif section == "route":
        ahead = _get(own, "routes")
        if ahead is not None and not isinstance(ahead, yaml.SequenceNode):
            faults.add(_mark(ahead), "route.routes", "expected a list")
    elif section == "adjust":
        for key, settings in own.value:
            _check_adjusted(faults, key, settings, routes)


def _check_adjusted(faults: Faults, receiver: yaml.Node, settings: yaml.Node, routes: Routes) -> None:
    where = join_key("adjust", receiver.value)
    if receiver.value not in routes:
        faults.add(_mark(receiver), where, _unknown("no shipped route leads to it", receiver.value, routes))
    elif not isinstance(settings, yaml.MappingNode):
        faults.add(_mark(settings), where, f"expected a mapping with keys such as {', '.join(_ADJUSTABLE)}")
    else:
        for key, _ in settings.value:
            if key.value not in _ADJUSTABLE:
                faults.add(_mark(key), join_key(where, key.value), _unknown("unknown key", key.value, _ADJUSTABLE))


def _check_secrets(faults: Faults, node: yaml.Node, kind: str, path: str) -> None:
    """A fault for every secret in *node* that is written out; *kind* is the last `..._configs` on the way to it."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = str(key.value)
            if isinstance(value, yaml.ScalarNode) and {name, f"{kind}.{name}"} & _SECRETS:
                message = f"is a secret: write it into a file of its own, and name that with {name}_file"
                faults.add(_mark(key), join_key(path, name), message)
            _check_secrets(faults, value, name if name.endswith("_configs") else kind, join_key(path, name))
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _check_secrets(faults, value, kind, f"{path}[{number}]")


def _undefined(base: yaml.MappingNode) -> Iterator[Fault]:
    """Where routes name receivers or time intervals that do not exist, and Alertmanager would not start."""
    known = {section: [_name(entry, "name") for entry in _items(base, section)] for section in _NAMED}
    waiting = [route for route in [_get(base, "route")] if route is not None]
    while waiting:
        route = waiting.pop()
        waiting += _items(route, "routes")
        named = [("receivers", node) for node in [_get(route, "receiver")] if node is not None]
        for key in ("mute_time_intervals", "active_time_intervals"):
            named += [("time_intervals", node) for node in _items(route, key)]
        for section, node in named:
            if node.value not in known[section]:
                message = _unknown(f"there is no {_NAMED[section]} of this name", node.value, known[section])
                yield Fault(node.start_mark.name, *_mark(node), str(node.value), message)


def _rendered(shipped: str, base: yaml.MappingNode, changed: Iterable[str]) -> str:
    """*shipped* with the text of every changed section replaced, except for the comments above it."""
    text = {match[2]: (match[1], match[0].removeprefix(match[1])) for match in _SECTION.finditer(shipped)}
    for section in changed:
        node = yaml.MappingNode("tag:yaml.org,2002:map", [entry for entry in base.value if entry[0].value == section])
        text[section] = (text[section][0], yaml.serialize(node, width=119, allow_unicode=True) + "\n")
    return "".join(part for parts in text.values() for part in parts).rstrip("\n") + "\n"


class _Loader(yaml.SafeLoader):
    """Composes nodes; `18:00` is a text, as it is to Alertmanager, and not a number to the base of 60."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        tag: str = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        return "tag:yaml.org,2002:str" if kind is yaml.ScalarNode and ":" in value else tag


def _compose(text: str, name: str) -> Any:
    """The root node of *text*; its marks, and those of all nodes in it, bear *name*."""
    loader = _Loader(text)
    loader.name = name
    try:
        root = loader.get_single_node()
    finally:
        loader.dispose()
    return root


def _get(node: yaml.Node, key: str) -> yaml.Node | None:
    """The value of a mapping's *key*."""
    entries = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in entries if name.value == key), None)


def _items(node: yaml.Node | None, key: str) -> list[yaml.Node]:
    """The entries of the list under *key*, to be changed in place."""
    found = _get(node, key) if node is not None else None
    return found.value if isinstance(found, yaml.SequenceNode) else []


def _name(node: yaml.Node, key: str) -> str:
    """The text under *key*, or none."""
    found = _get(node, key)
    return str(found.value) if isinstance(found, yaml.ScalarNode) else ""


def _update(node: yaml.Node, own: yaml.Node) -> None:
    """Set the keys of *own* in *node*."""
    written = {key.value for key, _ in own.value}
    node.value = [entry for entry in node.value if entry[0].value not in written] + own.value


def _mark(node: yaml.Node) -> Mark:
    return (node.start_mark.line + 1, node.start_mark.column + 1)


def _unknown(problem: str, word: str, known: Iterable[str]) -> str:
    near = nearest(word, known)
    return f"{problem}; did you mean {near}?" if near else f"{problem}; known here: {', '.join(known)}"
