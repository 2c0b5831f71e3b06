"""Spellings of the release before: they work in this one, with a note that shows the new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

MODEL_FLAGS = {"anomalies": "--against", "decompress": "--model"}
"""Flags that named the model, which is the first argument now."""
RENAMED: Mapping[str, Mapping[str, str]] = {"direction": {"--extent": "--span"}, "poster": {"--reach": "--span"}}
REPEATED_PATHS: Mapping[str, Sequence[str]] = {
    "sample": ("--like",),
    "loop": ("--like",),
    "poster": ("--like",),
    "direction": ("--from", "--to", "--images"),
}
"""Flags that took all paths that followed, and now take one each time that they are given."""
WITH_COMMAS: Mapping[str, Sequence[str]] = {"traverse": ("--latent",)}
"""Flags that were given once for each value, and now take values with commas between them."""


def in_todays_spelling(words: list[str], note: Callable[[str], None]) -> list[str]:
    """The words of a command line as they are spelt today; `note` is called with a line about each that is not."""
    if not words:
        return words
    command, renamed = words[0], RENAMED.get(words[0], {})
    rest: list[str] = []
    values: dict[str, list[str]] = {}
    flag = ""  # whose values these are
    end = words.index("--") if "--" in words else len(words)
    for word in words[1:end]:
        name, equals, value = word.partition("=")
        if name in renamed:
            note(f"{name} is {renamed[name]} now; the old name goes with the next release")
            name = renamed[name]
        if name == MODEL_FLAGS.get(command) or name in WITH_COMMAS.get(command, ()):
            flag = "" if equals else name
            values.setdefault(name, []).extend([value] if equals else [])
            continue
        if not word.startswith("-") and flag in values:
            values[flag].append(word)
            flag = ""
            continue
        repeated = flag in REPEATED_PATHS.get(command, ()) and not word.startswith("-")
        if repeated and rest[-1] != flag:
            note(f"{flag} takes one path each time: {flag} A {flag} B; several after one go with the next release")
            rest.append(flag)
        elif not repeated:
            flag = name if name in REPEATED_PATHS.get(command, ()) and not equals else ""
        rest.append(f"{name}{equals}{value}")
    for name, given in values.items():
        if name == MODEL_FLAGS.get(command):
            note(f"`corolla {command} MODEL ...` is the order now; {name} goes with the next release")
            rest = [*(given or [name]), *rest]
        else:
            if len(given) > 1:
                note(f"{name} takes values with commas now: {name} {','.join(given)}")
            rest += [name, ",".join(given)] if given else [name]
    return [command, *rest, *words[end:]]
