"""Grids, curricula, chance levels, plateaus and refused sizes of all tasks, as tables."""

import re

import pytest

from ramgru.lab.tasks import TASKS, from_text, get

from .text_solvers import missing

# task | axes of its grid | points
GRIDS = r"""
associative_recall | items | 2 3 4 5 6 10 15 20 50 200 1000
associative_recall,bits=2,vectors=2 | items | 2 3 4 5 6 10 15
compression | length | 8 16 32 64 128 256 1024
copy | length | 5 10 20 30 50 120 200 1000
cycle_navigation | length | 10 20 40 41 100 200 300 400 500
duplicate | length | 10 20 40 41 100 200 300 400 500
feature_recall | pairs | 4 16 64 256 1024
feature_recall,one_hot=64 | pairs | 4 16 64
fuzzy_recall | length | 32 64 128 256 512 1024 4096
fuzzy_recall,key=7,value=8,length=31 | length | 31 32 64 128 256 512 1024 4096
hold | distance | 64 200 256 1024 16384 131072 1000000
in_context_recall,length=100 | length | 32 64 100 128 256 512 1024 4096
lag_recall | length | 96 256 1024 4096
lag_recall,lag=64,length=192 | length | 192 256 1024 4096
listops | length | 50 100 200 500 2000
listops,min_length=4,length=11,arguments=3,depth=3 | length | 11
missing_duplicate | length | 10 20 40 41 100 200 300 400 500
mqar | pairs length | 4,64 8,64 16,64 64,256 256,1024 1024,4096
mqar,vocab_size=64,pairs=12 | pairs length | 4,64 8,64 12,64 16,64
mqar_compositional | key pairs length | 2,16,160 2,64,640 2,256,2560 2,1024,10240 3,16,160 \
    3,64,640 3,256,2560 3,1024,10240 4,16,160 4,64,640 4,256,2560 4,1024,10240
mqar_compositional,alphabet=9,key=3,length=128 | key pairs length | 2,16,128 2,64,512 3,16,128 \
    3,64,512 3,256,2048
mqar_update | pairs updates length | 4,2,64 8,4,64 16,8,80 64,32,320 256,128,1280 1024,512,5120
ngram_lookup | length | 5 10 20 40 80 200 1000
ngram_lookup,n=6,min_length=7 | length | 10 20 40 80 200 1000
noisy_recall | length | 32 64 128 256 512 1024 4096
odds_first | length | 10 20 40 41 100 200 300 400 500
parity | length | 10 20 40 41 100 200 300 400 500
phone_book | entries | 4 8 16 32 64 256 1024
priority_sort | vectors top | 5,4 10,8 20,16 40,32 80,64 200,160 1000,800
programs | registers statements | 2,8 4,16 8,32 8,64 8,128 8,256 16,64 32,128 64,256
repeat_copy | length repeats | 5,5 10,10 10,20 20,10 20,20 40,40 100,100
reverse | length | 10 20 40 41 100 200 300 400 500
selective_copy | length | 64 128 256 512 1024 2048 4096
selective_copy,tokens=96 | length | 256 512 1024 2048 4096
string_copy | length | 5 10 20 40 80 200 1000
text_lookup | length | 64 128 256 512 1024 2048 4096
variable_tracking,vocab_size=64,noise=10 | chains hops length | 1,1,64 1,4,64 2,4,128 4,4,256
variable_tracking | chains hops length | 1,1,64 1,4,64 2,4,128 4,4,256 4,8,512 16,4,1024 \
    16,16,2048 64,16,8192
"""

# task | sizes that change | stages
CURRICULA = r"""
associative_recall | items | 2 4 6
compression | length | 4 8 16 32
copy,length=18 | length | 5 10 18
copy,min_length=6 | length | 10 20
feature_recall | min_pairs pairs | 1,16
fuzzy_recall | min_key length | 1,32 1,64 1,128
hold | distance | 25 50 100 200
in_context_recall | length | 16 32 64 128
lag_recall | lag length | 32,96
listops | min_length length | 5,10 10,20 20,40 20,80 20,160 20,200
mqar,pairs=12,length=96 | pairs length | 2,16 4,32 8,64 12,96
mqar_compositional | pairs length | 4,40 8,80 16,160
mqar_update | pairs updates length | 2,1,16 4,2,32 8,4,64
priority_sort | vectors top | 2,2 4,4 8,7 16,13 20,16
repeat_copy,length=9,repeats=3 | length repeats | 2,2 4,3 8,3 9,3
selective_copy | tokens length | 2,32 4,64 8,128 16,256
string_copy | length | 5 10 20
variable_tracking | chains hops length | 1,1,25 2,2,76 2,4,128
"""

