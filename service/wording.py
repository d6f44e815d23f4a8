"""Words of the messages that people read, where the number decides between `1 file` and `2 files`."""


def counted(n: int, noun: str) -> str:
    """The number with its noun: `1 class`, `0 classes`; of several words the last one takes the plural."""
    if n == 1:
        return f"1 {noun}"
    return f"{n} {noun}{'es' if noun.endswith('s') else 's'}"
