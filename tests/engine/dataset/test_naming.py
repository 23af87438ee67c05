"""Names and captions from templates: what they fill in, what they refuse, and that a name is always one safe name."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset.naming import (
    BUILT_IN_RULES,
    MAX_STEM_BYTES,
    TXT_VARIABLES,
    VARIABLES,
    NameContext,
    SaveRule,
    check_rule,
    image_stem,
    name_context,
    safe_stem,
    text,
)
from engine.errors import Code, InvalidInput, Problem

CONTEXT = NameContext("cat_start_start", "cat_start_start.JPG", "JPG", "task1", "res9", 2, 7)


def stem(template: str, **rule: Any) -> str:
    """The file name that a template gives."""
    return image_stem(SaveRule(filename_template=template, **rule), CONTEXT)


def refusal(rule: SaveRule) -> InvalidInput:
    """The error that a rule gets, the same whether it is checked or used."""
    with pytest.raises(InvalidInput) as caught:
        check_rule(rule)
    if rule.create_txt and caught.value.field == "txt_template":
        with pytest.raises(InvalidInput):
            text(rule, CONTEXT, "a.png", "/a.png")
    else:
        with pytest.raises(InvalidInput):
            image_stem(rule, CONTEXT)
    return caught.value


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{src_stem}", "cat_start_start"),
        ("{src_name}", "cat_start_start.JPG"),
        ("{src_stem}.{src_ext}", "cat_start_start.JPG"),
        ("{task_id}-{result_id}", "task1-res9"),
        ("{src_stem}_{result_index}", "cat_start_start_2"),
        ("{global_index:04d}", "0007"),
        ("{global_index:04}", "0007"),
        ("{result_index:3d}", "  2"),
        ("{global_index:}", "7"),
        ("plain", "plain"),
        ("{{{task_id}}}", "{task1}"),
        ("图{global_index}🐱", "图7🐱"),
    ],
)
def test_templates_are_filled_in(template: str, expected: str) -> None:
    """Each variable stands for its value, numbers may be given a width, doubled braces are braces."""
    assert stem(template) == expected


def test_replacement_acts_on_the_stem_before_it_is_filled_in() -> None:
    """Every occurrence goes, in ``{src_stem}`` only, and nothing of the template itself."""
    rule = {"replace_from": "start", "replace_to": "end"}
    assert stem("start_{src_stem}_{src_name}", **rule) == "start_cat_end_end_cat_start_start.JPG"
    assert stem("{src_stem}", replace_from="_start", replace_to="") == "cat"
    assert stem("{src_stem}", replace_from="", replace_to="x") == "cat_start_start"
    assert stem("{src_stem}", replace_from="start", replace_to="{task_id}") == "cat_{task_id}_{task_id}"


def test_the_first_of_several_goes_by_the_source_alone() -> None:
    """``only_first_if_multiple`` names by the source, replaced, whatever the template."""
    rule = {"only_first_if_multiple": True, "replace_from": "start", "replace_to": "end"}
    assert stem("{src_stem}_{result_index}", **rule) == "cat_end_end"


def test_captions_know_the_saved_picture_and_the_original_stem() -> None:
    """Replacement does not reach the caption."""
    rule = SaveRule(
        replace_from="start",
        replace_to="end",
        create_txt=True,
        txt_template="{src_stem}|{image_name}|{image_path}|{global_index:03d}\n{src_name}",
    )
    check_rule(rule)
    expected = "cat_start_start|cat_end.png|/out/cat_end.png|007\ncat_start_start.JPG"
    assert text(rule, CONTEXT, "cat_end.png", "/out/cat_end.png") == expected


def test_values_are_never_templates_themselves() -> None:
    """Braces in a source name are only braces."""
    context = name_context("{task_id}{0.__class__}.png", "t", "r")
    assert image_stem(SaveRule(filename_template="{src_stem}"), context) == "{task_id}{0.__class__}"


@pytest.mark.parametrize(
    ("template", "position"),
    [
        ("a{", 1),
        ("a}b", 1),
        ("{src_stem", 0),
        ("{{}", 2),
        ("ab{}", 2),
        ("{ }", 0),
        ("{task_id!r}", 0),
        ("x{result_index!s}", 1),
        ("{src_stem:>10}", 0),
        ("{global_index:x}", 0),
        ("{global_index:9999999999d}", 0),
        ("{global_index:{result_index}}", 0),
        ("{src_stem:{task_id}}", 0),
        ("{task_id!}", 0),
    ],
)
def test_what_is_no_template_says_where(template: str, position: int) -> None:
    """Stray braces, conversions and formats beyond a width are syntax errors with their place."""
    for field, rule in (
        ("filename_template", SaveRule(filename_template=template)),
        ("txt_template", SaveRule(create_txt=True, txt_template=template)),
    ):
        error = refusal(rule)
        assert (error.code, error.field) == (Code.TEMPLATE_SYNTAX, field)
        assert error.params["template"] == template
        assert error.params["position"] == position


@pytest.mark.parametrize(
    "name",
    ["stem", "src_stem.__class__", "task_id[0]", "0", "src_stem ", "SRC_STEM", "image_name", "global_index.real", "图"],
)
def test_an_unknown_variable_is_named(name: str) -> None:
    """Nothing but the listed variables, and nothing inside them, can be reached."""
    error = refusal(SaveRule(filename_template="a{" + name + "}"))
    assert (error.code, error.field) == (Code.TEMPLATE_VARIABLE, "filename_template")
    assert error.params["variable"] == name


@pytest.mark.parametrize("template", ["", "  \n"])
def test_an_empty_template_is_refused(template: str) -> None:
    """A name or caption of nothing is not what anybody meant."""
    error = refusal(SaveRule(filename_template=template))
    assert (error.code, error.field) == (Code.TEMPLATE_EMPTY, "filename_template")
    error = refusal(SaveRule(create_txt=True, txt_template=template))
    assert (error.code, error.field) == (Code.TEMPLATE_EMPTY, "txt_template")


def test_a_caption_that_is_not_made_is_not_judged() -> None:
    """The caption template counts only when captions are asked for."""
    check_rule(SaveRule(create_txt=False, txt_template="{"))


def test_the_built_in_rules_are_the_known_ones() -> None:
    """Names and effects of the rules that scripts use."""
    assert list(BUILT_IN_RULES) == [
        "aitookit_edit",
        "keep_source_name",
        "source_with_txt",
        "first_only_clean",
        "indexed_archive",
    ]
    for rule in BUILT_IN_RULES.values():
        check_rule(rule)
    stems = {name: image_stem(rule, CONTEXT) for name, rule in BUILT_IN_RULES.items()}
    assert stems == {
        "aitookit_edit": "cat_end_end",
        "keep_source_name": "cat_start_start",
        "source_with_txt": "cat_start_start",
        "first_only_clean": "cat_start_start",
        "indexed_archive": "cat_start_start_2",
    }
    assert [name for name, rule in BUILT_IN_RULES.items() if rule.create_txt] == ["source_with_txt"]
    assert [name for name, rule in BUILT_IN_RULES.items() if rule.only_first_if_multiple] == ["first_only_clean"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.b.png", ("a.b", "png")),
        ("noext", ("noext", "")),
        (".hidden", (".hidden", "")),
        ("a.", ("a", "")),
        ("..", (".", "")),
    ],
)
def test_a_source_name_is_taken_apart(name: str, expected: tuple[str, str]) -> None:
    """Only the last dot counts, and a leading one does not."""
    context = name_context(name, "t", "r", 3, 4)
    assert (context.src_stem, context.src_ext) == expected
    assert (context.src_name, context.result_index, context.global_index) == (name, 3, 4)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "_._.._etc_passwd"),
        ("a/b\\c", "a_b_c"),
        ("..", "image"),
        (".", "image"),
        ("", "image"),
        (" . . ", "image"),
        ("a. .", "a"),
        (".hidden", "_hidden"),
        ('<>:"|?*', "_______"),
        ("tab\tnew\nnull\0", "tab_new_null_"),
        ("CON", "_CON"),
        ("con.tar", "_con.tar"),
        ("nul ", "_nul"),
        ("NUL .x", "_NUL .x"),
        ("LPT1", "_LPT1"),
        ("com¹", "_com¹"),
        ("COM10", "COM10"),
        ("CONSOLE", "CONSOLE"),
        ("🐱‍👤", "🐱‍👤"),
        ("שלום", "שלום"),
        ("Zoë", "Zoë"),
        ("Zoe\u0308", "Zoe\u0308"),
        ("\ud800", "_"),
    ],
)
def test_names_are_made_safe(name: str, safe: str) -> None:
    """Separators, device names, trailing dots and control characters go; letters of all scripts stay as they are."""
    assert safe_stem(name) == safe


def test_long_names_are_cut_between_characters() -> None:
    """At most 200 bytes, with no half character and no dot or space at the cut."""
    assert safe_stem("图" * 100) == "图" * 66
    assert safe_stem("a" * 199 + "é") == "a" * 199
    assert safe_stem("a" * 198 + ". b") == "a" * 198


RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{device}{digit}" for device in ("COM", "LPT") for digit in range(1, 10))}


@given(st.one_of(st.text(), st.text(alphabet="./\\ :conulpt1.\0é图", max_size=300)))
def test_any_text_becomes_one_safe_name(name: str) -> None:
    """Whatever comes in, what comes out is a file name on every system, and making it safe again changes nothing."""
    safe = safe_stem(name)
    assert safe
    assert len(safe.encode()) <= MAX_STEM_BYTES
    assert not set(safe) & set('<>:"/\\|?*')
    assert all(ord(letter) >= 32 and ord(letter) != 127 for letter in safe)
    assert not safe.startswith(".")
    assert safe[-1] not in ". "
    assert safe.partition(".")[0].strip().upper() not in RESERVED
    assert safe_stem(safe) == safe


def problem_of(rule: SaveRule) -> Problem | None:
    """What is wrong with a rule, if anything."""
    try:
        check_rule(rule)
    except InvalidInput as error:
        return error.problem
    return None


PARTS = st.one_of(
    st.sampled_from([*("{" + name + "}" for name in TXT_VARIABLES), "{global_index:04d}"]),
    st.sampled_from(["{{", "}}", "{", "}", "!r", ":", "../"]),
    st.text(string.printable, max_size=6),
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PARTS, max_size=8).map("".join)), st.booleans())
def test_any_template_is_filled_in_or_refused(template: str, first_only: bool) -> None:
    """A rule that passes the check gives a safe name and a caption; one that does not is refused with a code."""
    rule = SaveRule(
        filename_template=template, create_txt=True, txt_template=template, only_first_if_multiple=first_only
    )
    refused = problem_of(rule)
    if refused is not None:
        assert refused.code in {Code.TEMPLATE_EMPTY, Code.TEMPLATE_SYNTAX, Code.TEMPLATE_VARIABLE}
        if refused.code is Code.TEMPLATE_SYNTAX:
            position = refused.params["position"]
            assert isinstance(position, int)
            assert 0 <= position < len(template)
        return
    name = image_stem(rule, CONTEXT)
    assert all(part == safe_stem(part) for part in name.split("/"))
    assert isinstance(text(rule, CONTEXT, "a.png", "/out/a.png"), str)


def test_the_variables_are_those_of_the_documents() -> None:
    """Eight for names, two more for captions."""
    names = "src_stem src_name src_ext task_id result_id result_index global_index src_folder"
    assert " ".join(VARIABLES) == names
    assert " ".join(TXT_VARIABLES) == f"{names} image_name image_path"
