"""Print what became of each published attack: ``python3 -m tests.attacks [RUNTIME ...]``, the library first.

Each runtime is a run of pytest of its own. *holds*: the attack did not work; FALLS: it did, in so many of its forms;
a dash: the test can ask the library only, or the host lacks something it needs.
"""
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

__all__ = ["main"]

HERE = Path(__file__).resolve().parent


def results(runtime: str | None, more: list[str]) -> dict[str, list[str]]:
    """Attack one runtime; return for each test how its forms ended."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", f"--junitxml={report}",
                   str(HERE), "-m", "attack", "-k", "not careless", *more]
        command += [f"--runtime={runtime}"] if runtime else []
        subprocess.run(command, cwd=HERE.parent.parent, stdout=subprocess.DEVNULL)
        cases = ElementTree.parse(report).getroot().iter("testcase")
        found: dict[str, list[str]] = {}
        for case in cases:
            ended = "held"
            for child in case:
                if child.tag in ("failure", "error"):
                    ended = "fell" if "Fell" in child.get("message", "") else "broken"
                elif child.tag == "skipped":
                    ended = "-"
            found.setdefault(case.attrib["name"].partition("[")[0], []).append(ended)
        return found


def _shown(forms: list[str]) -> str:
    for word, said in (("fell", "FALLS"), ("broken", "error")):
        if word in forms:
            return f"{said} {forms.count(word)}/{len(forms)}"
    return "holds" if "held" in forms else "-"


def main() -> None:
    """Attack the library and the runtimes of the command line, and print a table."""
    runtimes = [None, *[word for word in sys.argv[1:] if not word.startswith("-")]]
    more = [word for word in sys.argv[1:] if word.startswith("-")]
    columns = [results(runtime, more) for runtime in runtimes]
    names = [os.path.basename(runtime or "nscontainer") for runtime in runtimes]
    width = max(len(test) for test in columns[0]) + 2
    print("test".ljust(width) + "".join(name.ljust(14) for name in names))
    for test in columns[0]:
        print(test.removeprefix("test_").ljust(width)
              + "".join(_shown(column.get(test, ["-"])).ljust(14) for column in columns))


if __name__ == "__main__":
    main()