LEVELS = [  # specification, chance, plateau
    ("associative_recall", 1 / 2, None),
    ("compression", 1 / 15, 1 / 31 + 30 / 31 / 15),
    ("compression,length=2", 1 / 15, None),
    ("copy", 1 / 2, None),
    ("feature_recall", 1 / 32, 1 / 16 + 15 / 16 / 32),
    ("feature_recall,pairs=1", 1 / 32, None),
    ("fuzzy_recall", 1 / 8, None),
    ("fuzzy_recall,vocab_size=18", 1 / 9, None),
    ("hold", 2 / (8192 - 64), None),
    ("hold,vocab_size=15,noise=4,pairs=4", 1 / 6, 1 / 4),
    ("in_context_recall", 1 / 8, 1 / 8 + 7 / 8 / 8),
    ("in_context_recall,vocab_size=17,length=4", 1 / 9, None),
    ("lag_recall,symbols=5", 1 / 5, None),
    ("mqar", 2 / 8192, 1 / 8),
    ("mqar_compositional,vocab_size=100,alphabet=9", 1 / 90, 1 / 16),
    ("mqar_update,pairs=6,updates=2", 2 / 8192, 1 / 8),
    ("ngram_lookup", 1 / 26, None),
    ("noisy_recall", 1 / 8, 1 / 8 + 7 / 8 / 8),
    ("priority_sort", 1 / 2, None),
    ("selective_copy", 1 / 14, 1 / 16 + 15 / 16 / 14),
    ("selective_copy,tokens=1", 1 / 14, None),
    ("variable_tracking", 1 / 4063, 1 / 10),
    ("variable_tracking,form=values", 1 / 4064, 1 / 2),
    ("variable_tracking,form=values,chains=1", 1 / 4064, None),
]

