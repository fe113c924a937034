"""The log of a pod, line by line."""

from hypothesis import given
from hypothesis import strategies as st

from embedstep.launch.kubernetes.logs import split_lines


@given(st.lists(st.text(alphabet="ab \r", max_size=30), max_size=20), st.integers(1, 7))
def test_lines_come_whole_however_they_are_cut(lines: list[str], size: int) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    assert list(split_lines(data[at : at + size] for at in range(0, len(data), size))) == lines


def test_a_line_without_an_end_is_cut() -> None:
    chunks = [b"x" * 65536] * 100 + [b"y\nnext\nlast"]
    assert list(split_lines(chunks)) == ["x" * 4096, "next", "last"]
