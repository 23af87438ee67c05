"""Text of strangers as a terminal may show it: for what is said there, and for the log, which people look at there."""

from __future__ import annotations

from typing import Final

# ESC, OSC and the other controls show as their pictures (␛), C1 and marks that turn the reading order as numbers.
TURNING: Final = (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)
_SHOWN: Final = (
    {code: chr(0x2400 + code) for code in range(0x20)}
    | {0x7F: "␡", 0x2028: " ", 0x2029: " "}
    | dict.fromkeys(b"\t\n\r", " ")
    | {code: f"\\x{code:02x}" for code in range(0x80, 0xA0)}
    | {code: f"\\u{code:04x}" for code in TURNING}
)


def one_line(text: str) -> str:
    """The text as one line that a terminal only shows: nothing in it moves the cursor, names the window or forges a
    second line."""
    return text.translate(_SHOWN).encode("utf-8", "backslashreplace").decode()
