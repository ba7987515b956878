"""The report of a run, made from files alone: manifest, contact sheet, film strip, gallery."""

from lightning_fv.report.comparison import side_by_side
from lightning_fv.report.gallery import write_gallery
from lightning_fv.report.pictures import read_picture
from lightning_fv.report.run import write_report
from lightning_fv.report.sheet import contact_sheet, film

__all__ = [
    "contact_sheet",
    "film",
    "read_picture",
    "side_by_side",
    "write_gallery",
    "write_report",
]
