import gzip
import json

import numpy as np
import pytest

from keras_ebm.data import tables
from keras_ebm.data.schema import Column, TableSchema

PEOPLE = """age,colour,member,zip,height,class
30,red,True,7,1.5,no
,blue,False,7,NA,yes
41, red ,True,7,1.25,
5,NA,,7,2,None
"""

TELLS_MISSING = pytest.mark.filterwarnings("ignore:.*cells read as missing")


@pytest.fixture
def write(tmp_path):
    def write_text(text, name="table.csv"):
        path = tmp_path / name
        data = text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        return path

    return write_text


def test_types_vocabularies_and_classes_are_found_out(write):
    path = write(PEOPLE)
    with pytest.warns(UserWarning, match="cells read as missing"):
        dataset = tables.read_csv(path)
    assert dataset.schema == TableSchema(
        (
            Column("age", "numeric"),
            Column("colour", "categorical", ("blue", "red")),
            Column("member", "boolean", ("false", "true")),
            Column("zip", "numeric"),
            Column("height", "numeric"),
        ),
        target="class",
        class_names=("no", "yes"),
    )
    nan = np.nan
    expected = [
        [30, 1, 1, 7, 1.5],
        [nan, 0, 0, 7, nan],
        [41, 1, 1, 7, 1.25],
        [5, nan, nan, 7, 2],
    ]
    np.testing.assert_array_equal(dataset.x, np.array(expected, np.float32))
    np.testing.assert_array_equal(dataset.y, [0, 1, -1, -1])
    assert dataset.kind == "table" and dataset.class_names == ("no", "yes")
    assert dataset.x.dtype == np.float32 and dataset.y.dtype == np.int64


@TELLS_MISSING
def test_a_gzipped_file_reads_the_same(write):
    plain = tables.read_csv(write(PEOPLE))
    packed = tables.read_csv(write(PEOPLE, "table.csv.gz"))
    np.testing.assert_array_equal(packed.x, plain.x)
    assert packed.schema == plain.schema


@TELLS_MISSING
def test_a_schema_survives_json(write):
    schema = tables.read_csv(write(PEOPLE)).schema
    config = json.loads(json.dumps(schema.to_config()))
    assert TableSchema.from_config(config) == schema


def test_classes_that_are_whole_numbers_sort_as_numbers(write):
    dataset = tables.read_csv(write("x,class\n1,10\n2,9\n3,-5\n"))
    assert dataset.class_names == ("-5", "9", "10")
    np.testing.assert_array_equal(dataset.y, [2, 1, 0])


def test_the_target_can_be_any_column_or_none(write):
    path = write("class,x\na,1\nb,2\n")
    dataset = tables.read_csv(path, target="class")
    assert dataset.class_names == ("a", "b")
    assert [column.name for column in dataset.schema.columns] == ["x"]
    bare = tables.read_csv(path, target="")
    assert bare.class_names == () and bare.x.shape == (2, 2)
    np.testing.assert_array_equal(bare.y, [-1, -1])


@TELLS_MISSING
def test_other_rows_are_encoded_to_a_given_schema(write):
    schema = tables.read_csv(write(PEOPLE)).schema
    other = "height,note,zip,colour,age,member\n1,hi,8,green,,True\n,,9,red,3,\n"
    dataset = tables.read_csv(write(other), schema=schema)
    nan = np.nan
    expected = [[nan, -1, 1, 8, 1], [3, 1, nan, 9, nan]]
    np.testing.assert_array_equal(dataset.x, np.array(expected, np.float32))
    np.testing.assert_array_equal(dataset.y, [-1, -1])
    assert dataset.class_names == ("no", "yes")


def test_labels_keep_the_numbers_of_a_given_schema(write):
    schema = tables.read_csv(write("x,class\n1,a\n2,b\n3,c\n")).schema
    dataset = tables.read_csv(write("x,class\n1,c\n2,c\n"), schema=schema)
    np.testing.assert_array_equal(dataset.y, [2, 2])


@pytest.mark.parametrize(
    "text, message",
    [
        ("x,other\n1,2\n", "Missing: y"),
        ("x,y,class\n1,2,a\n1,2,q\n1,2,p\n", "a, b, or empty. Received: p, q"),
        ("x,y,class\n1,2,a\n1,two,a\n", "column 'y' must be a number.*'two' in row 1"),
    ],
)
def test_what_does_not_fit_a_given_schema_is_refused(write, text, message):
    schema = tables.read_csv(write("x,y,class\n1,2,a\n3,4,b\n")).schema
    with pytest.raises(ValueError, match=message):
        tables.read_csv(write(text), schema=schema)


