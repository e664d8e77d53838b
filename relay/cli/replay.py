"""Commands that mend: replay, edit, discard. Each change is conditional on the state that was seen."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from relay.cli.options import as_json, counted, filters, open_relay, per_second, print_json, say, selection
from relay.errors import Conflict, NotFound, StoreError
from relay.i18n import Message, gettext, said, translate
from relay.models import DEAD_LETTERS, Delivery, DeliveryState, Event
from relay.operations import actions, serializers
from relay.operations.filters import DISCARDABLE, REPLAYABLE, Chosen, choose
from relay.store import Reroute, Selection
from relay.wiring import Relay

_MOVABLE = ("due", *DEAD_LETTERS)
_POLL_S = 0.2
_NOBODY_S = 3.0  # a relay that is being restarted is back by then


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filters
@click.option("--all", "everything", is_flag=True, help="The whole dead-letter queue.")
@click.option("--dry-run", is_flag=True, help="Only list what would be replayed.")
@click.option("--rate", callback=per_second, metavar="RATE", help="At most so many, like 5/s.")
@click.option("--wait", is_flag=True, help="Wait until they have ended; 1 if any is dead again.")
@click.option("--to", "other", metavar="TARGET", help="Move them to this target; also those that still wait.")
@as_json
def replay(
    ids: tuple[str, ...],
    everything: bool,
    dry_run: bool,
    rate: float | None,
    wait: bool,
    other: str | None,
    json_lines: bool,
    **options: Any,
) -> None:
    """Puts deliveries back into the queue, oldest first, attempts counted anew.

    An ID is a delivery's or an event's; an event's stands for its dead or held deliveries. Quarantined events are
    read anew. Without --state only the dead-letter queue is taken.
    """
    relay = open_relay()
    name, begun_at = None, None
    if other is not None:
        options = _moving(relay, other, options)
    elif not set(options["states"]) <= {*DEAD_LETTERS}:  # what leaves the queue is not taken twice
        name = _name(ids, everything, options)
        begun_at = relay.store.operator.replay_begun_at(name)
    chosen = _chosen(relay, ids, everything, options, REPLAYABLE, begun_at)
    if begun_at is not None:
        say(
            "this replay was broken off: it goes on, without what has been put back since %(at)s; to take that too, "
            "run it once more afterwards",
            at=begun_at,
            err=True,
        )
    if other is not None and not dry_run:
        moved = _move(relay, chosen.deliveries, other)
        if wait and moved:
            _wait(relay, moved)
        return
    if dry_run:
        _list(chosen, json_lines)
        return
    replayed = actions.replay(relay, chosen, rate, name)
    say("replayed %(count)s of %(all)s", count=replayed.count, all=chosen.count, err=json_lines)
    for event in replayed.unreadable:
        say(
            "%(id)s: still not readable: %(problem)s; mend it with `relay edit %(id)s`",
            id=event.id,
            problem=event.problem,
            err=True,
        )
    waiting = list(chosen.deliveries)
    for event in chosen.quarantined:
        waiting += [delivery for delivery, _ in relay.store.queries.deliveries_of(event)]
    if wait and waiting:
        _wait(relay, waiting)
    if ids and not replayed.count and begun_at is None:
        raise Conflict("nothing of it could be replayed")


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filters
@click.option("--all", "everything", is_flag=True, help="The whole dead-letter queue.")
def discard(ids: tuple[str, ...], everything: bool, **options: Any) -> None:
    """Takes deliveries and quarantined events out of the queue for good."""
    relay = open_relay()
    chosen = _chosen(relay, ids, everything, options, DISCARDABLE)
    say("discarded %(done)s of %(count)s", done=actions.discard(relay, chosen), count=chosen.count)


@click.command()
@click.argument("id")
@click.option(
    "--body",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The mended body; without it $EDITOR opens.",
)
def edit(id: str, body: Path | None) -> None:
    """Mends the body of a quarantined event and delivers it; the original is kept."""
    relay = open_relay()
    event = relay.store.queries.event(id)
    if event.state != "quarantined":
        raise Conflict(
            "%(id)s is %(state)s: only a quarantined event can be mended; `relay show %(id)s`",
            id=event.id,
            state=Message(event.state),
        )
    mended = body.read_bytes() if body is not None else _in_editor(event)
    result = relay.intake.reprocess(event, mended)
    if result.call is None:
        problem = Message("still not readable: %(problem)s", problem=result.problem)
        if body is not None:
            raise Conflict(problem)
        raise Conflict("%(problem)s; your version is kept in %(file)s", problem=problem, file=_kept(mended))
    say(
        "accepted as %(kind)s; `relay show %(id)s` says what becomes of it", kind=gettext(result.call.kind), id=event.id
    )
    for note in result.notes:
        say("note: %(text)s", text=note)


def _in_editor(event: Event) -> bytes:
    text = click.edit(serializers.text(event.body), extension=".json", editor=os.environ.get("EDITOR"))
    if text is None:
        raise Conflict("nothing was changed in the editor; the event stays quarantined")
    return text.encode()


def _kept(mended: bytes) -> str:
    with tempfile.NamedTemporaryFile(prefix="relay-edit-", suffix=".json", delete=False) as file:
        file.write(mended)
    return file.name


# --- choosing


def _chosen(
    relay: Relay,
    ids: tuple[str, ...],
    everything: bool,
    options: dict[str, Any],
    allowed: tuple[DeliveryState, ...],
    not_replayed_since: datetime | None = None,
) -> Chosen:
    """Return what the options choose. Raises a usage error when nothing says which."""
    selected = selection(relay, ids, **options)
    if selected.is_empty and not everything:
        raise click.UsageError(gettext("say which: IDs, filters, or --all for the whole dead-letter queue"))
    try:
        return choose(relay, replace(selected, not_replayed_since=not_replayed_since), allowed)
    except ValueError as exc:
        raise click.UsageError(translate(said(exc))) from exc


def _name(ids: tuple[str, ...], everything: bool, options: dict[str, Any]) -> str:
    """Return what differs when others are to be chosen, by the words of the command: `--since 2h` stays the same."""
    words = repr((sorted(ids), everything, sorted(options.items())))
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _list(chosen: Chosen, json_lines: bool) -> None:
    records = [*map(serializers.delivery_record, chosen.deliveries)]
    records += map(serializers.dead_letter_record, chosen.quarantined)
    if json_lines:
        print_json(records)
    else:
        for record in records:
            parts = (record["target"], *(name and gettext(name) for name in (record["kind"], record["state"])))
            click.echo("  ".join(part or "–" for part in (record["id"], *parts, translate(record["reason"] or ""))))
    say("would replay %(count)s", count=chosen.count, err=json_lines)


# --- replaying


def _moving(relay: Relay, other: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the filters for a move. Raises a usage error for one to nowhere."""
    if other not in relay.settings.targets:
        names = ", ".join(sorted(relay.settings.targets))
        raise NotFound(
            "there is no target %(other)s in the configuration to move to; there are: %(names)s",
            other=other,
            names=names,
        )
    if options["target"] is None or options["target"] == other:
        raise click.UsageError(gettext("--to needs --target: the other target that they are moved from"))
    return {**options, "states": options["states"] or _MOVABLE}


