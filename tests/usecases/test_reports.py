"""Reports in the client's words."""

from uuid import UUID

from service.usecases.reports import named_report

IDS = [UUID(int=number) for number in range(3)]
REPORT = {
    "n_way": 2,
    "classes": [
        {"label": 0, "n_examples": 1, "recall": None},
        {"label": 1, "n_examples": 2, "recall": 0.5},
    ],
    "suspects": [{"example_id": 2, "nearest_label": 0, "reason": "nearest-to-another-class"}],
    "warnings": [
        {"code": "single-image", "labels": [0], "example_ids": []},
        {"code": "duplicates-across-classes", "labels": [0, 1], "example_ids": [0, 1]},
    ],
    "unbalanced": {"label": 0, "average_precision": 1.0},
}


def test_a_report_names_classes_and_examples() -> None:
    named = named_report(REPORT, ["owl", "cat"], IDS)
    assert [each["label"] for each in named["classes"]] == ["owl", "cat"]
    assert named["suspects"] == [
        {
            "example_id": str(IDS[2]),
            "label": "cat",
            "nearest_label": "owl",
            "reason": "nearest-to-another-class",
        }
    ]
    assert named["unbalanced"]["label"] == "owl"
    assert named["n_way"] == 2


def test_a_warning_is_a_sentence_about_labels() -> None:
    single, copies = named_report(REPORT, ["owl", "cat"], IDS)["warnings"]
    assert single["detail"].startswith("'owl' has one image only")
    assert copies["detail"].endswith("an example of 'owl' and 'cat'")
    assert copies["example_ids"] == [str(IDS[0]), str(IDS[1])]


def test_a_report_without_an_assessment_stays_as_it_is() -> None:
    assert named_report({"n_sent": 4}, ["owl", "cat"], IDS) == {"n_sent": 4}
