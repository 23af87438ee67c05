"""Recipes: each fault is named by its place, values are filled in and left out, and the key goes where it may."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from engine.config import ApiConfig
from engine.errors import Code, InvalidInput
from engine.keys import may_lend_key
from engine.upstream.jobs import recipe_job
from engine.upstream.recipe import read_recipe, takes_key
from engine.upstream.recipe_call import Values, fill, path_answer, recipe_request, search
from engine.upstream.request import SourcePicture, request_headers

ONE = SourcePicture(b"one", "image/png", "a.png", 24, 16)
TWO = SourcePicture(b"two", "image/jpeg", "b.jpg", 8, 8)
DEEP: dict[str, Any] = functools.reduce(lambda inner, _: {"a": inner}, range(500), {})
JOB = {"id": "id", "url": "/jobs/{{job_id}}", "status": "s", "done": ["ok"]}


def recipe(**parts: Any) -> dict[str, Any]:
    """A recipe that holds, with some parts changed."""
    return {"request": {"json": {"image": "{{image}}"}}, **parts}


@pytest.mark.parametrize(
    ("data", "path", "reason"),
    [
        ({}, "request", "missing"),
        ({"request": {"url": "/x"}}, "request.json", "missing"),
        (recipe(extra={"a": 1}), "extra", "unknown_field"),
        (recipe(job={**JOB, "interval": "3"}), "job.interval", "wrong_type"),
        (recipe(job={**JOB, "every": 3}), "job.every", "unknown_field"),
        (recipe(job={"url": "/x"}), "job.id", "missing"),
        (recipe(job={**JOB, "done": []}), "job.done", "missing"),
        (recipe(job={**JOB, "status": "a["}), "job.status", "not_jmespath"),
        (recipe(result={"pictures": ["a..b"]}), "result.pictures[0]", "not_jmespath"),
        ({"request": {"json": {"a": [{"b": "{{imgae}}"}]}}}, "request.json.a[0].b", "unknown_placeholder"),
        ({"request": {"json": {"a": "{{api_key}}"}}}, "request.json.a", "unknown_placeholder"),
        ({"request": {"json": {"a": "{{file}}"}}}, "request.json.a", "unknown_placeholder"),
        ({"request": {"json": {"a": "{{image_url}}"}}}, "request.json.a", "upload_missing"),
        ({"request": {"json": {"a": 1}, "form": {"b": 1}}}, "request.form", "json_and_form"),
        (recipe(request={"json": {"a": 1}, "headers": {"Host": "x"}}), "request.headers.Host", "header"),
        (recipe(key={"value": "sk-123"}), "key.value", "key_missing"),
        (recipe(origins=["https://*.com"]), "origins[0]", "origin"),
        (recipe(origins=["http://*.bfl.ai"]), "origins[0]", "origin"),
        (recipe(origins=["https://a.b/path"]), "origins[0]", "origin"),
        (recipe(upload={"url": "/u", "form": {"a": "b"}, "result": "u"}), "upload.form", "file_missing"),
        (recipe(request={"method": "FETCH", "json": {"a": 1}}), "request.method", "method"),
        (recipe(request={"json": {"{{model}}": 1}}), "request.json", "unknown_placeholder"),
        (recipe(request={"url": "ftp://a.test/", "json": {"a": 1}}), "request.url", "address"),
        (recipe(job={**JOB, "cancel": {"url": "http://a b/"}}), "job.cancel.url", "address"),
        (recipe(job={**JOB, "status": "foo(a)"}), "job.status", "not_jmespath"),
        (recipe(result={"json_in": "length(a, b)"}), "result.json_in", "not_jmespath"),
        (recipe(result={"pictures": ["(" * 900 + "a"]}), "result.pictures[0]", "not_jmespath"),
        (recipe(result={"pictures": ["[@, @][] | " * 30 + "@"]}), "result.pictures[0]", "not_jmespath"),
        (recipe(result={"json_in": "to_string([@]) | " * 30 + "@"}), "result.json_in", "not_jmespath"),
        (recipe(job={**JOB, "error": "join(a, b)"}), "job.error", "not_jmespath"),
        (recipe(key={"value": "{{api_key}}\n"}), "key.value", "header"),
        (recipe(request={"form": {"a": "x{{file}}"}}), "request.form.a", "file_alone"),
        (recipe(upload={"url": "/u", "form": {"a": {"b": "{{files}}"}}, "result": "u"}), "upload.form.a", "file_alone"),
        (recipe(request={"json": DEEP}), f"request.json{'.a' * 54}", "too_deep"),
    ],
)
def test_each_fault_is_named_by_its_place(data: dict[str, Any], path: str, reason: str) -> None:
    """What is wrong is told with its path and why, on entry."""
    with pytest.raises(InvalidInput) as caught:
        read_recipe(data)
    params = caught.value.params
    assert (caught.value.code, params["path"], params["reason"]) == (Code.RECIPE_INVALID, path, f"recipe_{reason}")


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ({"n": "{{n}}", "seed": "{{seed}}", "size": "{{size}}"}, {"n": 2, "size": "24x16"}),
        ({"a": {"b": {"c": "{{seed}}"}}, "d": 1}, {"d": 1}),
        ({"a": {}, "b": []}, {"a": {}, "b": []}),
        ({"a": ["{{image}}", "{{image2}}", "{{image3}}"]}, {"a": [ONE.data_url, TWO.data_url]}),
        ({"a": "{{images}}", "b": "{{references}}"}, {"a": [ONE.data_url, TWO.data_url], "b": [TWO.data_url]}),
        ([{"type": "i", "u": {"v": "{{image2_mime}}"}}, {"type": "i", "u": {"v": "{{image3}}"}}],
         [{"type": "i", "u": {"v": "image/jpeg"}}]),
        ({"t": "{{system_prompt}}|{{user_prompt}}", "s": "{{system_prompt}}"}, {"t": "|wink"}),
        ({"w": False, "x": "data:{{image3_mime}}"}, {"w": False}),
    ],
)  # fmt: skip
def test_values_take_their_type_and_go_where_there_are_none(template: Any, filled: Any) -> None:
    """One placeholder alone takes its value's type; what is not there leaves, with what that empties."""
    config = ApiConfig(user_prompt="wink", model_name="m", result_count=2)
    assert fill(template, Values(config, [ONE, TWO])) == filled


