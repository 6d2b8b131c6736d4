"""The card of a function: its description as data, from which help, docs and forms are made."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Need = Literal["required", "optional", "none"]


class Card(BaseModel):
    """What a function is and takes, for people and programs.

    Attributes:
        name: the name users pass as ``accelerator=``.
        title: three to eight words.
        description: one paragraph of Markdown.
        version: of the function.
        datafile: whether ``start`` takes a configuration file, and what it holds.
        datafile_format: one sentence, empty when there is none.
        input: whether ``process`` reads a file.
        folder: whether a folder may stand in for that file; it comes as a tar stream.
        output: whether ``process`` gives a file; with ``optional``, each job says whether it did.
        limits: one sentence each, honest ones.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    description: str
    version: str
    datafile: Need = "none"
    datafile_format: str = ""
    input: Need = "required"
    folder: bool = False
    output: Need = "required"
    limits: tuple[str, ...] = ()


class CatalogueEntry(Card):
    """A card together with the JSON schemas of the parameters of ``start`` and ``process``."""

    configure_schema: dict[str, Any]
    process_schema: dict[str, Any]