def test_whole_numbers_beyond_float64_are_counted(write):
    rows = "".join(f"{10**18 + 3 * i},{i % 2}\n" for i in range(50))
    with pytest.warns(UserWarning, match=r"float64 .*column 'id': 50 become \d+"):
        tables.read_csv(write(f"id,class\n{rows}"))


def test_numbers_that_float32_would_merge_are_float64(tmp_path):
    times = 1_700_000_000_000 + np.random.default_rng(0).permutation(3_600_000)[:1999]
    accounts = 12_345_678_901 + 3 * np.arange(1999)
    path = tmp_path / "t.csv"
    rows = zip(times, accounts, range(7, 2006), times % 7, strict=True)
    lines = [f"{a},{b},{c / 8},{d}" for a, b, c, d in rows]
    path.write_text("\n".join(["time,account,eighth,class", *lines]))
    table = tables.read_csv(path)
    assert [column.wide for column in table.schema.columns] == [True, True, False]
    assert table.x.dtype == np.float64
    np.testing.assert_array_equal(table.x[:, 0], times)
    np.testing.assert_array_equal(table.x[:, 1], accounts)
    # Another file is read as the schema says, which survives JSON.
    path.write_text("time,account,eighth\n1,2,3\n")
    schema = TableSchema.from_config(table.schema.to_config())
    assert tables.read_csv(path, schema=schema).x.dtype == np.float64
    path.write_text("x,class\n1e39,a\n-2,b\n")
    np.testing.assert_array_equal(tables.read_csv(path).x, [[1e39], [-2.0]])


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "0 columns and no rows"),
        ("x,class\n", "2 columns and no rows"),
        ("x,class\n1,a\n-inf,b\n", "column 'x' must be finite.*'-inf' in row 1"),
        ("x,class\n1,a\n1e400,b\n", "column 'x' must be finite.*'1e400' in row 1"),
        ("class\na\nb\n", "besides the target 'class'"),
        ("x,class\n1,a,b\n2,a,b\n", "more cells than its header"),
        ("x, x,class\n1,2,b\n", "differ in more than spaces"),
        ('x,class\n1,"a\n', "could not be read"),
    ],
)
def test_a_bad_file_is_refused(write, text, message):
    with pytest.raises(ValueError, match=message):
        tables.read_csv(write(text))


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no file"):
        tables.read_csv(tmp_path / "absent.csv")
    for name, data in [("a.csv.gz", b"plain"), ("a.csv", b"a,b\n\xff\xfe,1\n")]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match="could not be read"):
            tables.read_csv(tmp_path / name)


def test_an_unknown_target_lists_the_columns(write):
    with pytest.raises(ValueError, match="target='kind'.*The columns are: x, class"):
        tables.read_csv(write("x,class\n1,a\n"), target="kind")


def test_too_many_categories_or_classes_are_refused(write):
    # Each of them in two rows, so that they name no row.
    many = [f"n{number}" for number in range(1001)] * 2
    column = "\n".join(f"{name},{row % 2}" for row, name in enumerate(many))
    with pytest.raises(ValueError, match="1001 in column 'id'. Bin it, or leave it"):
        tables.read_csv(write(f"id,class\n{column}\n"))
    target = "\n".join(f"1,{name}" for name in many)
    with pytest.raises(ValueError, match="1001 distinct values in column 'class'"):
        tables.read_csv(write(f"x,class\n{target}\n"))


def rows(*columns):
    """A csv's text: a header, and a line for each of their common length."""
    return "\n".join(",".join(cells) for cells in zip(*columns, strict=True)) + "\n"


FORTY = range(40)
CLASS = ["class", *("ab"[row % 2] for row in FORTY)]
NUMBERS = ["x", *(f"{row / 2}" for row in FORTY)]


def test_texts_that_name_the_rows_are_left_out_with_a_warning(write):
    path = write(rows(NUMBERS, ["who", *(f"user-{row}" for row in FORTY)], CLASS))
    with pytest.warns(UserWarning, match="name or number of each row: who"):
        dataset = tables.read_csv(path)
    assert [column.name for column in dataset.schema.columns] == ["x"]
    assert dataset.x.shape == (40, 1)


def test_numbers_of_the_rows_are_left_out_with_a_warning(write):
    # As pandas writes its index: without a name.
    index = ["", *(str(row) for row in FORTY)]
    gap = ["gap", *("" if row == 5 else str(row) for row in FORTY)]
    with pytest.warns(UserWarning, match="number of each row: Unnamed: 0$"):
        dataset = tables.read_csv(write(rows(index, NUMBERS, gap, CLASS)))
    assert [column.name for column in dataset.schema.columns] == ["x", "gap"]


