"""What the store keeps."""

from acceleratorAPI.store.models.accounts import Membership, Organisation, Role, User
from acceleratorAPI.store.models.audit import AuditEntry
from acceleratorAPI.store.models.catalogue import Function, FunctionVersion
from acceleratorAPI.store.models.keys import Application, Secret
from acceleratorAPI.store.models.usage import BudgetAlert, Node, NodeGrant, UsageDay, UsageEvent

__all__ = [
    "Application",
    "AuditEntry",
    "BudgetAlert",
    "Function",
    "FunctionVersion",
    "Membership",
    "Node",
    "NodeGrant",
    "Organisation",
    "Role",
    "Secret",
    "UsageDay",
    "UsageEvent",
    "User",
]
