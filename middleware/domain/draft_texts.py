"""The sentences that drafts are made of, in four languages, as data.

`PARTS` says in which order they come, which facts each needs, and whether everybody may read it.
Of a part's sentences the first whose facts are all there is taken; where none is, the part is left
out. A language whose text is missing is a mistake that the tests find.
"""

from __future__ import annotations

from typing import NamedTuple


class Template(NamedTuple):
    """One sentence: its name in `TEXTS`, the facts it rests on, and whether it may be public."""

    name: str
    needs: tuple[str, ...] = ()
    public: bool = False


PARTS: tuple[tuple[Template, ...], ...] = (
    (Template("hello_name", ("name",)), Template("hello", (), public=True)),
    (
        Template("sorry_incident", ("reason", "incident"), public=True),
        Template("sorry_reason", ("reason",), public=True),
        Template("thanks", (), public=True),
    ),
    (Template("about_item", ("order_number", "item")), Template("about", ("order_number",))),
    (
        Template("done_replacement_order", ("done_replacement_order", "action_number")),
        Template("done_return", ("done_return", "action_number")),
        Template("done_credit", ("done_credit", "action_amount", "action_number")),
        Template("done_credit_unpriced", ("done_credit", "action_number")),
        Template("done_store_credit", ("done_store_credit", "action_number")),
        Template("done_cancellation", ("done_cancellation",)),
        Template("done_case", ("done_case", "action_number")),
        Template("done_call_back", ("done_call_back", "call_from", "call_to")),
        Template("not_yet", ("under_way",)),
    ),
    (
        Template("tracking", ("tracking", "carrier")),
        Template("leaves_on", ("planned_for",)),
        Template("asked_for_by", ("deliver_by",)),
    ),
    (Template("slots", ("slots",)),),
    (Template("link", ("link", "link_until")),),
    (Template("write_privately", ("direct_messages",), public=True),),
)

TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "hello_name": "Hello {name},",
        "hello": "Hello,",
        "sorry_incident": "we are sorry that {reason}. It concerns several customers, and we know"
        " about it.",
        "sorry_reason": "we are sorry that {reason}.",
        "thanks": "thank you for telling us.",
        "about_item": "This is about {item} from your order {order_number}.",
        "about": "This is about your order {order_number}.",
        "done_replacement_order": "A replacement is ordered, under the number {action_number}.",
        "done_return": "Your return is registered, under the number {action_number}.",
        "done_credit": "A credit of {action_amount} is booked, under the number {action_number}.",
        "done_credit_unpriced": "A credit is booked, under the number {action_number}.",
        "done_store_credit": "A voucher is issued, under the number {action_number}.",
        "done_cancellation": "The order is cancelled.",
        "done_case": "Your case is open under the number {action_number}.",
        "done_call_back": "A call to you is scheduled between {call_from} and {call_to}.",
        "not_yet": "What we asked for on your behalf is not confirmed yet.",
        "tracking": "{carrier} carries it under {tracking}.",
        "leaves_on": "It is planned to leave us on {planned_for}.",
        "asked_for_by": "We asked for delivery by {deliver_by}.",
        "slots": "If you would rather talk, these times are free: {slots}.",
        "link": "This link is for you alone, until {link_until}: {link}",
        "write_privately": "Please send us a direct message, so that we can look at your order.",
    },
    "de": {
        "hello_name": "Guten Tag {name},",
        "hello": "Guten Tag,",
        "sorry_incident": "es tut uns leid, dass {reason}. Davon sind mehrere Kunden betroffen, und"
        " es ist uns bekannt.",
        "sorry_reason": "es tut uns leid, dass {reason}.",
        "thanks": "danke für Ihre Nachricht.",
        "about_item": "Es geht um {item} aus Ihrer Bestellung {order_number}.",
        "about": "Es geht um Ihre Bestellung {order_number}.",
        "done_replacement_order": "Ein Ersatz ist bestellt, unter der Nummer {action_number}.",
        "done_return": "Ihre Rücksendung ist angemeldet, unter der Nummer {action_number}.",
        "done_credit": "Eine Gutschrift über {action_amount} ist gebucht, unter der Nummer"
        " {action_number}.",
        "done_credit_unpriced": "Eine Gutschrift ist gebucht, unter der Nummer {action_number}.",
        "done_store_credit": "Ein Gutschein ist ausgestellt, unter der Nummer {action_number}.",
        "done_cancellation": "Die Bestellung ist storniert.",
        "done_case": "Ihr Fall ist unter der Nummer {action_number} eröffnet.",
        "done_call_back": "Ein Anruf bei Ihnen ist zwischen {call_from} und {call_to} eingeplant.",
        "not_yet": "Was wir für Sie beantragt haben, ist noch nicht bestätigt.",
        "tracking": "{carrier} befördert es unter {tracking}.",
        "leaves_on": "Es soll unser Lager am {planned_for} verlassen.",
        "asked_for_by": "Wir haben um Lieferung bis {deliver_by} gebeten.",
        "slots": "Wenn Sie lieber sprechen möchten, sind diese Zeiten frei: {slots}.",
        "link": "Dieser Link ist nur für Sie, bis {link_until}: {link}",
        "write_privately": "Bitte schreiben Sie uns eine Direktnachricht, damit wir Ihre Bestellung"
        " ansehen können.",
    },
    "es": {
        "hello_name": "Hola, {name}:",
        "hello": "Hola:",
        "sorry_incident": "lamentamos que {reason}. Afecta a varios clientes y estamos al tanto.",
        "sorry_reason": "lamentamos que {reason}.",
        "thanks": "gracias por avisarnos.",
        "about_item": "Se trata de {item} de su pedido {order_number}.",
        "about": "Se trata de su pedido {order_number}.",
        "done_replacement_order": "Hay un reemplazo pedido, con el número {action_number}.",
        "done_return": "Su devolución está registrada, con el número {action_number}.",
        "done_credit": "Hay un abono de {action_amount} registrado, con el número {action_number}.",
        "done_credit_unpriced": "Hay un abono registrado, con el número {action_number}.",
        "done_store_credit": "Hay un vale emitido, con el número {action_number}.",
        "done_cancellation": "El pedido está cancelado.",
        "done_case": "Su caso está abierto con el número {action_number}.",
        "done_call_back": "Hay una llamada prevista entre {call_from} y {call_to}.",
        "not_yet": "Lo que hemos solicitado para usted aún no está confirmado.",
        "tracking": "{carrier} lo transporta con el número {tracking}.",
        "leaves_on": "Está previsto que salga el {planned_for}.",
        "asked_for_by": "Hemos pedido la entrega antes del {deliver_by}.",
        "slots": "Si prefiere hablar, estas horas están libres: {slots}.",
        "link": "Este enlace es solo para usted, hasta {link_until}: {link}",
        "write_privately": "Por favor, envíenos un mensaje directo para que veamos su pedido.",
    },
    "fr": {
        "hello_name": "Bonjour {name},",
        "hello": "Bonjour,",
        "sorry_incident": "nous sommes désolés : {reason}. Plusieurs clients sont concernés et nous"
        " le savons.",
        "sorry_reason": "nous sommes désolés : {reason}.",
        "thanks": "merci de nous avoir prévenus.",
        "about_item": "Il s'agit de {item}, de votre commande {order_number}.",
        "about": "Il s'agit de votre commande {order_number}.",
        "done_replacement_order": "Un remplacement est commandé, sous le numéro {action_number}.",
        "done_return": "Votre retour est enregistré, sous le numéro {action_number}.",
        "done_credit": "Un avoir de {action_amount} est enregistré, sous le numéro"
        " {action_number}.",
        "done_credit_unpriced": "Un avoir est enregistré, sous le numéro {action_number}.",
        "done_store_credit": "Un bon d'achat est émis, sous le numéro {action_number}.",
        "done_cancellation": "La commande est annulée.",
        "done_case": "Votre dossier est ouvert sous le numéro {action_number}.",
        "done_call_back": "Un appel est prévu entre {call_from} et {call_to}.",
        "not_yet": "Ce que nous avons demandé pour vous n'est pas encore confirmé.",
        "tracking": "{carrier} le transporte sous le numéro {tracking}.",
        "leaves_on": "Le départ est prévu le {planned_for}.",
        "asked_for_by": "Nous avons demandé une livraison avant le {deliver_by}.",
        "slots": "Si vous préférez parler, ces horaires sont libres : {slots}.",
        "link": "Ce lien n'est que pour vous, jusqu'au {link_until} : {link}",
        "write_privately": "Écrivez-nous en message privé, afin que nous regardions votre"
        " commande.",
    },
}

