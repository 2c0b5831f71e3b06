"""What the advice says of the numbers of a run, and what to change."""

from __future__ import annotations

from corolla.report.subject import Section, Subject
from corolla.training.advice import Finding, advise


def findings(subject: Subject) -> Section:
    """What the advice says of the numbers, alarms first, or what was looked for in vain."""
    card = subject.model.card
    found = advise(card.config, card.scores, card.latent_kl_nats, subject.rows, step=card.step)
    if not any(finding.alarm or finding.kind == "too early" for finding in found):
        faults = "overfitting" if subject.has_points else "a code that is ignored, a missed target, and overfitting"
        text = f"Checked for {faults}, without a finding. How good the pictures are is for you to judge, below."
        found = (Finding("no warnings", text, alarm=False), *found)
    return Section("findings", "What the numbers say", "findings.html.j2", {"findings": found})