def test_extra_body_comes_last_and_urls_are_resolved() -> None:
    """The extra body wins over the recipe; the model stands in the address and cannot leave it."""
    config = ApiConfig(
        api_url="https://a.test/v1/x", api_key="k", model_name="//evil.test/m?x", extra_body={"image": "mine", "q": 1}
    )
    request = recipe_request(config, read_recipe(recipe(request={"url": "/m/{{model}}", "json": {"image": 1}})), [ONE])
    assert request.url == "https://a.test/m/evil.test/m%3Fx"
    assert json.loads(request.body) == {"image": "mine", "q": 1}
    assert request.headers["Authorization"] == "Bearer k"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_is_secret_in_additions_goes_where_the_key_may(elsewhere: bool) -> None:
    """In headers and body that a person adds; what is none goes to any address that a recipe names."""
    config = ApiConfig(
        api_url="https://a.test/v1/x", api_key="k", extra_headers={"X-Goog-Api-Key": "mine", "X-Team": "blue"},
        extra_body={"access_token": "mine", "q": 1},
    )  # fmt: skip
    url = "https://b.test/x" if elsewhere else "/x"
    for body in ({"json": {"a": 1}}, {"form": {"a": "1"}}):
        request = recipe_request(config, read_recipe(recipe(request={"url": url, **body})), [ONE])
        assert ("X-Goog-Api-Key" in request.headers) is not elsewhere
        assert (b"mine" in request.body) is not elsewhere
        assert request.headers["X-Team"] == "blue"
        assert b"q" in request.body


