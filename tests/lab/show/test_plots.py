from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ramgru.lab.show import memory_plots, plots
from ramgru.lab.show.data import Answer, Curve, Line, Occupancy, Point, Sample, Score
from ramgru.lab.show.theme import LOOKS, PALETTE, look


def labels(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_learning_curves_draw_every_run_and_name_every_layer_once(curves):
    figure = plots.learning_curves(curves, "recall")
    metric, loss = figure.axes
    assert len(metric.lines) == len(loss.lines) == 4
    assert metric.lines[0].get_xydata().tolist() == [[20, 0.5], [30, 0.75]]
    assert loss.lines[1].get_ydata().tolist() == [9.0, 3.0, 2.0]
    assert labels(figure) == ["RAM-GRU", "nn.GRU"]
    assert loss.get_yscale() == "log"
    assert (metric.get_ylabel(), loss.get_ylabel()) == ("recall on held-out data", "training loss")


@pytest.mark.parametrize("loss", [(1.0, 0.5, 0.0), (6.0, 5.0, 4.0)], ids=["zero", "near"])
def test_a_loss_of_zero_or_little_range_is_drawn_on_a_linear_scale(curves, loss):
    curve = replace(curves[0], loss=loss)
    assert plots.learning_curves([curve]).axes[1].get_yscale() == "linear"


def test_recall_against_pairs_holds_scores_band_chance_and_plateau(lines):
    figure = plots.recall_against_pairs(
        lines, trained=16, chance=0.001, plateau={4: 0.25, 16: 0.0625, 256: 1 / 256}
    )
    (axes,) = figure.axes
    drawn = {line.get_label(): line for line in axes.lines}
    assert drawn["RAM-GRU"].get_xydata().tolist() == [[4, 1.0], [16, 0.99], [256, 0.9]]
    assert drawn["nn.GRU"].get_ydata().tolist() == [0.25, 0.0625, 0.004]
    assert drawn["1/pairs: known values, unknown keys"].get_ydata().tolist() == [
        0.25,
        0.0625,
        1 / 256,
    ]
    assert set(drawn["chance 0.1 %"].get_ydata()) == {0.001}
    assert axes.get_xscale() == "log"
    (band,) = axes.collections  # only the RAM-GRU has intervals, at two of its points
    low_high = {tuple(np.round(point, 6)) for point in band.get_paths()[0].vertices}
    assert {(4, 0.99), (4, 1.0), (16, 0.98), (16, 1.0)} == low_high
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["4", "16", "256"]
    assert "trained on" in labels(figure)


def test_recall_against_distance_says_what_the_axis_is(lines):
    (axes,) = plots.recall_against_distance(lines, chance=0.1).axes
    assert axes.get_xlabel().startswith("distance from write to question (steps")
    assert axes.get_ylabel() == "recall"


def test_one_point_a_layer_against_state_bytes():
    points = [
        Point("ramgru", 2**20, Score(0.95, 0.9, 0.97)),
        Point("gru", 512, Score(0.01)),
    ]
    figure = plots.score_against_state(points, "recall", "at 1,024 pairs")
    (axes,) = figure.axes
    assert [c.lines[0].get_xydata().tolist() for c in axes.containers] == [
        [[2**20, 0.95]],
        [[512, 0.01]],
    ]
    assert labels(figure) == ["RAM-GRU: 95.0 % in 1 MiB", "nn.GRU: 1.0 % in 512 B"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "recurrent state of a sequence",
        "recall at 1,024 pairs",
    )


def test_layers_differ_in_marker_and_dash_and_those_of_one_color_in_kind():
    for part in ("marker", "dash", "label"):
        assert len({getattr(one, part) for one in LOOKS.values()}) == len(LOOKS)
    first = list(LOOKS.values())[:5]
    assert len({one.color for one in first}) == len(first)
    spare = [look(f"other{i}", i) for i in range(8)]
    assert len({(one.color, one.marker) for one in spare}) == len(spare)


def test_a_layer_with_options_is_named_with_them():
    assert look("attention,positions=rope", 3).label == "Attention, positions=rope"
    assert look("my_module:MyLayer").label == "my_module:MyLayer"
    variants = [look(f"ramgru,cells={2**n}", n) for n in range(8)]
    assert len({(one.color, one.marker) for one in variants}) == len(variants)


def test_occupancy_maps_each_cell_and_ranks_them(memory):
    left, right = memory_plots.occupancy(memory).axes
    opacity = left.images[0].get_array()[..., 3]
    assert opacity.shape == (4, 4)
    assert set(zip(*np.nonzero(opacity))) == {(0, 0), (1, 1), (3, 3)}
    assert [line.get_ydata().tolist() for line in right.lines] == [[3, 1], [4]]
    assert right.get_title(loc="left") == "3 of 32 cells in use"


@pytest.mark.parametrize(("cells", "side"), [(1, 1), (5, 3), (4096, 64), (65_536, 64), (2**20, 64)])
def test_a_large_memory_is_summed_down_and_loses_no_write(cells, side):
    counts = np.ones((1, cells), dtype=np.int64)
    grid = memory_plots._map(Occupancy.of(counts))
    assert grid.shape == (side, side)
    assert grid.sum() == cells


def test_a_memory_never_written_is_drawn_empty():
    empty = Occupancy.of(np.zeros((1, 9), dtype=np.int64))
    left, right = memory_plots.occupancy(empty).axes
    assert left.images[0].get_array()[..., 3].max() == 0
    assert right.get_title(loc="left") == "0 of 9 cells in use"


def test_provenance_has_a_row_a_question_and_a_key_of_colors(sample):
    figure = memory_plots.provenance(sample)
    (axes,) = figure.axes
    bars = [(bar.get_y() + 0.4, bar.get_x() + bar.get_width() / 2) for bar in axes.patches]
    assert np.allclose(bars, [(0, 1), (0, 3), (1, 1), (1, 3)])
    opacity = [bar.get_alpha() for bar in axes.patches]
    assert opacity[1] > opacity[3] > opacity[2] > opacity[0]  # weights 0.9, 0.7, 0.3, 0.1
    colors = [matplotlib.colors.to_hex(bar.get_facecolor()) for bar in axes.patches]
    assert colors == [PALETTE["plum"][0]] * 2 + [PALETTE["rose"][0]] * 2
    assert texts(axes) == ["✓ v2", "✗ v2"]
    assert [tuple(ring.get_xdata()) for ring in axes.lines] == [(3,), (1,)]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(sample.tokens)
    key = ["right answer", "wrong answer", "step that holds the right answer"]
    assert labels(figure) == key


def test_a_long_input_is_labelled_by_its_steps():
    tokens = [str(i) for i in range(100)]
    weight = np.zeros(100)
    weight[7] = 0.8
    answers = [Answer(50 + i, "7", "7" if i else "9", weight.tolist(), 7) for i in range(30)]
    (axes,) = memory_plots.provenance(Sample(tokens, answers), most=12).axes
    assert len(axes.patches) == 12
    assert {round(bar.get_x() + bar.get_width() / 2) for bar in axes.patches} == {7}
    assert texts(axes) == ["✗ 9"] + ["✓ 7"] * 11
    assert axes.get_yticklabels()[1].get_text() == "step 51: 51 → 7"
    assert axes.get_xlabel() == "step"


def test_a_unit_shows_its_gate_and_its_activation():
    activation = np.array([[1.0, -2.0], [0.0, 0.5], [0.0, 0.0]])
    upper, lower = memory_plots.cell_over_time(
        [0.0, 1.0, 0.5], activation, list("abc"), "Cell 3"
    ).axes
    assert [bar.get_height() for bar in upper.patches] == [0.0, 1.0, 0.5]
    opacity = np.asarray(lower.images[0].get_array())[..., 3]
    np.testing.assert_allclose(opacity, np.abs(activation.T) / 2)
    assert upper.get_title(loc="left") == "Cell 3"


@pytest.mark.parametrize(
    ("draw", "name"),
    [
        (plots.learning_curves, "curves"),
        (plots.recall_against_pairs, "lines"),
        (lambda data: plots.score_against_state(data, "recall", "x"), "points"),
        (lambda data: memory_plots.provenance(Sample(["a"], data)), "sample.answers"),
    ],
    ids=["curves", "lines", "points", "answers"],
)
def test_nothing_to_draw_is_said(draw, name):
    with pytest.raises(ValueError, match=f"^{name} must hold at least one"):
        draw([])


def test_drawing_leaves_matplotlibs_settings_as_they_were(lines):
    before = dict(matplotlib.rcParams)
    plots.recall_against_pairs(lines)
    assert dict(matplotlib.rcParams) == before


def test_one_size_only_can_be_drawn():
    line = Line("ramgru", (16,), (Score(0.5, 0.4, 0.6),))
    (axes,) = plots.recall_against_pairs([line], trained=16).axes
    low, high = axes.get_xlim()
    assert low < 16 < high


def test_legend_of_all_layers_lies_within_the_figure():
    points = [Point(layer, 2**20 + 2**10, Score(0.123, 0.12, 0.13)) for layer in LOOKS]
    many = [replace(p, layer=f"{p.layer},memory_of_cells={2**20}") for p in points]
    for figure in (
        plots.score_against_state(points, "recall", "at 1,024 pairs"),
        plots.score_against_state(many, "recall", "at 1,024 pairs"),
        plots.learning_curves([Curve(x, 0, (1, 2), (1, 2), (2,), (0.5,)) for x in LOOKS], "recall"),
    ):
        FigureCanvasAgg(figure).draw()
        box = figure.legends[0].get_window_extent()
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert box.y1 < figure.axes[0].get_window_extent().y0


def test_at_most_four_lines_stand_out_and_one_of_ours_does():
    names = ["gru", "lstm", "attention", "mingru", "deltanet", "ramgru"]
    many = [Line(n, (4, 16), (Score(0.9 - k / 10), Score(0.5))) for k, n in enumerate(names)]
    (axes,) = plots.recall_against_pairs(many).axes
    bold = {line.get_label() for line in axes.lines if line.get_alpha() is None}
    assert bold == {"RAM-GRU", "nn.GRU", "nn.LSTM", "Attention"}
    few = plots.recall_against_pairs(many[:4]).axes[0]
    assert all(line.get_alpha() is None for line in few.lines)


def test_at_most_four_points_stand_out():
    names = ["gru", "lstm", "attention", "mingru", "deltanet", "ramgru"]
    points = [Point(n, 2.0**k, Score(0.9 - k / 10, 0.2, 1.0)) for k, n in enumerate(names)]
    for draw in (plots.score_against_state, plots.score_against_time):
        (axes,) = draw(points, "recall", "x").axes
        marks = {c.get_label().split(":")[0]: c.lines[0] for c in axes.containers}
        bold = {name for name, mark in marks.items() if mark.get_alpha() is None}
        assert bold == {"RAM-GRU", "nn.GRU", "nn.LSTM", "Attention"}
        assert len({mark.get_markersize() for mark in marks.values()}) == 2


def test_findings_name_those_that_stand_out_and_the_best_of_the_others(lines, curves):
    assert plots.scores_finding(lines, "pairs", "recall") == (
        "At 256 pairs, the recall of RAM-GRU is 90.0 %, of nn.GRU 0.4 %"
    )
    assert plots.curves_finding(curves) == (
        "In training, the highest held-out recall of RAM-GRU is 75.0 %, of nn.GRU 75.0 %"
    )
    names = ["gru", "lstm", "attention", "mingru", "deltanet", "ramgru"]
    many = [Line(n, (4,), (Score(0.9 - k / 10),)) for k, n in enumerate(names)]
    assert plots.scores_finding(many, "bytes of state", "recall") == (
        "At 4 B, the recall of nn.GRU is 90.0 %, of nn.LSTM 80.0 %, of Attention 70.0 %, of "
        "RAM-GRU 40.0 %, of the 2 others at most 60.0 %"
    )


def test_a_picture_that_stands_alone_has_its_finding_as_its_title(lines):
    finding = "RAM-GRU recalls 90.0 % of 256 pairs, " * 4
    plain, figure = (plots.recall_against_pairs(lines) for _ in range(2))
    plots.titled(figure, finding)
    title = figure.axes[0].get_title(loc="left")
    assert title.replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ") == finding.strip()
    assert figure.get_figheight() > plain.get_figheight()
    FigureCanvasAgg(figure).draw()
    box = figure.axes[0]._left_title.get_window_extent()
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1


def test_every_axis_is_labelled(curves, lines, memory, sample):
    points = [Point("ramgru", 2**20, Score(0.95))]
    for figure in (
        plots.learning_curves(curves),
        plots.recall_against_pairs(lines),
        plots.recall_against_distance(lines),
        plots.score_against_state(points, "recall", "at 4 pairs"),
        plots.score_against_time(points, "recall", "at 4 pairs"),
        memory_plots.provenance(sample),
        memory_plots.occupancy(memory),
        memory_plots.cell_over_time([0.5], np.ones((1, 2)), ["a"], "Cell"),
        memory_plots.cell_over_time([0.5] * 60, np.ones((60, 2)), ["a"] * 60, "Cell"),
    ):
        FigureCanvasAgg(figure).draw()
        for axes in figure.axes:
            ticks = [tick.get_text() for tick in axes.get_xticklabels() if tick.get_visible()]
            assert axes.get_xlabel() or not any(ticks)  # the axes below share theirs
            assert axes.get_ylabel() or axes.images  # a map's rows have no meaning
