"""SASLprep, which makes one text of the ways to write a password: https://www.rfc-editor.org/rfc/rfc4013.

SCRAM hashes what SASLprep returns: https://www.rfc-editor.org/rfc/rfc5802#section-2.2
"""

import stringprep
import unicodedata
from collections.abc import Callable

# RFC 4013 section 2.3
_PROHIBITED: tuple[Callable[[str], bool], ...] = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str) -> str:
    """Return `text` prepared as a stored string. Raises ValueError for what may not stand in one."""
    if text.isascii() and text.isprintable():
        return text
    # Sections 2.1 and 2.2: other spaces become spaces, "commonly mapped to nothing" vanishes, then NFKC.
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    for char in prepared:
        # Section 2.5: a stored string holds no unassigned code points.
        if stringprep.in_table_a1(char) or any(prohibits(char) for prohibits in _PROHIBITED):
            raise ValueError(f"U+{ord(char):04X} may not stand in a password")
    _check_direction(prepared)
    return prepared


def _check_direction(text: str) -> None:
    # RFC 3454 section 6: right-to-left text is not mixed with left-to-right text, and stands at both ends.
    if any(map(stringprep.in_table_d1, text)) and not (
        stringprep.in_table_d1(text[0])
        and stringprep.in_table_d1(text[-1])
        and not any(map(stringprep.in_table_d2, text))
    ):
        raise ValueError("left-to-right and right-to-left text are mixed")
