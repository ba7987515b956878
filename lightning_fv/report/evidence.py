"""The evidence of runs as their report shows it."""

from collections.abc import Iterable, Sequence
from typing import Any, get_args
from urllib.parse import quote

from lightning_fv.errors import warn
from lightning_fv.runs.evidence import DIGITS, WORDS, Evidence, Example, Verdict, read_evidence
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.record import Record

WHOLE = (0.0, 0.0, 1.0, 1.0)


def known_evidence(run: RunFolder, records: Sequence[Record]) -> dict[str, Evidence]:
    """The evidence about the pictures of a run, by record id; none, with a warning, if it is damaged.

    Of pictures that have been rendered again since, there is none, with a warning.

    Args:
        run: the run folder.
        records: of its pictures, as they are now.
    """
    now = {record.id: record.digest for record in records}
    try:
        found = {found.id: found for found in read_evidence(run.evidence)}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        warn(
            f"{run.evidence} is damaged ({reason}); pictures are shown without it; "
            f"write it again with lightning-fv report {run} --photos FOLDER"
        )
        return {}
    current = {id_: one for id_, one in found.items() if id_ in now and one.digest == now[id_]}
    if outdated := len(found.keys() & now.keys()) - len(current):
        warn(
            f"{run.evidence} is out of date: {outdated} of {len(now)} pictures were rendered again since, and are shown without "
            f"evidence; collect it with lightning-fv report {run} --photos FOLDER"
        )
    return current


def evidence_data(found: Sequence[Evidence | None]) -> dict[str, Any] | None:
    """The evidence in the gallery's data, kept small: a short array per picture, and only once what pictures share.

    Args:
        found: of each picture, if there is any.

    Returns:
        None if there is none at all, else

        verdicts: name, what is said of it.
        faithful, plausible: names of the numbers.
        paths: lists of layers, from input to output.
        photos: URL from the run's folder, name.
        rows: of each picture None, or verdict, what it rests on, reasons, faithful numbers, plausible numbers, list of layers, path similarity by layer, best photos,
            least photos. Of a photo: its number, the unit's value, and if the unit saw less than all of it, left, top, right, bottom in percent.
    """
    if not any(found):
        return None
    verdicts = get_args(Verdict)
    faithful = list(dict.fromkeys(name for e in found if e for name in e.faithful))
    plausible = list(dict.fromkeys(name for e in found if e for name in e.plausible))
    paths: dict[tuple[str, ...], int] = {}
    photos: dict[tuple[str, str], int] = {}

    def shown(examples: Iterable[Example]) -> list[list[float | str | None]]:
        return [
            [
                photos.setdefault((quote(example.file, errors="replace"), example.photo), len(photos)),
                _short(example.value, 3),
                *([] if example.crop == WHOLE else [round(100 * share) for share in example.crop]),
            ]
            for example in examples
        ]

    rows = [
        e
        and [
            verdicts.index(e.verdict),
            e.brief,
            e.reasons,
            [_short(e.faithful.get(name)) for name in faithful],
            [_short(e.plausible.get(name)) for name in plausible],
            paths.setdefault(tuple(e.path), len(paths)),
            [_short(value) for value in e.path.values()],
            shown(e.examples),
            shown(e.least),
        ]
        for e in found
    ]
    return {
        "verdicts": [[name, WORDS[name]] for name in verdicts],
        "faithful": faithful,
        "plausible": plausible,
        "paths": list(paths),
        "photos": list(photos),
        "rows": rows,
    }


def _short(value: float | str | None, digits: int = DIGITS) -> float | str | None:
    """A number short enough for thousands of them; a whole one has no point.

    What is told of it elsewhere is rounded from `DIGITS`: rounding twice could tell another number.
    """
    if not isinstance(value, int | float):
        return value
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() else short