# task | error
ERRORS = r"""
associative_recall,bits=0 | bits must be at least 1, got 0
associative_recall,vectors=0 | vectors must be at least 1, got 0
associative_recall,items=1 | items must be at least 2, got 1
associative_recall,min_items=7 | min_items must be from 2 to 6, got 7
associative_recall,bits=32,vectors=2 | bits \* vectors must be at most 62, got 64
associative_recall,bits=1,vectors=2 | items must be at most 4, .* bits=1 and vectors=2, got 6
compression,vocab_size=2 | vocab_size must be at least 3, got 2
compression,length=1 | length must be at least 2, got 1
copy,bits=0 | bits must be at least 1, got 0
copy,length=0 | length must be at least 1, got 0
copy,min_length=21 | min_length must be from 1 to 20, got 21
cycle_navigation,min_length=0 | min_length must be from 1 to 40, got 0
feature_recall,pairs=0 | pairs must be at least 1, got 0
feature_recall,min_pairs=17 | min_pairs must be from 1 to 16, got 17
feature_recall,noise=-0.1 | noise must be at least 0 and finite, got -0.1
feature_recall,noise=inf | noise must be at least 0 and finite, got inf
feature_recall,scale=0.0 | scale must be positive and finite, got 0.0
feature_recall,distractors=-1 | distractors must be at least 0, got -1
feature_recall,one_hot=-1 | one_hot must be at least 0, got -1
feature_recall,one_hot=8 | pairs must be at most 8, .* one_hot=8, got 16
fuzzy_recall,vocab_size=2 | vocab_size must be at least 3, got 2
fuzzy_recall,min_key=4 | min_key must be from 1 to 3, got 4
fuzzy_recall,key=8 | key must be from 1 to 7, got 8
fuzzy_recall,value=9 | value must be from 1 to 8, got 9
fuzzy_recall,vocab_size=65536,key=4 | vocab_size \*\* key must be at most .*, got 65536 \*\* 4
fuzzy_recall,length=12 | length must be at least 13 for key=3 and value=3, got 12
hold,distance=-1 | distance must be at least 0, got -1
hold,min_distance=201 | min_distance must be from 0 to 200, got 201
hold,noise=0 | noise must be at least 1, got 0
hold,vocab_size=67 | vocab_size must be at least 68, got 67
hold,pairs=0 | pairs must be at least 1, got 0
hold,vocab_size=74,pairs=5 | pairs must be at most 4, .* noise=64, got 5
in_context_recall,vocab_size=3 | vocab_size must be at least 4, got 3
in_context_recall,length=2 | length must be at least 4, got 2
in_context_recall,length=5 | length must be even, got 5
japanese_vowels,split=all | split must be one of train, test, got 'all'
lag_recall,symbols=1 | symbols must be at least 2, got 1
lag_recall,lag=0 | lag must be at least 1, got 0
lag_recall,length=95 | length must be at least 96 for lag=32, got 95
listops,length=3 | length must be at least 4, got 3
listops,min_length=3 | min_length must be from 4 to 200, got 3
listops,arguments=1 | arguments must be at least 2, got 1
listops,depth=1 | depth must be at least 2, got 1
listops,depth=2 | length must span at least 0.001 of the .* and depth=2, got 20 to 200, which span 0
missing_duplicate,min_length=1 | min_length must be from 2 to 40, got 1
mqar,length=63 | length must be even, got 63
mqar,vocab_size=16 | pairs must be at most 7, .* at vocab_size=16, got 8
mqar,vocab_size=3 | vocab_size must be at least 4, got 3
mqar,pairs=0 | pairs must be at least 1, got 0
mqar,power=0.0 | power must be positive and finite, got 0.0
mqar,power=nan | power must be positive and finite, got nan
mqar,power=inf | power must be positive and finite, got inf
mqar,pairs=17 | length must be at least 68 for pairs=17, got 64
mqar_compositional,pairs=3 | pairs must be at least 4, got 3
mqar_compositional,pairs=5 | pairs must not be 5 at min_key=2
mqar_compositional,pairs=17 | length must be at least 170 for pairs=17 and key=4, got 160
mqar_compositional,min_key=1 | min_key must be from 2 to 4, got 1
mqar_compositional,min_key=5 | min_key must be from 2 to 4, got 5
mqar_compositional,key=9 | key must be from 2 to 8, got 9
mqar_compositional,alphabet=3 | pairs must be at most 9 at vocab_size=8192, alphabet=3 and min_key=2
mqar_compositional,vocab_size=80 | pairs must be at most 15 at vocab_size=80, alphabet=64
mqar_compositional,vocab_size=65 | vocab_size must be at least 66, got 65
mqar_compositional,alphabet=1 | alphabet must be at least 2, got 1
mqar_update,length=63,updates=0 | length must be even, got 63
mqar_update,vocab_size=16,updates=0 | pairs must be at most 7, .* at vocab_size=16, got 8
mqar_update,vocab_size=3,updates=0 | vocab_size must be at least 4, got 3
mqar_update,pairs=0,updates=0 | pairs must be at least 1, got 0
mqar_update,power=0.0,updates=0 | power must be positive and finite, got 0.0
mqar_update,power=nan,updates=0 | power must be positive and finite, got nan
mqar_update,power=inf,updates=0 | power must be positive and finite, got inf
mqar_update,updates=9 | updates must be from 0 to 8, got 9
mqar_update,pairs=13,updates=7 | at least 66 for pairs=13 and updates=7, got 64
ngram_lookup,form=infix | form must be one of suffix, prefix, got 'infix'
ngram_lookup,n=0 | n must be at least 1, got 0
ngram_lookup,n=5 | min_length must be from 6 to 20, got 5
ngram_lookup,n=20 | length must be at least 21, got 20
noisy_recall,noise=0 | noise must be at least 1, got 0
noisy_recall,noise=29 | vocab_size must be at least 33, got 32
noisy_recall,fraction=1.0 | fraction must be a share in \[0, 1\), got 1.0
odds_first,length=0 | length must be at least 1, got 0
parity,min_length=0 | min_length must be from 1 to 40, got 0
phone_book,form=mail | form must be one of phone, log, got 'mail'
phone_book,questions=0 | questions must be at least 1, got 0
phone_book,questions=5 | min_entries must be from 5 to 16, got 4
phone_book,entries=3 | entries must be at least 4, got 3
phone_book,entries=1000000 | entries must be from 1 to 857375, got 1000000
priority_sort,bits=0 | bits must be at least 1, got 0
priority_sort,vectors=0 | vectors must be from 1 to 16777216, got 0
priority_sort,top=21 | top must be from 1 to 20, got 21
programs,registers=65 | registers must be from 1 to 64, got 65
programs,statements=8 | statements must be at least 9, got 8
programs,digits=0 | digits must be from 1 to 15, got 0
programs,writes=1.0 | writes must be a share in \[0, 1\), got 1.0
programs,keeps=-0.1 | keeps must be a share in \[0, 1\], got -0.1
programs,writes=0.5,reads=0.6 | writes \+ reads must be at most 1, got 0.5 \+ 0.6
repeat_copy,bits=0 | bits must be at least 1, got 0
repeat_copy,length=0 | length must be at least 1, got 0
repeat_copy,min_repeats=11 | min_repeats must be from 1 to 10, got 11
reverse,min_length=0 | min_length must be from 1 to 40, got 0
selective_copy,vocab_size=3 | vocab_size must be at least 4, got 3
selective_copy,tokens=0 | tokens must be at least 1, got 0
selective_copy,length=32 | length must be at least 33 for tokens=16, got 32
spelling,split=all | split must be one of train, test, got 'all'
string_copy,min_length=21 | min_length must be from 1 to 20, got 21
string_copy,length=0 | length must be at least 1, got 0
text_lookup,length=63 | length must be at least 64, got 63
text_lookup,questions=0 | questions must be at least 1, got 0
text_lookup,phrase=0 | phrase must be at least 1, got 0
text_lookup,answer=0 | answer must be at least 1, got 0
text_lookup,split=validation | split must be one of train, test, got 'validation'
variable_tracking,form=list | form must be one of names, values, got 'list'
variable_tracking,chains=0 | chains must be at least 1, got 0
variable_tracking,hops=0 | hops must be at least 1, got 0
variable_tracking,vocab_size=69 | vocab_size must be at least 70, got 69
variable_tracking,vocab_size=84 | chains \* \(hops \+ 1\) must be at most 9, .* noise=64, got 10
variable_tracking,length=30 | length must be at least 31 for chains=2 and hops=4, got 30
"""


