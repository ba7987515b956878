"""What a run leaves behind, made from files alone: manifest, contact sheet, film strip, gallery."""

from lightning_fv.report.comparison import side_by_side
from lightning_fv.report.gallery import write_gallery
from lightning_fv.report.manifest import Record, Status, read_manifest, write_manifest
from lightning_fv.report.pictures import read_picture
from lightning_fv.report.sheet import contact_sheet, film

__all__ = [
    "Record",
    "Status",
    "contact_sheet",
    "film",
    "read_manifest",
    "read_picture",
    "side_by_side",
    "write_gallery",
    "write_manifest",
]
