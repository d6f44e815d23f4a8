"""Numbers with their nouns."""

from service.wording import counted


def test_one_is_singular_and_every_other_number_is_plural() -> None:
    assert [counted(n, "file") for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


def test_a_noun_that_ends_in_s_takes_es_and_of_several_words_the_last_counts() -> None:
    assert [counted(n, "class") for n in (1, 3)] == ["1 class", "3 classes"]
    assert [counted(n, "class folder") for n in (1, 3)] == ["1 class folder", "3 class folders"]
