"""What answers say of their cost, the book of all calls, and the policy of budgets over a thousand runs."""

from __future__ import annotations

import heapq
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from engine.config import ApiConfig, parse_entered
from engine.errors import EditFailed, InvalidInput, Problem
from engine.money import UNIT, exact, plain
from engine.tasks.budget import Budget, Reservation
from engine.tasks.costs import Came, Costs, Prices, Sums, read_built_in, read_price
from engine.upstream.bills import Bill, amount_of, read_bill

ROOT = Path(__file__).resolve().parents[3]
OPENAI = {
    "input_tokens": 1000,
    "output_tokens": 4160,
    "input_tokens_details": {"text_tokens": 100, "image_tokens": 900},
}
GEMINI = {
    "promptTokenCount": 300,
    "candidatesTokenCount": 1290,
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
}
# what was said, address, model, dollars
SAID: list[tuple[Any, str, str, float | None]] = [
    ({"usage": {"cost": 0.04}}, "https://openrouter.ai/api/v1/images", "x", 0.04),
    ({"cost": "0,039"}, "https://relay.test/v1", "x", 0.039),
    ({"usage": {"cost_in_usd_ticks": 200_000_001}}, "https://api.x.ai/v1/images/edits", "x", 0.0200000001),
    ({"usage": {"cost_in_usd_ticks": 5}, "cost": 99}, "https://api.x.ai/v1/images/edits", "x", 5e-10),
    ({"usage": OPENAI}, "https://api.openai.com/v1/images/edits", "gpt-image-1", 0.1759),
    ({"usage": OPENAI}, "https://api.openai.com/v1/images/edits", "gpt-image-1.5", 0.14082),
    ({"usage": OPENAI}, "https://api.openai.com/v1/images/edits", "gpt-image-2", 0.1325),
    ({"usage": OPENAI}, "https://api.openai.com/v1/images/edits", "gpt-image-2.5-flare", 0.1325),
    ({"usageMetadata": GEMINI}, "https://generativelanguage.googleapis.com/v1beta", "gemini-3.1-flash-image", 0.07755),
    ({"usageMetadata": GEMINI}, "https://generativelanguage.googleapis.com/v1beta", "gemini-2.5-flash-image", 0.03879),
    ({"response": {"usage": {"total_cost": 0.01}}}, "https://relay.test/v1", "x", 0.01),
    ({"id": "1", "cost": 4}, "https://api.bfl.ai/v1/flux", "flux", 0.04),
    ({"cost": 0}, "https://relay.test/v1", "x", 0.0),
    ({"cost": -1}, "https://relay.test/v1", "x", None),
    ({"cost": {"amount": 3, "currency": "CNY"}}, "https://relay.test/v1", "x", None),
    ({"cost": "1,000"}, "https://relay.test/v1", "x", None),
    ({"cost": 1e300, "usage": {"input_tokens": True}}, "https://relay.test/v1", "x", None),
    ({"credits": 5000, "usage": OPENAI}, "https://relay.test/v1", "gpt-image-1", None),
    (["cost", 1], "https://relay.test/v1", "x", None),
]


@pytest.mark.parametrize(("said", "url", "model", "dollars"), SAID)
def test_what_answers_say(said: Any, url: str, model: str, dollars: float | None) -> None:
    """An amount, ticks, credits or tokens become the exact price; nonsense becomes none; then the own price counts."""
    prices = Prices(built_in=read_built_in((ROOT / "assets" / "prices.json").read_bytes()))
    price = prices.of(ApiConfig(api_url=url, model_name=model))
    amount = amount_of(read_bill(said), price, None, 1, 1)
    assert amount == (None if dollars is None else exact(dollars))
    if dollars is None:
        assert amount_of(read_bill(said), price, exact("0.5"), 1, 1) == UNIT // 2


def test_prices_as_people_enter_them() -> None:
    """A comma before decimals is read, a thousand's comma and a price below nothing are refused by name."""
    assert parse_entered({"price_per_call": "0,04", "budget": "12,5"})[0].budget == 12.5
    for wrong in ({"budget": "1,000"}, {"budget": -1}, {"budget_day": "nan"}, {"price_per_call": "a lot"}):
        with pytest.raises(InvalidInput) as caught:
            parse_entered(wrong)
        assert caught.value.field == next(iter(wrong))
    assert read_price({"model": "a*", "input": "0,5", "host": ""}).input == 0.5
    for entry in (
        {"model": "a"},
        {"input": -1},
        {"input": "1,000"},
        {"per_call": "free"},
        {"colour": 1},
        {"host": 7},
        5,
    ):
        with pytest.raises(InvalidInput) as caught:
            read_price(entry)
        assert caught.value.field == "prices"
    own = Prices()
    own.set_own([read_price({"model": "a*", "per_call": 0.5}), read_price({"model": "ab", "per_picture": 0.25})])
    assert own.before(ApiConfig(model_name="ab", result_count=3)) == exact(0.75)
    assert own.before(ApiConfig(model_name="abc")) == exact(0.5)
    assert own.before(ApiConfig(model_name="abc", price_per_call=0.1)) == exact(0.1)


