"""What the settings of a learner may be; one check for recipes, checkpoints and requests."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from service.errors import InvalidOption
from service.metalearning.header import Setting


@dataclass(frozen=True, slots=True)
class Number:
    """A number from low to high, both included."""

    low: float
    high: float
    whole: bool = False

    def __str__(self) -> str:
        return f"a {'whole ' if self.whole else ''}number from {self.low:g} to {self.high:g}"

    def checked(self, name: str, value: Setting) -> Setting:
        """The value, as int or float; a whole float such as 5.0 passes for an int."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not self.low <= float(value) <= self.high or (self.whole and float(value) % 1):
            raise InvalidOption(f"{name} is {value!r}, expected {self}")
        return int(value) if self.whole else float(value)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these words."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return " or ".join(repr(word) for word in self.words)

    def checked(self, name: str, value: Setting) -> Setting:
        """The value."""
        if value not in self.words:
            raise InvalidOption(f"{name} is {value!r}, expected {self}")
        return value


Option: TypeAlias = Number | Choice


def checked_settings(options: Mapping[str, Option], settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """The settings in the types that the learner takes.

    Raises:
        InvalidOption: a name is unknown or a value is out of range.
    """
    for name in settings:
        if name not in options:
            raise InvalidOption(f"option {name!r} is unknown, expected one of {', '.join(options)}")
    return {name: options[name].checked(name, value) for name, value in settings.items()}
