"""Tells the people of an organisation when a share of the month's budget is used."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import Sum

from acceleratorAPI.store.models import BudgetAlert, Organisation, Role, UsageDay
from acceleratorAPI.store.quotas import month_of, next_month

SHARES = (50, 80, 100)
log = logging.getLogger(__name__)


def spent_nano(organisation: Organisation) -> int:
    """What this month has cost so far, in 10^-9 of the currency."""
    month = month_of(datetime.now(UTC))
    days = UsageDay.objects.filter(organisation=organisation, day__gte=month, day__lt=next_month(month))
    return int(days.aggregate(total=Sum("cost_nano"))["total"] or 0)


def watch(organisation: Organisation) -> None:
    """Send the mail that is due: of the largest share that is new this month. One that cannot be sent is lost alone."""
    if organisation.budget_nano is None:
        return
    spent, month = spent_nano(organisation), month_of(datetime.now(UTC))
    due = [share for share in SHARES if spent * 100 >= organisation.budget_nano * share]
    alerts = BudgetAlert.objects
    new = [share for share in due if alerts.get_or_create(organisation=organisation, month=month, percent=share)[1]]
    if new:
        _tell(organisation, max(new), spent)


def _tell(organisation: Organisation, share: int, spent: int) -> None:
    roles = (Role.OWNER, Role.BILLING)
    people = organisation.memberships.filter(role__in=roles).values_list("user__email", flat=True)
    text = (
        f"{organisation.name} has used {share} % of this month's budget: {spent / 1e9:.2f} {settings.STORE_CURRENCY}.\n"
        f"See {settings.STORE_URL}/usage/\n"
    )
    try:
        send_mail(f"{share} % of the budget of {organisation.name} is used", text, None, list(people))
    except OSError as error:
        log.error("the budget alert of %s could not be sent: %s", organisation.pk, error)
