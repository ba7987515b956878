"""The parser of the commands without a recipe."""

import argparse
from typing import NoReturn

from lightning_fv.errors import UsageError


class Parser(argparse.ArgumentParser):
    """Reports a mistake as every other one: in one line, as an error."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")