def test_the_book(tmp_path: Path) -> None:
    """Sums are exact, by model, day and project, shared by two programs; a job collected twice is paid for once."""
    config = ApiConfig(model_name="m", price_per_call=0.1)
    first, second = Costs(tmp_path / "costs.db", "one"), Costs(tmp_path / "costs.db", "two")
    first.begin_run(config)
    for _ in range(1000):  # a sum of floats would be 99.9999999999986
        first.settle(first.admit(config), Came.ANSWER, pictures=1)
    first.settle(first.admit(config), Came.REFUSED)
    first.settle(first.admit(config), Came.WASTED, Bill(3))
    free = ApiConfig(model_name="n")
    assert second.settle(second.admit(free), Came.ANSWER) is None
    second.settle(second.admit(free), Came.ANSWER, job="t:1")
    for program in (second, first, second):
        assert program.collected("t:1", free, Came.ANSWER, Bill(7), pictures=1) == 7
    assert first.run == Sums(1002, 1, 1, 0, 100 * UNIT + 3)
    assert first.sums(project="one") == first.run
    assert first.sums(project="two") == Sums(2, 0, 0, 1, 7)
    assert first.sums(day=first.today) == first.sums() == Sums(1004, 1, 1, 1, 100 * UNIT + 10)
    assert [name for name, _ in first.sums_by("model")] == ["m", "n"]
    second.close()
    first.close()


def test_many_calls_end_at_once(tmp_path: Path) -> None:
    """Those that are noted together, of two models and with jobs among them, add up as if one came after the other."""
    costs = Costs(tmp_path / "costs.db", "one")
    configs = [ApiConfig(model_name=name, price_per_call=price) for name, price in (("m", 0.1), ("n", 0.3))]
    ready = threading.Barrier(24)

    def settle(number: int) -> None:
        ready.wait()
        for turn in range(20):
            config, came = configs[(number + turn) % 2], Came.REFUSED if turn == 0 else Came.ANSWER
            costs.settle(costs.admit(config), came, pictures=1, job=f"{number}:{turn}" if turn == 1 else "")

    threads = [threading.Thread(target=settle, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert costs.sums() == Sums(480, 24, 0, 0, 228 * (UNIT // 10 + 3 * UNIT // 10))
    assert costs.sums_by("model") == [
        ("m", Sums(240, 12, 0, 0, 228 * (UNIT // 10))),
        ("n", Sums(240, 12, 0, 0, 228 * (3 * UNIT // 10))),
    ]
    costs.close()


def test_a_day_has_one_budget(tmp_path: Path) -> None:
    """What another program spends today counts; yesterday's does not."""
    now = [1_700_000_000.0]
    config = ApiConfig(price_per_call=1, budget_day=3)
    first = Costs(tmp_path / "costs.db", "one", clock=lambda: now[0], monotonic=lambda: now[0])
    second = Costs(tmp_path / "costs.db", "two", clock=lambda: now[0], monotonic=lambda: now[0])
    first.begin_run(config)
    second.begin_run(config)
    for program in (first, second, second):
        now[0] += 2
        program.settle(program.admit(config), Came.ANSWER)
    now[0] += 2
    for program in (first, second):
        with pytest.raises(EditFailed) as caught:
            program.admit(config)
        assert (caught.value.field, caught.value.params["spent"]) == ("budget_day", 3.0)
    now[0] += 24 * 3600
    first.settle(first.admit(config), Came.ANSWER)
    first.close()
    second.close()


@pytest.mark.parametrize("known_before", [True, False])
def test_never_over_budget(known_before: bool) -> None:
    """Over a thousand runs with random prices, latencies and failures: never exceeded where prices are known before,
    else by no more than what was in flight when the last price came."""
    for seed in range(1000):
        _simulate(random.Random(seed), known_before=known_before)


def _simulate(chance: random.Random, *, known_before: bool) -> None:
    budget, limit, workers = Budget(), chance.randrange(1, 4000), chance.randrange(1, 40)
    budget.begin_run(limit, chance.choice((0, limit, 2 * limit)))
    flat = chance.randrange(1, limit + limit // 3 + 2)
    most = flat if known_before else 2 * flat
    failing = chance.random()
    now, paused = 0.0, False
    flights: list[tuple[float, float, int, Reservation]] = []
    in_flight = 0  # what the calls in flight cost when the last price came
    while flights or not paused:
        while not paused and len(flights) < workers:
            admitted = budget.admit("edit", flat if known_before else None)
            if isinstance(admitted, Problem):
                paused = True
            else:
                cost = 0 if chance.random() < failing * 0.9 else chance.randrange(flat if known_before else 1, most + 1)
                heapq.heappush(flights, (now + chance.expovariate(1), chance.random(), cost, admitted))
        if flights:
            if budget.run_spent <= limit:
                in_flight = sum(flight[2] for flight in flights)
            now, _, cost, reservation = heapq.heappop(flights)
            budget.settle(reservation, cost)
        if now > 5000:  # everything fails: nothing is spent
            break
    assert budget.run_spent <= limit + (0 if known_before else in_flight)
    assert budget.reserved == sum(flight[3].amount for flight in flights)


def test_a_budget_below_one_call() -> None:
    """Nothing is asked where one call would exceed it; raised by a person, as many as fit."""
    budget = Budget()
    budget.begin_run(3, 0)
    assert isinstance(budget.admit("edit", 4), Problem)
    budget.run_limit = 8
    taken = [budget.admit("edit", 4) for _ in range(3)]
    assert [isinstance(one, Reservation) for one in taken] == [True, True, False]
    assert plain(budget.reserved) == 8e-10
