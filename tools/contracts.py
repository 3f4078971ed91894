"""A contract type for import-linter: an allow-list, where its own `forbidden` contract needs every name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from importlinter import Contract, ContractCheck, fields, output
from typing_extensions import override

if TYPE_CHECKING:
    from grimp import ImportGraph


class StandardLibraryOnly(Contract):
    """The modules of `packages` import Chatkeep itself and the standard library, and nothing else."""

    type_name = "standard_library_only"

    packages: list[str] = fields.ListField(subfield=fields.StringField())  # type: ignore[assignment]  # a descriptor in all but name

    @override
    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        allowed = sys.stdlib_module_names | {package.split(".")[0] for package in self.packages}
        foreign = [
            (module, imported)
            for package in self.packages
            for module in sorted({package} | graph.find_descendants(package))
            for imported in sorted(graph.find_modules_directly_imported_by(module))
            if imported.split(".")[0] not in allowed
        ]
        return ContractCheck(kept=not foreign, metadata={"foreign": foreign})

    @override
    def render_broken_contract(self, check: ContractCheck) -> None:
        for module, imported in check.metadata["foreign"]:
            output.print_error(f"{module} imports {imported}, which is not in the standard library")