def cells(table: str) -> list[tuple[str, ...]]:
    lines = re.sub(r" \\\n +", " ", table).strip().splitlines()
    return [tuple(cell.strip() for cell in line.split(" | ")) for line in lines]


def points(text: str) -> list[tuple[int, ...]]:
    return [tuple(map(int, point.split(","))) for point in text.split()]


@pytest.mark.parametrize(("task", "axes", "expected"), cells(GRIDS))
def test_grid(task: str, axes: str, expected: str) -> None:
    grid = from_text(task).grid()
    assert {tuple(point.axes) for point in grid} == {tuple(axes.split())}
    assert [tuple(point.axes.values()) for point in grid] == points(expected)
    for point in grid:  # every example has exactly this size
        sizes = point.task.options()
        ranges = [(sizes.get(f"min_{axis}", sizes[axis]), sizes[axis]) for axis in point.axes]
        assert task.startswith("listops") or all(low == high for low, high in ranges)


@pytest.mark.parametrize(("task", "sizes", "expected"), cells(CURRICULA))
def test_curriculum(task: str, sizes: str, expected: str) -> None:
    stages = [stage.options() for stage in from_text(task).curriculum()]
    assert [tuple(stage[size] for size in sizes.split()) for stage in stages] == points(expected)


@pytest.mark.parametrize(("task", "chance", "plateau"), LEVELS)
def test_levels(task: str, chance: float, plateau: float | None) -> None:
    assert (from_text(task).chance, from_text(task).plateau) == (chance, plateau)


@pytest.mark.parametrize(("task", "message"), cells(ERRORS))
def test_errors(task: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_text(task)


@pytest.mark.parametrize("name", sorted(TASKS))
@pytest.mark.parametrize("wrong", [4.5, True, "x"])
def test_a_size_is_an_integer(name: str, wrong: object) -> None:
    if missing(name):
        pytest.skip("its data are not installed")
    for size, value in get(name).options().items():
        if type(value) is int:
            with pytest.raises(TypeError, match=f"{size} must be an integer, got {wrong!r}"):
                TASKS[name](**{size: wrong})


def test_widths_of_tasks_over_features() -> None:
    for name, bits, features, outputs in (
        ("copy", 6, 8, 6),
        ("repeat_copy", 6, 9, 7),
        ("priority_sort", 6, 9, 6),
        ("associative_recall", 6, 8, 6),
    ):
        task = get(name, bits=bits)
        assert (task.vocab_size, task.features, task.outputs) == (0, features, outputs)


def test_widths_of_feature_recall() -> None:
    for name, features in (
        ("feature_recall", 65),
        ("feature_recall,distractors=0", 49),
        ("feature_recall,one_hot=64", 113),
    ):
        task = from_text(name)
        assert (task.vocab_size, task.features, task.outputs) == (0, features, 32)
