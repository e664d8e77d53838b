"""Which rule decides, at which target, and what a CRM's settings become by it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import routing
from relay.config import AmoCrmTarget, Bitrix24Target, Rule
from relay.errors import ConfigError
from relay.models import CallEvent
from relay.routing import Decision, decide, facts

LINE, OTHER_LINE = "+74955550100", "+74955550199"
CALL = CallEvent(kind="incoming", direction="in", virtual_number=LINE, client_number="+79005550123")


def call(**more: Any) -> CallEvent:
    return CallEvent(
        **{"kind": "incoming", "direction": "in", "virtual_number": LINE, "client_number": "+79005550123", **more}
    )


SKIP = {"skip": True}
FITTING: list[tuple[str, dict[str, Any], CallEvent, bool]] = [
    ("no condition fits every call", {}, CALL, True),
    ("the line as the cabinet shows it", {"line": ("74955550100",)}, CALL, True),
    ("the line with its plus", {"line": (LINE,)}, CALL, True),
    ("the line as people write it", {"line": ("8 (495) 555-01-00",)}, CALL, True),
    ("one of several lines", {"line": (OTHER_LINE, LINE)}, CALL, True),
    ("another line", {"line": (OTHER_LINE,)}, CALL, False),
    ("a call without a line", {"line": (LINE,)}, call(virtual_number=None), False),
    (
        "a text that is too long for a line, stored when it was taken",
        {"line": (LINE,)},
        call(virtual_number="7" * 65),
        False,
    ),
    ("the direction", {"direction": "in"}, CALL, True),
    ("the other direction", {"direction": "out"}, CALL, False),
    ("the kind", {"kind": ("lost", "incoming")}, CALL, True),
    ("another kind", {"kind": ("lost",)}, CALL, False),
    ("the extension", {"extension": ("101",)}, call(kind="answered", extension="101"), True),
    ("an extension that is not known yet", {"extension": ("101",)}, CALL, False),
    ("a client of the address book", {"known": True}, call(contact_id=5), True),
    ("a client by name only", {"known": True}, call(extra={"contact_full_name": "Иванов"}), True),
    ("a client whom nobody knows", {"known": False}, CALL, True),
    ("a known one is not unknown", {"known": False}, call(contact_id=5), False),
    ("internal by UIS's own word", {"internal": True}, call(extra={"is_internal": True}), True),
    ("internal by a word in text", {"internal": True}, call(extra={"is_internal": "true"}), True),
    (
        "not internal by UIS's own word",
        {"internal": True},
        call(client_number="102", extra={"is_internal": False}),
        False,
    ),
    ("internal by a short number", {"internal": True}, call(client_number="102"), True),
    ("a client is not internal", {"internal": True}, CALL, False),
    ("a withheld number is not internal", {"internal": True}, call(client_number=None), False),
    ("all conditions at once", {"line": (LINE,), "direction": "in", "known": False}, CALL, True),
    ("all but one", {"line": (LINE,), "direction": "out"}, CALL, False),
]


@pytest.mark.parametrize(("conditions", "of", "fits"), [row[1:] for row in FITTING], ids=[row[0] for row in FITTING])
def test_what_fits(conditions: dict[str, Any], of: CallEvent, fits: bool) -> None:
    decision = decide([Rule(**SKIP, **conditions)], "b24", facts([of]))

    assert decision.takes is not fits
    assert decision.number == (1 if fits else None)


ROUTES: list[tuple[str, list[dict[str, Any]], dict[str, tuple[bool, int | None]]]] = [
    ("without rules everybody gets it", [], {"onec": (True, None), "b24": (True, None)}),
    ("targets alone: those and no others", [{"targets": ("b24",)}], {"onec": (False, 1), "b24": (True, 1)}),
    ("skip alone: nobody", [SKIP], {"onec": (False, 1), "b24": (False, 1)}),
    ("skip with targets: the others go on", [{**SKIP, "targets": ("b24",)}], {"onec": (True, None), "b24": (False, 1)}),
    (
        "a setting takes it from nobody",
        [{"targets": ("b24",), "default_user": 7}],
        {"onec": (True, None), "b24": (True, 1)},
    ),
    (
        "the first that is about the target decides, for each by itself",
        [{**SKIP, "targets": ("amo",)}, {"targets": ("b24", "amo")}],
        {"onec": (False, 2), "b24": (True, 2), "amo": (False, 1)},
    ),
    (
        "the last of many is read too",
        [{**SKIP, "direction": "out"}] * 6 + [{"targets": ("onec",)}],
        {"onec": (True, 7), "b24": (False, 7)},
    ),
    (
        "what does not fit is passed over",
        [{**SKIP, "direction": "out"}, {"targets": ("onec",), "line": (LINE,)}, SKIP],
        {"onec": (True, 2), "b24": (False, 2)},
    ),
]


@pytest.mark.parametrize(("given_rules", "ends"), [row[1:] for row in ROUTES], ids=[row[0] for row in ROUTES])
def test_who_gets_it(given_rules: list[dict[str, Any]], ends: dict[str, tuple[bool, int | None]]) -> None:
    ruled = [Rule(**one) for one in given_rules]

    found = {target: decide(ruled, target, facts([CALL])) for target in ends}

    assert {target: (one.takes, one.number) for target, one in found.items()} == ends


def test_settings_go_by_all_that_was_said_of_the_call() -> None:
    """The end of a call names neither the line nor that the client is known, but what came before it did."""
    end = CallEvent(kind="finished")

    found = facts([call(contact_id=5, extension="101"), call(kind="answered", extension="102"), end])

    assert (found.line, found.direction, found.extension, found.known, found.kind) == (
        LINE,
        "in",
        "102",
        True,
        "finished",
    )


B24 = Bitrix24Target(name="b24", default_user=1, webhook=None)
AMO = AmoCrmTarget(name="amo", default_user=1, url="https://example.amocrm.ru")


@pytest.mark.parametrize(
    ("target", "rule", "changed"),
    [
        (B24, {"default_user": 7}, {"default_user": 7}),
        (B24, {"create": False}, {"create_lead": False}),
        (B24, {"crm_source": "CALL"}, {"crm_source": "CALL"}),
        (
            AMO,
            {"default_user": 7, "pipeline_id": 3, "status_id": 9},
            {"default_user": 7, "pipeline_id": 3, "status_id": 9},
        ),
        (AMO, {"create": False}, {"unknown_phone": "skip"}),
        (AMO, {"create": True}, {"unknown_phone": "unsorted"}),
        (AMO, {"crm_source": "Сайт"}, {"source_name": "Сайт"}),
    ],
)
def test_what_a_rule_sets(target: Any, rule: dict[str, Any], changed: dict[str, Any]) -> None:
    from msgspec.structs import asdict, replace

    ruled = replace(target, rules={"trade": (Rule(line=(LINE,), **rule),)})

    found = routing.settings_for(ruled, "trade", [CALL])

    assert {name: value for name, value in asdict(found).items() if value != getattr(ruled, name)} == {
        name: value for name, value in changed.items() if value != getattr(ruled, name)
    }
    assert routing.settings_for(ruled, "another", [CALL]) == ruled
    assert routing.settings_for(ruled, "trade", [call(virtual_number=OTHER_LINE)]) == ruled


def test_create_overrides_a_target_that_skips_the_unknown() -> None:
    from msgspec.structs import replace

    skipping = replace(AMO, unknown_phone="skip", rules={"trade": (Rule(create=True),)})

    assert routing.settings_for(skipping, "trade", [CALL]).unknown_phone == "unsorted"


RULES = st.builds(
    Rule,
    line=st.sampled_from([(), (LINE,), (OTHER_LINE,)]),
    direction=st.sampled_from([None, "in", "out"]),
    skip=st.booleans(),
    targets=st.sampled_from([(), ("onec",), ("onec", "b24")]),
)


@given(st.lists(RULES, max_size=5), st.sampled_from(["onec", "b24"]))
def test_what_comes_after_the_deciding_rule_changes_nothing(ruled: list[Rule], target: str) -> None:
    decision = decide(ruled, target, facts([CALL]))

    if decision.number is None:
        assert decision == Decision(takes=True)
    else:
        assert decide(ruled[: decision.number], target, facts([CALL])) == decision
        assert decide(ruled[: decision.number - 1], target, facts([CALL])).number is None


SOURCE = """[sources.trade]
token = "correct-horse"
targets = ["onec", "b24", "amo"]
"""
TARGETS = """
[targets.onec]
kind = "1c"
url = "https://1c.example.test/trade/hs/UIScom"
[targets.b24]
kind = "bitrix24"
webhook = "https://portal.bitrix24.ru/rest/1/very-secret-code/"
default_user = 1
[targets.amo]
kind = "amocrm"
url = "https://example.amocrm.ru"
token = "t"
default_user = 1
"""
MISTAKES = [
    ("line = 74955550100\nskip = true", "rules[1].line", "text"),
    ('lines = "74955550100"', "rules[1].lines", "did you mean line"),
    ('direction = "incoming"\nskip = true', "rules[1].direction", "in, out"),
    ('kind = "ringing"\nskip = true', "rules[1].kind[0]", "incoming, answered"),
    ('targets = ["b42"]', "rules[1].targets", '"b42" is no target of this source; it has onec, b24, amo'),
    ("line = []\nskip = true", "rules[1].line", "is empty"),
    ('line = "(495) 555-01-00"\nskip = true', "rules[1].line", "write the number with its country"),
    ('line = "74955550100"', "rules[1].skip", "does nothing"),
    ("skip = true\ncreate = false", "rules[1].skip", "needs no create"),
    ('targets = ["onec"]\ndefault_user = 5', "rules[1].default_user", "no target of the rule has it; it is for a CRM"),
    ('targets = ["b24"]\npipeline_id = 5', "rules[1].pipeline_id", "it is for amocrm"),
    ("default_user = 5", "rules[1].default_user", "something else in each CRM; name in targets"),
    ("default_user = 0", "rules[1].default_user", "at least 1"),
    ('known = "no"\nskip = true', "rules[1].known", "true or false"),
]


@pytest.mark.parametrize(("lines", "key", "remedy"), MISTAKES, ids=[row[1] + " " + row[2][:20] for row in MISTAKES])
def test_a_wrong_rule_is_refused_with_its_remedy(tmp_path: Any, lines: str, key: str, remedy: str) -> None:
    from relay import config

    file = tmp_path / "relay.toml"
    file.write_text(f"{SOURCE}[[sources.trade.rules]]\n{lines}\n{TARGETS}", encoding="utf-8")

    with pytest.raises(ConfigError) as refused:
        config.read({"RELAY_CONFIG": str(file)})

    assert f"relay.toml: sources.trade.{key}: " in str(refused.value)
    assert remedy in str(refused.value)
