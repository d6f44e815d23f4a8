import xml.etree.ElementTree as ET

from service.metalearning.learning_curve import curve_svg

LOG: list[dict[str, object]] = [
    {"step": 50, "loss": 2.0, "validation": None},
    {"step": 100, "loss": 1.0, "validation": 40.0},
    {"step": 150, "loss": 0.5, "validation": 60.0},
]


def polylines(svg: str) -> list[str]:
    """The points of each curve."""
    root = ET.fromstring(svg)
    return [line.attrib["points"] for line in root.iter("{http://www.w3.org/2000/svg}polyline")]


def test_the_loss_falls_from_the_top_left_to_the_bottom_right() -> None:
    losses, _ = polylines(curve_svg("a run", LOG))

    first, *_, last = losses.split()
    assert first == "229.3,48.0"
    assert last == "592.0,272.0"


def test_the_accuracy_has_a_point_for_each_measurement() -> None:
    _, accuracies = polylines(curve_svg("a run", LOG))

    assert accuracies.split() == ["410.7,272.0", "592.0,48.0"]


def test_a_run_that_has_no_line_yet_has_an_empty_curve() -> None:
    assert polylines(curve_svg("<a & b>", [])) == ["", ""]