def _move(relay: Relay, deliveries: list[Delivery], other: str) -> list[Delivery]:
    """Move what the other target takes and has not yet; return what now waits for it."""
    target, now = relay.settings.targets[other], relay.clock()
    fitting = [delivery for delivery in deliveries if delivery.kind in target.events]
    reroutes = [Reroute(delivery, other, target.order == "call", target.call_gap, now) for delivery in fitting]
    try:
        moved = relay.store.operator.reroute(reroutes)
    except StoreError as exc:
        raise actions.broken_off(exc, 0, len(fitting)) from exc
    say("moved %(moved)s of %(all)s to %(other)s", moved=moved, all=len(deliveries), other=other)
    if unfit := len(deliveries) - len(fitting):
        say("%(count)s stay: %(other)s does not take events of their kind", count=unfit, other=other, err=True)
    if unmoved := len(fitting) - moved:
        say(
            "%(count)s stay: %(other)s has these events already, or they have changed",
            count=unmoved,
            other=other,
            err=True,
        )
    seqs = {delivery.seq for delivery in fitting}
    return [delivery for delivery in relay.store.queries.deliveries(Selection(target=other)) if delivery.seq in seqs]


def _wait(relay: Relay, deliveries: list[Delivery]) -> None:
    """Show a bar until they have ended. Raises Conflict when some are dead again, or nobody delivers."""
    columns = (TextColumn(gettext("replaying")), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    seqs, targets = [delivery.seq for delivery in deliveries], {delivery.target for delivery in deliveries}
    for name in sorted(targets):
        if relay.store.targets.is_paused(name):
            raise Conflict("%(name)s is paused: nothing is delivered before `relay resume %(name)s`", name=name)
    unworked_since: float | None = None
    with Progress(*columns, transient=False) as progress:
        bar = progress.add_task("", total=len(seqs))
        while True:
            states = relay.store.queries.count_states(seqs)
            open_ = states.get("due", 0) + states.get("sending", 0)
            progress.update(bar, completed=len(seqs) - open_)
            if not open_:
                break
            if not relay.store.leases.is_worked(targets):
                unworked_since = unworked_since or time.monotonic()
                if time.monotonic() - unworked_since > _NOBODY_S:
                    raise Conflict(
                        "%(open)s still wait and no process is delivering; start the relay, or `relay work`", open=open_
                    )
            else:
                unworked_since = None
            time.sleep(_POLL_S)
    click.echo(counted(states))
    dead_again = sum(states.get(state, 0) for state in DEAD_LETTERS)
    if dead_again:
        raise Conflict("%(count)s are dead again; `relay dead` says why", count=dead_again)
