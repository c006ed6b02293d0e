"""Whatever a page shows is tried: messages against the schemas, merges, commands, links, names of files and keys."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
from jsonschema import Draft202012Validator

from docs.generate import fields, reference, schemas
from syncbridge import compile_policies, rebase
from syncbridge.cli import app
from syncbridge.config import OTHER_VARIABLES, PREFIX, Settings, explain
from syncbridge.telemetry.metrics import METRICS
from tests.docs import pages
from tests.docs.pages import Block
from tests.house.files import ROOT

JSON_BLOCKS = pages.blocks("json")
REBASES = pages.blocks("json rebase")
ROOT_COMMAND = typer.main.get_command(app)
_PATH = re.compile(r"`((?:src|tests|docs|bench|clients|examples|ext|deploy)/[\w./-]*)`")
_VARIABLE = re.compile(rf"\b{PREFIX}[A-Z_]+\b")


# -- what the code tells ----------------------------------------------------------------------------------------


def test_everything_generated_is_what_the_code_says_now() -> None:
    assert reference.outdated() == [], "run `python -m docs.generate.reference`"


def test_every_part_that_can_be_generated_is_in_some_page() -> None:
    text = "".join(page.read_text("utf-8") for page in pages.pages())
    assert [name for name in reference.PARTS if text.count(f"<!-- generated: {name} -->") != 1] == []


def test_every_sentence_about_a_field_is_about_one() -> None:
    used = set()
    for message in schemas.all_messages():
        schema = schemas.schema_of(message)
        for owner, part in [(message.tag, schema), *schema.get("$defs", {}).items()]:
            used |= {fields.key_of(owner, name) for name in part["properties"]}
    assert fields.MEANINGS.keys() - used == set()


def test_every_kind_of_block_is_tried_or_is_a_drawing() -> None:
    kinds = {re.sub(r" \d+$", "", info) for info in pages.infos()}  # "json answer 404": an answer with this status
    assert kinds <= {"http", "json", "json answer", "json event", "json rebase", "python", "sh", "toml", "text"}


# -- messages ---------------------------------------------------------------------------------------------------


class Judge:
    """What a message of one direction has to look like."""

    def __init__(self, schema: schemas.Schema) -> None:
        self.schema = schema
        self.validator = Draft202012Validator(schema)

    def strangers(self, message: Any) -> list[str]:
        return strangers(message, self.schema, self.schema.get("$defs", {}))

    def accept(self, message: Any) -> None:
        self.validator.validate(message)
        assert self.strangers(message) == []


JUDGES = {(one.side, one.tag): Judge(schemas.schema_of(one)) for one in schemas.all_messages()}


def strangers(value: Any, schema: Any, defs: Any, place: str = "$") -> list[str]:
    """Members that the schema does not name: to a peer they mean nothing, in a page they are a slip of the pen."""
    if "$ref" in schema:
        return strangers(value, defs[schema["$ref"].rpartition("/")[2]], defs, place)
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [
            found
            for index, one in enumerate(value)
            for found in strangers(one, schema["items"], defs, f"{place}[{index}]")
        ]
    known = schema.get("properties")
    if not isinstance(value, dict) or known is None:
        return []
    found = [f"{place}.{name}" for name in value if name not in known]
    for name, inner in value.items():
        found += strangers(inner, known.get(name, {}), defs, f"{place}.{name}")
    return found


@pytest.mark.parametrize("block", JSON_BLOCKS, ids=str)
def test_a_message_in_a_page_is_one_of_the_protocol(block: Block) -> None:
    message = json.loads(block.text)
    judges = [judge for (_, tag), judge in JUDGES.items() if tag == message["type"]]
    assert judges, f"no message has the type {message['type']}"
    fitting = [judge for judge in judges if judge.validator.is_valid(message)]
    assert fitting, [error.message for judge in judges for error in judge.validator.iter_errors(message)]
    odd = [judge.strangers(message) for judge in fitting]
    assert [] in odd, odd


def test_a_message_with_a_slip_in_it_is_told() -> None:
    ack = JUDGES["server", "ack"]
    assert not ack.validator.is_valid({"type": "ack", "session": "s", "seq": 1, "version": "2", "at": 3})
    wrong = {"type": "ack", "session": "s", "seq": 1, "version": 2, "at": 3, "conflicts": [{"wnner": "ours"}]}
    assert ack.strangers(wrong) == ["$.conflicts[0].wnner"]


@pytest.mark.parametrize("path", sorted(reference.DOCS.glob("schemas/*/*.json")), ids=lambda path: path.stem)
def test_a_schema_is_one(path: Path) -> None:
    text = path.read_text("utf-8")
    schema = json.loads(text)
    Draft202012Validator.check_schema(schema)
    assert [name for name in schema.get("$defs", {}) if f'"#/$defs/{name}"' not in text] == []


@pytest.mark.parametrize("path", sorted((ROOT / "clients/vectors/resume").glob("*.json")), ids=lambda path: path.stem)
def test_everything_that_travels_in_a_transcript_fits_its_schema(path: Path) -> None:
    for step in json.loads(path.read_text("utf-8"))["steps"]:
        if "says" in step:
            JUDGES["device", step["says"]["type"]].accept(step["says"])
        for heard in step.get("hears", {}).values():
            for message in heard:
                JUDGES["server", message["type"]].accept(message)


@pytest.mark.parametrize("side", get_args(schemas.Side))
def test_an_example_fits_its_schema(side: schemas.Side) -> None:
    for message in json.loads((ROOT / f"clients/vectors/messages/{side}.json").read_text("utf-8"))["messages"]:
        JUDGES[side, message["type"]].accept(message)


def test_asyncapi_names_every_message_once_and_every_reference_leads_somewhere() -> None:
    document = json.loads((reference.DOCS / "asyncapi.json").read_text("utf-8"))
    tags = {f"{one.side}.{one.tag}" for one in schemas.all_messages()}
    assert set(document["components"]["messages"]) == set(document["channels"]["socket"]["messages"]) == tags
    assert len(document["operations"]) == len(tags)
    for target in re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)):
        if target.startswith("#"):
            node = document
            for token in target[2:].split("/"):
                node = node[token]
        else:
            assert (reference.DOCS / target).is_file(), target


# -- merges -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", REBASES, ids=str)
def test_a_merge_in_a_page_comes_out_as_shown(block: Block) -> None:
    case = json.loads(block.text)
    policies = compile_policies(case["policies"]) if "policies" in case else None
    result = rebase(
        case["ops"],
        case["committed"],
        policies,
        base=case["base"],
        at=case.get("at"),
        is_owner=case.get("is_owner", True),
    )
    assert result.ops == case["rebased"]
    assert result.conflicts == case["conflicts"]


def test_every_policy_has_an_example() -> None:
    shown = {str(rule) for block in REBASES for rule in json.loads(block.text).get("policies", {}).values()}
    text = " ".join(shown)
    assert [name for name in schemas.CONFLICT["properties"]["policy"]["enum"] if name not in text] == ["playhead"]


# -- commands ---------------------------------------------------------------------------------------------------


def commands() -> list[str]:
    lines = [line.split(" #")[0].strip() for block in pages.blocks("sh") for line in block.text.splitlines()]
    inline = [found for page in pages.pages() for found in re.findall(r"`(syncbridge [^`]+)`", pages.prose(page))]
    return sorted({line for line in [*lines, *inline] if "syncbridge " in line})


@pytest.mark.parametrize("line", commands())
def test_a_command_in_a_page_exists_with_its_options(line: str) -> None:
    words = line.partition("syncbridge ")[2].split()
    command: Any = ROOT_COMMAND
    while words and words[0][0] != "-" and (inner := getattr(command, "commands", None)) is not None:
        command = inner.get(words.pop(0))
        assert command is not None, line
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options


def test_a_shell_line_begins_with_what_is_there() -> None:
    known = {"make", "cp", "mv", "python", ".venv/bin/syncbridge", "syncbridge"}
    lines = [line for block in pages.blocks("sh") for line in block.text.splitlines() if line.strip()]
    first = {next(word for word in line.split() if "=" not in word) for line in lines}
    assert first <= known


@pytest.mark.parametrize("block", pages.blocks("toml"), ids=str)
def test_a_configuration_in_a_page_is_accepted(block: Block) -> None:
    Settings(**tomllib.loads(block.text))


def test_a_variable_in_a_page_is_one() -> None:
    known = {f"{PREFIX}{row.key.replace('.', '__').upper()}" for row in explain(None, {})} | OTHER_VARIABLES
    named = {found for page in pages.pages() for found in _VARIABLE.findall(page.read_text("utf-8"))}
    assert named <= known


# -- links and names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_link_leads_somewhere(page: Path) -> None:
    for link in pages.links(page):
        target, _, anchor = link.partition("#")
        if target.startswith(("http://", "https://")):
            continue
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), link
        if anchor:
            assert anchor in pages.anchors(there), link


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_file_that_a_page_names_is_there(page: Path) -> None:
    named = {
        name for name in _PATH.findall(pages.prose(page)) if "*" not in name and not name.startswith("bench/results")
    }
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_decisions_are_numbered_without_gaps_and_all_listed() -> None:
    folder = reference.DOCS / "decisions"
    found = sorted(path.name for path in folder.glob("0*.md"))
    assert [int(name[:4]) for name in found] == list(range(1, len(found) + 1))
    assert [link for link in pages.links(folder / "README.md") if link.endswith(".md")] == found


def test_an_expression_in_the_alerts_names_metrics_that_there_are() -> None:
    text = (reference.DOCS / "monitoring.md").read_text("utf-8")
    alerts = text.partition("## Alerts\n")[2].partition("\n## ")[0]
    expressions = re.findall(r"^\| `([^`]+)` \|", alerts, re.MULTILINE)
    assert len(expressions) > 10
    known = {metric.name for metric in METRICS} | {"up"}
    for expression in expressions:
        named = set(re.findall(r"(?<![\w\"])([a-z]+(?:_[a-z]+)+|up)(?=[^\w(]|$)", expression))
        bare = {re.sub(r"_bucket$", "", name) for name in named}
        assert bare, expression
        assert bare <= known, expression
