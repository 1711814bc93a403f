"""Headers and rows of csv files, as people and programs write them."""

import numpy as np
import pytest

from keras_ebm.data import tables


@pytest.fixture
def write(tmp_path):
    def write_text(text):
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode())
        return path

    return write_text


def shape_of(dataset):
    """Names of the features, the target and its classes."""
    names = [column.name for column in dataset.schema.columns]
    return names, dataset.schema.target, dataset.class_names


@pytest.mark.parametrize(
    "text",
    [
        "a,b,y,\n1,2,p,\n2,3,q,\n",
        "a,b,y\n1,2,p,\n2,3,q,\n",
        "a,b,y,\n1,2,p\n2,3,q\n",
        "a,b,y,,,\n1,2,p,,,\n2,3,q,,\n",
        "a,b,y,Unnamed: 3\n1,2,p,\n2,3,q,\n",
    ],
    ids=["header and rows", "rows", "header", "several", "named by pandas"],
)
def test_a_separator_at_the_end_of_lines_makes_no_column(write, text):
    path = write(text)
    with pytest.warns(UserWarning, match="left out, as empty and without a name"):
        dataset = tables.read_csv(path)
    assert shape_of(dataset) == (["a", "b"], "y", ("p", "q"))
    np.testing.assert_array_equal(dataset.x, [[1, 2], [2, 3]])


@pytest.mark.parametrize("header", ["a,y,y", "y,a, y ", "a,a,y"])
def test_two_columns_of_one_name_are_refused_by_it(write, header):
    path = write(f"{header}\n1,2,p\n2,3,q\n")
    with pytest.raises(ValueError, match=r"Received twice: '[ay]'. Rename"):
        tables.read_csv(path)


@pytest.mark.parametrize("header", ["a,,y", "a,y,", "a, ,y"])
def test_a_column_with_cells_and_no_name_is_refused_by_its_position(write, header):
    path = write(f"{header}\n1,2,p\n2,3,q\n")
    position = 2 if header.endswith(",") else 1
    with pytest.raises(ValueError, match=f"none for 'Unnamed: {position}' .by posit"):
        tables.read_csv(path)
    dataset = tables.read_csv(path, target="y", ignore_columns=[f"Unnamed: {position}"])
    assert shape_of(dataset)[0] == ["a"]


@pytest.mark.parametrize(
    "text, left_out",
    [
        (",a,y\n0,1,p\n1,2,q\n", "Unnamed: 0"),
        (",a,y\n17,1,p\n4,2,q\n", "Unnamed: 0"),
        (",a,y\nMazda RX4,1,p\nDatsun 710,2,q\n", "Unnamed: 0"),
        (",Unnamed: 0,a,y\n0,5,1,p\n1,7,2,q\n", "Unnamed: 0.1, Unnamed: 0"),
    ],
    ids=["index", "shuffled index", "names", "index twice"],
)
def test_a_first_column_without_a_name_may_name_the_rows(write, text, left_out):
    path = write(text)
    with pytest.warns(UserWarning, match=f"number of each row: {left_out}$"):
        dataset = tables.read_csv(path)
    assert shape_of(dataset)[0] == ["a"]


@pytest.mark.parametrize("cells", ["xx", ("0.5", "0.25"), "33"])
def test_a_first_column_of_other_things_needs_a_name(write, cells):
    path = write(",a,y\n{},1,p\n{},2,q\n".format(*cells))
    with pytest.raises(ValueError, match="must have a name.*'Unnamed: 0'"):
        tables.read_csv(path)


@pytest.mark.parametrize(
    "text",
    [
        "5.1,3.5,setosa\n4.9,3.0,setosa\n6.3,3.3,virginica\n",
        "7,2\n3,4\n9,2\n",
        "p,x\ne,y\np,x\ne,x\n",
    ],
    ids=["numbers and words", "numbers", "words"],
)
def test_a_first_line_that_is_a_row_is_no_header(write, text):
    path = write(text)
    with pytest.raises(ValueError, match="first line must name the columns"):
        tables.read_csv(path)


@pytest.mark.parametrize(
    "header", ["0,1,class", "900.5,902.5,class", "2019,2020,class"]
)
def test_numbers_may_be_names(write, header):
    dataset = tables.read_csv(write(f"{header}\n0.1,1,s\n0.2,0.5,t\n"))
    assert shape_of(dataset) == (header.split(",")[:2], "class", ("s", "t"))


@pytest.mark.parametrize(
    "row, message",
    [
        ("2,3", "2 in row 1 .counted from 0. for 3 names. Write its empty cells out"),
        ("2,3,q,7", "more cells than its header.*4 in row 1.*comma in quotes"),
        (
            "2,3,q,,,7",
            "more cells than its header.*6 in row 1.*comma in quotes",
        ),
    ],
)
def test_a_row_has_as_many_cells_as_the_header(write, row, message):
    path = write(f"a,b,y\n1,2,p\n{row}\n")
    with pytest.raises(ValueError, match=message):
        tables.read_csv(path)


def test_quotes_marks_of_order_and_blank_lines_are_read_over(write):
    text = '\ufeff\r\n"a, b","c ""d""",y\r\n1,2,"p, q"\r\n\r\n  \r\n2,3,r\r\n'
    dataset = tables.read_csv(write(text))
    assert shape_of(dataset) == (["a, b", 'c "d"'], "y", ("p, q", "r"))
    np.testing.assert_array_equal(dataset.x, [[1, 2], [2, 3]])