REASONS: dict[str, dict[str, str]] = {
    "en": {
        "damaged": "it arrived damaged",
        "defective": "it does not work as it should",
        "wrong_item": "you got something else than you ordered",
        "missing_item": "something is missing",
        "late": "you are still waiting for it",
        "lost": "it did not reach you",
        "billing": "something is wrong with the bill",
        "service": "you had trouble with us",
    },
    "de": {
        "damaged": "etwas beschädigt angekommen ist",
        "defective": "etwas nicht so funktioniert, wie es soll",
        "wrong_item": "Sie etwas anderes als bestellt bekommen haben",
        "missing_item": "etwas fehlt",
        "late": "Sie noch warten",
        "lost": "etwas nicht bei Ihnen angekommen ist",
        "billing": "mit der Rechnung etwas nicht stimmt",
        "service": "Sie Ärger mit uns hatten",
    },
    "es": {
        "damaged": "haya llegado dañado",
        "defective": "no funcione como debe",
        "wrong_item": "haya recibido algo distinto de lo pedido",
        "missing_item": "falte algo",
        "late": "siga esperando",
        "lost": "no le haya llegado",
        "billing": "haya un error en la factura",
        "service": "haya tenido problemas con nosotros",
    },
    "fr": {
        "damaged": "c'est arrivé abîmé",
        "defective": "cela ne fonctionne pas comme il faut",
        "wrong_item": "vous avez reçu autre chose que prévu",
        "missing_item": "il manque quelque chose",
        "late": "vous attendez encore",
        "lost": "cela ne vous est pas parvenu",
        "billing": "il y a une erreur sur la facture",
        "service": "vous avez eu des difficultés avec nous",
    },
}

PROMISES: dict[str, str] = {
    "en": r"\b(?:we|i)(?:'ll| will| promise| guarantee)\b|\bwill (?:be|receive|get|arrive)\b"
    r"|\bguarantee[ds]?\b|\bwithin \d+|\btomorrow\b|\btoday\b|\brefund(?:ed)?\b|\bfor free\b"
    r"|\breplacement\b|\bby (?:mon|tues|wednes|thurs|fri|satur|sun)day\b",
    "de": r"\bwir (?:werden|versprechen|garantieren)\b|\b(?:wird|werden) \w+ (?:geliefert|erstattet"
    r"|ersetzt|ankommen)\b|\bgarantier\w*|\binnerhalb von \d+|\bmorgen\b|\bheute\b|\berstatt\w*"
    r"|\bkostenlos\w*|\bersatz\w*|\bbis (?:mon|diens|mittwoch|donners|frei|sams|sonn)\w*",
    "es": r"\b(?:le|les|te) (?:enviaremos|devolveremos|reembolsaremos|prometemos)\b"
    r"|\bgarantiza\w*|\ben \d+ (?:horas|días)\b|\bmañana\b|\bhoy\b|\breembols\w*|\bgratis\b"
    r"|\breemplaz\w*|\brecibirá\w*",
    "fr": r"\bnous (?:allons|vous (?:enverrons|rembourserons|promettons))\b|\bgaranti\w*"
    r"|\bsous \d+ (?:heures|jours)\b|\bdemain\b|\baujourd'hui\b|\brembours\w*|\bgratuit\w*"
    r"|\bremplace\w*|\bvous recevrez\b",
}
"""Words that promise something, for texts that people write: a sentence with one needs a fact."""