def test_half_as_many_texts_as_rows_are_categories(write):
    halves = ["shop", *(f"shop-{row // 2}" for row in FORTY)]
    dataset = tables.read_csv(write(rows(halves, CLASS)))
    assert len(dataset.schema.columns[0].vocabulary) == 20


def test_a_table_of_nothing_but_names_is_refused(write):
    path = write(rows(["who", *(f"user-{row}" for row in FORTY)], CLASS))
    with pytest.raises(ValueError, match="number the rows. Received: who."):
        tables.read_csv(path)


@pytest.mark.parametrize(
    "cells, received",
    [
        ([f'"{row},5"' for row in FORTY], "'0,5' in column 'x', row 0"),
        ([f'"$1,{row + 100}.00"' for row in FORTY], "'[$]1,100.00' in column 'x'"),
        ([f"{row}%" for row in FORTY], "'0%' in column 'x', row 0"),
        ([*(str(row) for row in FORTY[:-2]), "?", "?"], "'[?]' in column 'x', row 38"),
    ],
    ids=["decimal comma", "currency", "percent", "mark for missing"],
)
def test_numbers_in_another_notation_are_refused(write, cells, received):
    with pytest.raises(ValueError, match=f"nothing else.*Received: {received}"):
        tables.read_csv(write(rows(["x", *cells], CLASS)))


@pytest.mark.parametrize(
    "form",
    ["{},5", "{}%", "${}.50", "1.{:03},25", "({})", "{} kg", "€{}.5M", "−{}"],
)
def test_a_few_numbers_in_another_notation_are_refused_too(write, form):
    # 45 different ones in 180 rows: as many as an honest category may have.
    cells = [f'"{form.format(row % 45 + 1)}"' for row in range(180)]
    label = ["class", *("ab"[row % 2] for row in range(180))]
    with pytest.raises(ValueError, match="written like 1234.5.*column 'x', row 0"):
        tables.read_csv(write(rows(["x", *cells], label)))


@pytest.mark.parametrize("form", ["{}%", '"{},5"', "${}"])
def test_steps_written_otherwise_are_categories(write, form):
    cells = ["x", *(form.format(5 * (row % 10)) for row in range(40))]
    dataset = tables.read_csv(write(rows(cells, CLASS)))
    assert len(dataset.schema.columns[0].vocabulary) == 10


@pytest.mark.parametrize("form", ["1-{}", "A{}", "{}-1234", "E{}.9", "v1.{}"])
def test_codes_with_digits_are_categories(write, form):
    cells = ["x", *(form.format(row % 25) for row in range(100))]
    label = ["class", *("ab"[row % 2] for row in range(100))]
    column = tables.read_csv(write(rows(cells, label))).schema.columns[0]
    assert (column.kind, len(column.vocabulary)) == ("categorical", 25)


def test_codes_of_digits_alone_stay_numbers(write):
    cells = ["zip", *(f"0{row % 25:04}" for row in FORTY)]
    column = tables.read_csv(write(rows(cells, CLASS))).schema.columns[0]
    assert column.kind == "numeric"


@pytest.mark.parametrize("days", [3, 28], ids=["few", "many"])
@pytest.mark.parametrize(
    "form, columns",
    [
        ("2024-01-{:02}", "when.year and when.day"),
        ("2024-01-{:02}T12:30:00Z", "when.year and when.day and when.hour and"),
        ("2024-01-{:02} 12:30:00.5+01:00", "when.year and when.day and when.hour"),
        ("{:02}/01/2024", "when.year and when.day"),
        ("1/{}/24", "when.year and when.day"),
        ("{:02}.01.2024", "when.year and when.day"),
        ("{}-Jan-2024", "when.year and when.day"),
        ('"January {}, 2024"', "when.year and when.day"),
        ("12:{:02}", "when.hour and when.minute"),
        ("8:{:02}:59 PM", "when.hour and when.minute"),
    ],
)
def test_dates_and_times_are_refused_with_the_columns_to_write(
    write, form, columns, days
):
    cells = ["when", *(form.format(row % days + 1) for row in FORTY)]
    match = f"dates and times must be numbers.*'when', row 0.*Write {columns}"
    with pytest.raises(ValueError, match=match):
        tables.read_csv(write(rows(cells, NUMBERS, CLASS)))


def test_words_for_missing_values_are_told_by_column_and_count(write):
    text = "a,b,plain,y\nNA,red,x,no\n1,n/a,y,\n2,,x,#N/A\n3,NULL,,yes\n"
    path = write(text)
    match = (
        r"missing: 1 in 'a' .'NA'., 2 in 'b' .'NULL', 'n/a'., 1 in 'y' .'#N/A'.. Where"
    )
    with pytest.warns(UserWarning, match=match):
        dataset = tables.read_csv(path)
    nan = np.nan
    np.testing.assert_array_equal(
        dataset.x, [[nan, 0, 0], [1, nan, 1], [2, nan, 0], [3, nan, nan]]
    )
    np.testing.assert_array_equal(dataset.y, [0, -1, -1, 1])


