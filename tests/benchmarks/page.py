"""How long the page at `/` takes from a service that just started to right answers about photographs.

    python -m tests.benchmarks.page --data ../shared/data

A service is started as `handful serve` starts it, and the page opened in Chromium before anything else asked the
service: that is the cold load, until every control is there. Then examples of each class are dropped onto the page,
it is adapted, and asked about one further photograph, and about all that are left. Photographs are those of the Grocery
Store samples at their native size. Prints a table; times are what a person at the page waits.
"""

import argparse
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from selenium.webdriver import Chrome

from tests.browsing import chromium
from tests.running import running_service
from tests.web.page import Page

CLASSES = ("Banana", "Kiwi", "Red-Bell-Pepper")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of sample_uploads_grocery.zip")
    parser.add_argument("--shots", type=int, default=5, help="examples of each class")
    parser.add_argument("--repeats", type=int, default=3, help="how often all of it is done; the median is printed")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(told.data / "sample_uploads_grocery.zip") as archive:
            archive.extractall(folder)
        rounds = [one_round(Path(folder), f"round-{n}", shots=told.shots) for n in range(told.repeats)]
    print(f"| {len(CLASSES)} classes of {told.shots} photographs | median of {told.repeats} |")
    print("|---|---|")
    for name in rounds[0]:
        found = sorted(each[name] for each in rounds)
        print(f"| {name} | {found[len(found) // 2]:.2f} |")


def one_round(folder: Path, name: str, *, shots: int) -> dict[str, float]:
    """Seconds that each step takes with a fresh service and a fresh browser, and the share of right answers."""
    own = folder / name
    own.mkdir()
    with chromium(own / "browser") as browser, running_service(own) as url:
        return steps(browser, url, {label: sorted((folder / label).iterdir()) for label in CLASSES}, shots=shots)


def steps(browser: Chrome, url: str, photographs: dict[str, list[Path]], *, shots: int) -> dict[str, float]:
    """The steps of a person with photographs in folders."""
    page = Page(browser, url)
    seconds = {"page load, cold, s": timed(page.open)}
    for n, label in enumerate(photographs):
        if n > 1:
            page.click("#add-class")
        page.name_class(f"Class {n + 1}", label)
    seconds["photographs stored, s"] = timed(lambda: give(page, photographs, shots))
    seconds["adapted, s"] = timed(page.adapt)
    rest = {label: paths[shots:] for label, paths in photographs.items()}
    seconds["first answer, s"] = timed(lambda: first_answer(page, rest[CLASSES[0]][0]))
    right = [answer == label for label, paths in rest.items() for answer in answers(page, paths[1:])]
    return seconds | {"right answers": sum(right) / len(right)}


def timed(work: Callable[[], object]) -> float:
    """The seconds that it takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def give(page: Page, photographs: dict[str, list[Path]], shots: int) -> None:
    """Drop the first photographs of each class onto its card, and wait until the service has them."""
    for label, paths in photographs.items():
        page.drop(page.card(label), *paths[:shots])
    page.wait_for(lambda: set(page.classes().values()) == {f"{shots} examples"})


def first_answer(page: Page, path: Path) -> None:
    """Ask about one photograph."""
    page.try_files(path)
    page.wait_for(page.verdict)


def answers(page: Page, paths: Sequence[Path]) -> list[str]:
    """What the page says of each photograph."""
    page.script("document.querySelector('#results').replaceChildren()")
    page.try_files(*paths)
    page.wait_for(lambda: len(page.all("#results li")) == len(paths))
    return page.texts(".result-label")


if __name__ == "__main__":
    main()
