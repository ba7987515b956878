"""The report in TensorBoard: events that are made from files alone."""

import io
import time
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from lightning_fv.runs.evidence import EVENT_SUFFIX, Evidence
from lightning_fv.runs.files import read_file
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.record import Record

MEASURES = ("photo_multiple", "photo_percentile", "two_choice")
"""Numbers of the evidence that have a chart, besides the mean path similarity."""


def log_evidence(run: RunFolder, records: Sequence[Record], evidence: Mapping[str, Evidence]) -> None:
    """Write the evidence of a run into an event file in its folder, in the place of an older one.

    Of each picture a text ``verdict/TARGET``, and a point in each chart ``evidence/NAME``, at the picture's line in the manifest; and the contact
    sheet, if there is one.

    Args:
        run: the run folder.
        records: of its manifest, in order.
        evidence: by record id; without any, there is no such file.

    Raises:
        OSError: it cannot be written.
    """
    for old in run.path.glob(f"events.*{EVENT_SUFFIX}"):
        old.unlink()
    if not evidence:
        return
    from lightning_fv.report.event_file import EventFile  # here: numpy takes 0.1 s to import

    file = EventFile(run.path, EVENT_SUFFIX)
    try:
        for number, record in enumerate(records):
            if (found := evidence.get(record.id)) is None:
                continue
            file.add(_text_event(f"verdict/{_text(record.target)}", number, _markdown(found)))
            values = {name: found.faithful.get(name) for name in MEASURES} | {"path_similarity": found.mean_path()}
            for name, value in values.items():
                if isinstance(value, int | float):
                    file.add(_scalar_event(f"evidence/{name}", number, value))
        if run.sheet.is_file():
            encoded = read_file(run.sheet)
            with Image.open(io.BytesIO(encoded), formats=["PNG"]) as sheet:
                width, height = sheet.size
            file.add(image_event("sheet", height, width, 0, encoded))
    finally:
        file.close()


def image_event(tag: str, height: int, width: int, step: int, encoded: bytes) -> Any:
    """A TensorBoard event that holds a picture.

    Written without torch's SummaryWriter, whose slow compression would take a core from the render.

    Args:
        tag: the picture's name; the part before the first slash is its group.
        height, width: in pixels.
        step: its position on the slider.
        encoded: the picture as PNG or JPEG.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary

    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encoded)
    return _event(step, tag=tag, image=image)


def _scalar_event(tag: str, step: int, value: float) -> Any:
    return _event(step, tag=tag, simple_value=value)


def _text_event(tag: str, step: int, markdown: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto

    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    tensor = TensorProto(dtype="DT_STRING", string_val=[markdown.encode()])
    return _event(step, tag=tag, metadata=metadata, tensor=tensor)


def _event(step: int, **value: Any) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Event(wall_time=time.time(), step=step, summary=Summary(value=[Summary.Value(**value)]))


def _markdown(found: Evidence) -> str:
    return "\n".join([f"**{_text(found.caption())}**", "", *(f"- {_text(reason)}" for reason in found.reasons)])


def _text(text: str) -> str:
    """JSON can spell half of a surrogate pair, which no event can."""
    return text.encode("utf-8", "replace").decode()