def test_of_a_flood_as_much_is_taken_as_of_any_answer() -> None:
    """Lists as deep as JSON may be, a hundred thousand links, as many jobs, a name of a megabyte."""
    read = read_recipe(recipe(job={"id": "ids", "url": "/jobs/{{job_id}}"}, result={"pictures": ["a"]}))
    start: Any = "https://a.test/1.png"
    deep = functools.reduce(lambda inner, _: [inner], range(5_000), start)
    many = [f"https://a.test/{number}.png" for number in range(100_000)]
    assert [ref.value for ref in path_answer(read, [{"a": deep}], "https://a.test").refs] == ["https://a.test/1.png"]
    answer = path_answer(read, [{"a": many}, {"a": ["ftp://x"] * 100_000}], "https://a.test")
    assert [ref.value for ref in answer.refs] == many[:100]
    assert len(path_answer(read, [{"a": ["ftp://x"] * 100_000}], "https://a.test").refused) == 100
    job = recipe_job(read, ApiConfig(api_url="https://a.test"), {"ids": ["j" * 2**20, *map(str, range(100_000))]})
    assert job is not None
    assert [one.provider_id for one in (job, *job.others)] == [str(number) for number in range(10)]


@pytest.mark.parametrize(
    ("url", "origins", "sent"),
    [
        ("https://a.test/other", [], True),
        ("https://a.test:444/", [], False),
        ("http://a.test/", [], False),
        ("https://x.b.test/", [], False),
        ("https://x.b.test/", ["https://*.b.test"], True),
        ("https://b.test/", ["https://*.b.test"], False),
        ("https://xb.test/", ["https://*.b.test"], False),
        ("http://x.b.test/", ["https://*.b.test"], False),
        ("https://b.test/", ["https://b.test"], True),
    ],
)
def test_the_key_goes_to_its_origin_and_to_those_named(url: str, origins: list[str], sent: bool) -> None:
    """Another scheme, host or port gets no key unless the recipe names it; and a key is not lent to more origins."""
    config = ApiConfig(api_url="https://a.test/v1", api_key="k", recipe=recipe(origins=origins))
    assert takes_key(url, config, read_recipe(config.recipe)) is sent
    plain = ApiConfig(api_url="https://a.test/v1", api_key="k", recipe=recipe())
    assert may_lend_key(plain, config) is (not origins)
    assert may_lend_key(config, plain)


def test_null_leaves_a_part_out_but_not_in_what_is_sent() -> None:
    """In the recipe itself null is its default; in a body it is null."""
    given = {"request": {"method": None, "json": {"a": None}}, "job": {**JOB, "cancel": None}, "upload": None}
    read = read_recipe(given)
    assert (read.request.method, read.request.json, read.upload) == ("POST", {"a": None}, None)
    assert read.job is not None
    assert read.job.cancel.url == ""


@pytest.mark.parametrize("expression", ["a[::0]", "max_by(a, &b)", "a < b", "ceil(to_number('inf'))"])
def test_a_path_that_cannot_work_finds_nothing(expression: str) -> None:
    """Whatever error a function of JMESPath ends in."""
    assert search(expression, {"a": [{"b": 1}, {"b": "x"}], "b": "x"}) is None


def test_headers_are_the_same_in_any_case() -> None:
    """A recipe's own accept is sent, not ours beside it; the key wins over a header of its name."""
    given = {"accept": "image/png", "AUTHORIZATION": "none"}
    config = ApiConfig(api_url="https://a.test/", api_key="k")
    request = recipe_request(config, read_recipe(recipe(request={"json": {"a": 1}, "headers": given})), [ONE])
    sent = dict(request_headers(request.headers, 1))
    assert {sent[b"accept"], sent[b"Authorization"]} == {b"image/png", b"Bearer k"}
    assert b"AUTHORIZATION" not in sent
