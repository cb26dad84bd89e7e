"""Files of one crate that import each other in a circle, and the names that tie them.

    python3 scripts/circles.py [CRATE ...]        exits 1 where there is one

A file imports another where it names, outside of its tests, what the other defines. Modules that only hand names on
(`pub use`) are looked through.
"""

import re
import sys
from pathlib import Path

ITEM = re.compile(
    r"^(?:pub(?:\([a-z: ]+\))? )?(?:default |const |async |unsafe |extern \"C\" )*"
    r"(?:fn|struct|enum|trait|type|const|static|union|macro_rules!) +(?:mut )?(\w+)",
    re.M,
)


def source(path):
    """The code of a file without comments, strings and tests."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"//[^\n]*", "", text)
    text = re.sub(r'"(?:\\.|[^"\\])*"', '""', text, flags=re.S)
    return re.sub(r"#\[cfg\((?:all\()?test.*?\]\s*(?:pub(?:\([a-z ]+\))? )?mod \w+(?: \{.*?\n\}|;)", "", text, flags=re.S)


def leaves(tree, prefix=()):
    """The paths of a `use`: `a::{b, c::d as e}` is (a, b) and (a, c, d)."""
    tree = tree.strip()
    found = re.fullmatch(r"((?:\w+\s*::\s*)*)\{(.*)\}", tree, re.S)
    if not found:
        tree = re.sub(r"\s+as\s+\w+$", "", tree)
        yield prefix + tuple(part.strip() for part in tree.split("::"))
        return
    prefix += tuple(part.strip() for part in found[1].split("::") if part.strip())
    depth, start, inside = 0, 0, found[2]
    for i, c in enumerate(inside + ","):
        depth += (c == "{") - (c == "}")
        if c == "," and depth == 0:
            if inside[start:i].strip():
                yield from leaves(inside[start:i], prefix)
            start = i + 1


class Crate:
    def __init__(self, root):
        self.files, self.code, self.items, self.faces = {}, {}, {}, {}
        for path in sorted(root.rglob("*.rs")):
            parts = path.relative_to(root).with_suffix("").parts
            if parts[-1] == "tests" or "tests" in parts[:-1]:
                continue
            module = () if parts in (("lib",), ("main",)) else parts[:-1] if parts[-1] == "mod" else parts
            self.files[module] = path
        for module, path in self.files.items():
            self.code[module] = source(path)
            self.items[module] = set(ITEM.findall(self.code[module]))
        for module, code in self.code.items():
            self.faces[module] = {}
            for tree in re.findall(r"^pub(?:\([a-z: ]+\))? use ([^;]+);", code, re.M):
                for leaf in leaves(tree):
                    self.faces[module][leaf[-1]] = leaf

    def owner(self, module, path, seen=()):
        """The module that defines what `path`, written in `module`, names, and the name."""
        if (module, path) in seen or not path:
            return None
        head, at = path[0], None
        if head == "crate":
            at, rest = (), path[1:]
        elif head in ("super", "self"):
            at, rest = module, path
            while rest and rest[0] in ("super", "self"):
                at = at[:-1] if rest[0] == "super" else at
                rest = rest[1:]
        elif module + (head,) in self.files:
            at, rest = module, path
        if at is None:
            return None
        while rest and at + rest[:1] in self.files and rest[0] not in self.items[at]:
            at, rest = at + rest[:1], rest[1:]
        if not rest:
            return at, "*"
        name = rest[0]
        if name in self.faces.get(at, {}) and name not in self.items[at]:
            return self.owner(at, self.faces[at][name], (*seen, (module, path)))
        if name == "*":
            return at, "*"
        # A name that a macro makes is not among the items.
        return (at, name) if at != module else None

    def arrows(self):
        """Of each file, the files it imports, with the names."""
        found = {module: {} for module in self.files}
        for module, code in self.code.items():
            private = [leaf for tree in re.findall(r"^\s*use ([^;]+);", code, re.M) for leaf in leaves(tree)]
            body = re.sub(r"^(?:pub(?:\([a-z: ]+\))? )?use [^;]+;", "", code, flags=re.M)
            aliases = {leaf[-1]: leaf for leaf in private}
            inline = [tuple(p.split("::")) for p in re.findall(r"(?<![\w:])(?:\w+::)+\w+", body)]
            for path in private + inline:
                whole = aliases[path[0]] + path[1:] if path[0] in aliases and len(path) > 1 else path
                owned = self.owner(module, whole)
                within = owned and owned[0][: len(module)] == module  # a folder's own files, and the file itself
                if owned and not within and owned[1] != "*":
                    found[module].setdefault(owned[0], set()).add(owned[1])
        return found


def circles(arrows):
    """Groups of files that reach each other (Tarjan)."""
    index, low, stack, on, groups = {}, {}, [], set(), []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        on.add(v)
        for w in arrows[v]:
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in on:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            group = stack[stack.index(v):]
            del stack[stack.index(v):]
            on.difference_update(group)
            if len(group) > 1:
                groups.append(sorted(group))

    for v in arrows:
        if v not in index:
            visit(v)
    return groups


def main():
    sys.setrecursionlimit(10_000)
    root = Path(__file__).resolve().parent.parent
    every = [*sorted(path.parent for path in root.glob("crates/*/src")), root / "bench"]
    crates = [root / name for name in sys.argv[1:]] or every
    count = 0
    for folder in crates:
        crate = Crate(folder / "src")
        arrows = crate.arrows()
        for group in circles(arrows):
            count += 1
            print(f"a circle of {len(group)} files in {folder.relative_to(root)}:")
            for a in group:
                for b in group:
                    if b in arrows[a]:
                        print(f"  {'/'.join(a) or 'lib'} → {'/'.join(b) or 'lib'}: {', '.join(sorted(arrows[a][b]))}")
    sys.exit(count > 0)


main()
