"""Cues that warn, whatever a complaint is about; see `middleware.understanding.cues`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from middleware.domain.understanding import CueKind
from middleware.understanding.cues import CueSet
from middleware.understanding.lexicon import LEXICONS

_ENGLISH = {
    CueKind.SAFETY: """
        3 fire|flames|exploded|explode|explosion|smoke|smoking|sparks|sparking|melted
        3 burned|burnt ... me|my|hand|finger|face|arm|house|carpet|table
        3 electrocuted|electric|electrical shock
        3 burning smell
        3 injured|injury|hospital|ambulance|bleeding|stitches
        3 allergic|anaphyla*|poison*|poisoning|choked|choking|coeliac|celiac
        3 glass|metal|plastic ... in my food|salad|soup|bottle|drink
        3 dangerous|unsafe|hazard|lethal
        3 gas leak|leaking
        2 sick|ill ... after|from|all night
    """,
    CueKind.LEGAL: """
        3 lawyer|solicitor|attorney|court|sue|suing|lawsuit
        3 legal action|advice|department|steps
        3 small claims
        3 trading standards
        3 consumer rights|protection|act
        3 ombudsman|watchdog|regulator|bbb
        2 police|fraud|fraudulent|chargeback
        2 breach of contract
    """,
    CueKind.CHURN: """
        3 never ... again
        3 last time i|we
        3 lost|losing a|another|me|us ... customer
        3 taking|take my|our business|custom elsewhere
        3 going|switching|moving|switch|go to|with a|your competitor|competitors|competition
        3 cancel|cancelling|canceling|close|closing ... account|membership|contract|subscription
        3 done with you|them|this company
        2 shop|shopping|buying|buy|order|ordering elsewhere
        2 boycott|boycotting
    """,
    CueKind.REPEAT: """
        2 second|third|fourth|fifth|sixth|2nd|3rd|4th|5th|<n> time|times
        2 once|yet again
        2 again and again
        2 still no|not|waiting|nothing|haven't|hasn't|unresolved
        2 already contacted|called|emailed|written|wrote|reported|complained|told|asked
        2 called|emailed|written|contacted|rang|phoned|messaged ... times|twice|again|already
        2 keep|keeps happening|sending|getting|telling
        2 several|repeated|numerous|countless reminders|calls|emails|times|attempts|occasions
        1.5 another|next excuse|delay
    """,
    CueKind.DEADLINE: """
        2 by|before|until|for ... today|tomorrow|tonight|noon|monday|tuesday|wednesday|thursday
        2 by|before|until|for ... friday|saturday|sunday|christmas|easter|weekend
        2 need|needed|needs ... today|tomorrow|tonight|now|by
        2 wedding|birthday|funeral|anniversary|graduation|christening ... is|tomorrow|today|on
        2 within <n> hours|days|h
        2 expires|deadline
        2 moving|travelling|flying|leaving ... tomorrow|today|monday|friday
    """,
    CueKind.URGENCY: """
        2 urgent|urgently|asap|immediately|emergency
        2 right now|away
        2 as soon as possible
        2 production|line|site|shop|store ... down|stopped|stands|idle|waiting
        2 medication|medicine|insulin|wheelchair|oxygen|formula
    """,
    CueKind.PUBLICITY: """
        2 journalist|newspaper|press|media|tv|reporter
        2 trustpilot|reddit|youtube|tiktok|viral
        2 bad|negative|one|1 star review|reviews
        2 warn|tell everyone|everybody|others|people|friends
        2 please rt|retweet|share
    """,
}
_GERMAN = {
    CueKind.SAFETY: """
        3 feuer|gebrannt|brennt|explodiert|qualm|rauch|funken|stromschlag|verletzt|verletzung
        3 krankenhaus|notaufnahme|blutet|allergisch*|vergift*|verschluckt|erstickt
        3 gefährlich|lebensgefährlich|lebensgefahr|glassplitter|glasscherben
    """,
    CueKind.LEGAL: """
        3 anwalt|rechtsanwalt|gericht|klage|anzeige|polizei|verbraucherzentrale|verbraucherschutz
        3 rechtliche schritte
    """,
    CueKind.CHURN: "3 nie|niemals wieder\n3 konkurrenz|kündige|kündigen|boykott*",
    CueKind.REPEAT: """
        2 zum zweiten|dritten|vierten|fünften|wiederholten mal
        2 schon|immer wieder|noch
        2 mehrfach|mehrmals|erneut
    """,
    CueKind.DEADLINE: "2 bis|spätestens ... heute|morgen|freitag|montag|samstag|uhr",
    CueKind.URGENCY: "2 dringend|eilig|sofort|umgehend|schnellstmöglich",
    CueKind.PUBLICITY: "2 presse|zeitung|fernsehen|bewertung|rezension",
}
_SPANISH = {
    CueKind.SAFETY: """
        3 fuego|incendio|explotó|humo|chispas|descarga|quemado|quemadura|hospital|herido|herida
        3 alérgic*|intoxic*|peligros*
    """,
    CueKind.LEGAL: "3 abogado|abogada|denuncia|denunciar|juicio|tribunal|consumo|policía|demanda",
    CueKind.CHURN: "3 nunca|jamás más|vuelvo|volveré\n3 competencia",
    CueKind.REPEAT: "2 otra vez\n2 segunda|tercera|cuarta vez\n2 de nuevo\n2 sigo esperando|sin",
    CueKind.DEADLINE: "2 antes del|de ... viernes|lunes|sábado|mañana|hoy",
    CueKind.URGENCY: "2 urgente|urgentemente|inmediato|inmediatamente|cuanto antes",
    CueKind.PUBLICITY: "2 prensa|periódico|televisión|reseña",
}
_FRENCH = {
    CueKind.SAFETY: """
        3 feu|incendie|explosé|fumée|étincelles|brûlé|brûlure|hôpital|blessé|blessée
        3 allergi*|intoxi*|dangereux|dangereuse
    """,
    CueKind.LEGAL: "3 avocat|tribunal|plainte|justice|police|dgccrf|juridique|huissier",
    CueKind.CHURN: "3 plus|jamais jamais|plus\n3 concurrence|concurrent|résilie|résilier",
    CueKind.REPEAT: """
        2 encore une fois
        2 deuxième|troisième|quatrième fois
        2 à nouveau
        2 toujours pas
    """,
    CueKind.DEADLINE: "2 avant|pour ... demain|vendredi|lundi|samedi|ce soir",
    CueKind.URGENCY: "2 urgent|urgente|urgence|immédiatement|rapidement",
    CueKind.PUBLICITY: "2 presse|journal|télévision|avis",
}

WARNINGS: Mapping[str, Mapping[CueKind, CueSet]] = MappingProxyType(
    {
        language: {
            kind: CueSet.read(lines, LEXICONS[language].negators) for kind, lines in kinds.items()
        }
        for language, kinds in (
            ("en", _ENGLISH),
            ("de", _GERMAN),
            ("es", _SPANISH),
            ("fr", _FRENCH),
        )
    }
)
"""By language and kind. Matching needs words and negators of the same language's lexicon."""