def test_the_words_for_missing_values_can_be_chosen(write):
    path = write("region,y\nNA,NA\nEU,b\n-,b\n,-\n")
    words = tables.read_csv(path, missing=())
    assert words.schema.columns[0].vocabulary == ("-", "EU", "NA")
    assert words.class_names == ("-", "NA", "b")
    with pytest.warns(UserWarning, match="1 in 'region' .'-'., 1 in 'y' .'-'."):
        dashes = tables.read_csv(path, missing=["-"])
    assert dashes.schema.columns[0].vocabulary == ("EU", "NA")
    np.testing.assert_array_equal(dashes.y, [0, 1, 1, -1])
    # The schema has the words with it.
    again = TableSchema.from_config(json.loads(json.dumps(words.schema.to_config())))
    np.testing.assert_array_equal(tables.read_csv(path, schema=again).x, words.x)
    assert again.missing == ("",)


def test_a_schema_of_before_the_words_keeps_those_of_its_time(write):
    config = TableSchema(
        (Column("w", "categorical", ("n/a", "red")),), "y", ("NA", "b")
    ).to_config()
    del config["missing"]
    schema = TableSchema.from_config(config)
    path = write("w,y\nn/a,NA\nNULL,b\nred,\n")
    with pytest.warns(UserWarning, match="missing: 1 in 'w' .'NULL'.. Where"):
        dataset = tables.read_csv(path, schema=schema)
    np.testing.assert_array_equal(dataset.x, [[0], [np.nan], [1]])
    np.testing.assert_array_equal(dataset.y, [0, 1, -1])


def test_numbers_among_categories_are_told(write):
    ages = ["age", *(str(row // 4) for row in range(120)), "?", "?"]
    label = ["class", *("ab"[row % 2] for row in range(122))]
    with pytest.warns(
        UserWarning, match="'age' is read as categories.*'[?]' in row 120"
    ):
        dataset = tables.read_csv(write(rows(ages, label)))
    assert dataset.schema.columns[0].kind == "categorical"


def test_a_target_of_measurements_is_no_class(write):
    path = write(rows(CLASS, NUMBERS))
    with pytest.raises(ValueError, match="40 different values in the 40 rows of the t"):
        tables.read_csv(path)
    assert tables.read_csv(path, target="class").class_names == ("a", "b")
    assert tables.read_csv(path, target="").x.shape == (40, 2)


def test_one_label_of_each_of_many_classes_is_enough(write):
    labels = ["class", *(f"c{row}" if row < 21 else "" for row in range(60))]
    x = ["x", *(f"{row / 2}" for row in range(60))]
    dataset = tables.read_csv(write(rows(x, labels)))
    assert len(dataset.class_names) == 21 and np.sum(dataset.y >= 0) == 21


@TELLS_MISSING
def test_columns_can_be_ignored(write):
    path = write(PEOPLE)
    dataset = tables.read_csv(path, ignore_columns=("colour", "class"), target="member")
    assert [c.name for c in dataset.schema.columns] == ["age", "zip", "height"]
    # The last one that is left is the target.
    assert tables.read_csv(path, ignore_columns=["class"]).schema.target == "height"
    with pytest.raises(ValueError, match="Received: size. The columns are: age, col"):
        tables.read_csv(path, ignore_columns=["size"])
    with pytest.raises(ValueError, match="all of them"):
        tables.read_csv(write("x,class\n1,a\n"), ignore_columns=["x", "class"])


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_other_separators_are_named(write, mark):
    with pytest.raises(ValueError, match="separated by commas"):
        tables.read_csv(write(PEOPLE.replace(",", mark)), target="class")


def test_a_kind_of_column_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="'text' for column 'x'"):
        Column("x", "text")


def test_booleans_may_be_written_in_any_letters(write):
    text = "a,b,c,y\nTRUE,n,yes,0\nfalse,Y,maybe,1\n,N,no,1\n"
    dataset = tables.read_csv(write(text))
    kinds = [column.kind for column in dataset.schema.columns]
    assert kinds == ["boolean", "boolean", "categorical"]
    np.testing.assert_array_equal(dataset.x[:, :2], [[1, 0], [0, 1], [np.nan, 0]])
    again = tables.read_csv(
        write("a,b,c,y\nTrue,perhaps,no,0\n"), schema=dataset.schema
    )
    np.testing.assert_array_equal(again.x, [[1, -1, 1]])
