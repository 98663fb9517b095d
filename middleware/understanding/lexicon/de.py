"""German, first set."""

from middleware.contract.actions import Reason
from middleware.domain.understanding import Intent, Remedy, Severity
from middleware.understanding.lexicon.words import lexicon

LEXICON = lexicon(
    "de",
    negators="nicht nie niemals kein keine keinen keiner keinem nichts niemand ohne weder kaum nix",
    spellings={"danke schön": "danke", "nich": "nicht", "net": "nicht", "bissl": "bisschen"},
    boosters="sehr so echt wirklich total absolut völlig richtig extrem super ziemlich",
    contrasts="aber jedoch allerdings leider trotzdem doch",
    openers=(
        "wer wie was wo wann warum wieso weshalb welche welcher welches kann können könnt könnte "
        "gibt ist sind habt haben darf"
    ),
    positive="""
        1 gut|gute|guter|gutes|guten|super|toll|tolle|tollen|tolles|klasse|spitze|prima|genial|top
        1 großartig*|hervorragend*|ausgezeichnet*|fantastisch*|wunderbar*|perfekt*|herrlich*
        1 zufrieden|begeistert|glücklich|freue|gefreut|gefällt
        1 danke|dankeschön|vielen dank
        1 freundlich*|hilfsbereit*|nett|nette|netter|kompetent*|zuverlässig*
        1 schnell|schnelle|schneller|pünktlich
        1 empfehlen|empfehle|empfehlenswert|weiterempfehlen|lohnt
        1 liebe|liebt|geliebt|lieblings*
        1 gerne wieder
        1 bestens|einwandfrei|reibungslos|problemlos
        1 schön|schöne|schönes|hübsch
    """,
    negative="""
        1 schlecht*|mies*|furchtbar*|schrecklich*|grauenhaft*|grottig*|miserabel|übel
        1.3 unverschämt*|frechheit|katastrophe|katastrophal*
        1.3 unmöglich|inakzeptabel|skandal|saftladen
        1.2 enttäusch*|ärger*|verärgert|sauer|wütend|genervt|frust*|unzufrieden|stinksauer
        1.2 schrott|müll|mist|scheiß*|scheiss*|betrug|abzocke|verarsch*|lächerlich
        1 kaputt*|defekt*|beschädigt*|zerbrochen*|gebrochen|zerstört|falsch*|verspätet*|verloren*
        1 unfreundlich*|inkompetent*|unhöflich|ignoriert*
        1 problem|probleme|fehler|beschwerde|reklamation|reklamieren
        1 nie|niemals wieder
        1 leider|schade|traurig|peinlich
        1 nicht ... zufrieden|gut|funktioniert|empfehlen|akzeptabel|angekommen
        1 seit wochen|tagen|monaten
        1 warte|warten|gewartet
        1 zu klein|groß|teuer|spät|langsam
    """,
    reasons={
        Reason.DAMAGED: """
            3 beschädigt*|zerbrochen*|zerdrückt*|zerkratzt*|zerrissen*|eingedrückt*|zersplittert*
            3 verbeult*|verbogen*|ausgelaufen|durchnässt*|zerschlagen*|zertrümmert*
            2 gebrochen|gesprungen|kratzer|delle|dellen|riss|risse|scherben|nass|nasser
            2.5 kaputt*|defekt ... angekommen|geliefert|bekommen|erhalten|an
            2.5 angekommen|geliefert|bekommen|erhalten|kam ... kaputt*|gebrochen|schaden
            1.5 kaputt*
            3 transportschaden|transportschäden
            2 schlecht|mangelhaft|miserabel verpackt
            2 bruch|schaden
        """,
        Reason.WRONG_ITEM: """
            3 falsch*|verkehrt* artikel|produkt|ware|größe|farbe|modell|teil|lieferung|bestellung
            3 falsche|falschen|falsches|falscher|verkehrte|verkehrten
            3 nicht das|die|der|den|was ... bestellt
            2.5 etwas|was anderes
            2.5 statt|anstatt|anstelle
            2.5 bestellt .... bekommen|geliefert|erhalten|geschickt
            3 falschlieferung|verwechselt|verwechslung|vertauscht
            2.5 jemand|anderen|fremde* ... bestellung|paket
            2 passt nicht zur|zu
        """,
        Reason.MISSING_ITEM: """
            3 fehlt|fehlen|fehlte|fehlten|fehlende|fehlenden
            3 unvollständig*|teillieferung
            3.5 paket|karton|schachtel|umschlag|päckchen ... leer
            3.5 leeres|leerer|leere paket|karton|schachtel|umschlag|päckchen
            3 nur <n>|eine|einer|einen|ein|die ... von|statt|bekommen|geliefert|erhalten|drin
            3 nur|bloß die hälfte
            2.5 nicht ... dabei|drin|enthalten|beigelegt|mitgeliefert
            3 vergessen ... einzupacken|beizulegen|mitzuschicken
            2.5 rest der|meiner
            2 ohne zubehör|kabel|schrauben|anleitung|netzteil
        """,
        Reason.LATE: """
            3 nicht|nie|nichts|noch ... angekommen|geliefert|da|gekommen
            3 nicht|nie|nichts|noch ... erhalten|bekommen|verschickt
            3 immer noch nicht|nichts|kein|keine
            3 wo|wann ... bestellung|paket|lieferung|ware|sendung|päckchen
            3 verspätet*|verspätung|verzögert|verzögerung|überfällig
            2.5 warte|warten|gewartet ... auf
            2 seit <n> tagen|wochen|monaten
            2 seit tagen|wochen|monaten|ewigkeiten
            2.5 wann kommt|kommen|wird|liefert
            2.5 liefertermin|lieferdatum|lieferzeit|liefertermine
            2 sollte ... gestern|heute|montag|letzte|vor|schon|längst
            2 dauert|gedauert ... lange|ewig|wochen
            2.5 zu spät
            2 nicht ... zugestellt|versendet|versandt|abgeschickt
            2 steht|hängt ... fest|depot|zoll
            2 keine lieferung|zustellung
        """,
        Reason.LOST: """
            4 verloren gegangen|gegangenes
            3.5 verloren|verschwunden|verschollen|gestohlen|geklaut|abhandengekommen|weg
            4.5 als zugestellt|geliefert|ausgeliefert
            4 zugestellt|ausgeliefert|geliefert .... nie|nichts|nicht ... erhalten|bekommen
            4 zugestellt|ausgeliefert|geliefert .... niemand|aber ... erhalten|bekommen
            3.5 falsch*|fremd* adresse|anschrift|hausnummer
            3 beim|bei|einem|an nachbarn|nachbar|unbekannten
            3 nachforschungsauftrag|nachforschung
            3 nicht auffindbar|auffinden
            3 nirgends|unauffindbar
        """,
        Reason.BILLING: """
            2 erstattung|rückerstattung|erstattet|erstatten|rückzahlung|gutschrift
            3 warte|warten|keine|wo|nicht .... erstattung|rückerstattung|gutschrift|geld|rückzahlung
            3 geld zurück|zurückhaben|wiederhaben
            3.5 doppelt|zweimal ... abgebucht|berechnet|bezahlt|belastet|gezahlt
            3.5 abgebucht|abbuchung|abgezogen|belastet
            3 rechnung ... falsch|fehlerhaft|stimmt|nicht|fehlt|zu
            3 falsche* rechnung|betrag|preis|summe
            3 gutschein|rabatt|rabattcode|gutscheincode
            2 rechnung|zahlung|preis|mahnung|lastschrift
            3 zu viel|zuviel ... bezahlt|berechnet|abgebucht|gezahlt
            3 mwst|mehrwertsteuer ... falsch
            3 mahnung
        """,
        Reason.SERVICE: """
            3 kundenservice|kundendienst|hotline|kundenbetreuung|support
            3 unfreundlich*|unhöflich*|frech|patzig|arrogant
            3 niemand|keiner ... antwortet|meldet|hilft|zuständig|erreichbar|ran
            3 keine antwort|reaktion|rückmeldung|hilfe|auskunft
            3 nicht ... erreichbar|geantwortet|zurückgerufen|gemeldet
            3 warteschleife
            3 mitarbeiter*|verkäufer*|berater*
            3 rückruf ... nie|nicht|versprochen
            3 ignoriert*
            3 aufgelegt|abgewimmelt
            2 e-mails|mails|mail|anrufe ... beantwortet|ignoriert|geschrieben
        """,
        Reason.DEFECTIVE: """
            3 funktioniert|geht|läuft|lädt|startet ... nicht|nicht mehr|nie
            3 funktioniert nicht
            3 defekt*|mangelhaft*|fehlerhaft*|mangel|mängel
            3 lässt sich nicht ... einschalten|anschalten|öffnen|laden|starten
            3 geht ... nicht ... an|mehr
            3 schlechte|miese|billige|minderwertige qualität|verarbeitung|material
            3 auseinandergefallen|auseinander|abgebrochen|abgefallen|durchgebrannt
            2.5 nach <n>|einem|einer|zwei|wenigen ... tag*|woche*|monat*|mal ... kaputt|gebrochen
            2.5 kaputt gegangen|kaputtgegangen
            3 akku ... leer|hält|lädt
            3 passt nicht
            3 abgelaufen|verschimmelt|schimmel|verdorben|mindesthaltbarkeit*
            2.5 loch im|in
            3 überhitzt|verschmort
        """,
        Reason.OTHER: """
            3 website|webseite|webshop|onlineshop|app|login|einloggen|anmelden|passwort|warenkorb
            3 konto ... gesperrt|gehackt|blockiert
            3 ausverkauft|lieferbar|vorrätig|lager
            3 storniert|stornierung ... bestellung|ohne|einfach
            3 bestellung ... storniert|abgelehnt
            2.5 newsletter|werbung|spam
            2 verpackungsmüll|parkplatz|öffnungszeiten
        """,
    },
    remedies={
        Remedy.REPLACEMENT: """
            3 ersatz|ersatzlieferung|austausch|austauschen|umtausch|umtauschen|ersetzen|ersetzt
            3 neu*|richtige*|fehlende* ... schicken|senden|liefern|zusenden|zuschicken
            3 schickt|schicken|sendet|senden ... neu*|richtige*|noch
            2.5 nachliefern|nachlieferung|nachsenden
        """,
        Remedy.REFUND: """
            3 erstattung|rückerstattung|erstatten|erstattet|rückzahlung
            3 geld ... zurück|wieder
            2.5 entschädigung|gutschrift
        """,
        Remedy.RETURN: """
            3 zurückschicken|zurücksenden|retoure|rücksendung|rückgabe|zurückgeben|retournieren
            2.5 retourenschein|rücksendeetikett|abholen
        """,
        Remedy.REPAIR: """
            3 reparieren|reparatur|repariert|techniker
            2 garantie|gewährleistung
        """,
        Remedy.CANCELLATION: """
            3 stornieren|stornierung|stornieren|widerrufen|widerruf|kündigen|kündigung
            2.5 bestellung ... abbrechen|zurückziehen
        """,
        Remedy.CALL_BACK: """
            3 rufen|ruft|rufe ... mich|uns|zurück|an
            3 rückruf|zurückrufen|anrufen
            2.5 meldet euch
            2.5 melden sie sich
        """,
        Remedy.INFORMATION: """
            2.5 wo ist|bleibt|sind
            2.5 wann kommt|wird|kommen|liefert
            2.5 status|sendungsverfolgung|auskunft|info|information
        """,
    },
    severities={
        Severity.CRITICAL: """
            3 feuer|brand|gebrannt|brennt|explodiert|qualm|rauch|funken|stromschlag
            3 verletzt|verletzung|krankenhaus|notaufnahme|blutet
            3 allergisch*|vergift*|verschluckt|erstickt
            3 gefährlich|lebensgefährlich|lebensgefahr
            3 glassplitter|glasscherben ... im|in
            3 riecht|stinkt nach ... verbrannt|rauch|gas
        """,
        Severity.HIGH: """
            2 anwalt|rechtsanwalt|gericht|klage
            2 anzeige|polizei|verbraucherzentrale|verbraucherschutz
            2 dringend|eilig|sofort|umgehend|schnellstmöglich
            2 hochzeit|geburtstag|beerdigung|weihnachten
            1.5 brauche|benötige|brauchen ... heute|morgen
            2 nie|niemals wieder
            2 betrug|abzocke|gestohlen
            1.5 zum dritten|vierten|fünften|wiederholten mal
            2 frechheit|unverschämt*|katastrophe|inakzeptabel|skandal
            1.5 schon wieder
            2 presse|zeitung
        """,
        Severity.LOW: """
            1.5 eilt nicht
            1.5 kleine*|kleiner|leichte* kratzer|mangel|problem
            1 nur zur info
        """,
    },
    intents={
        Intent.QUESTION: """
            2 wie|wo|wann|was|welche*|warum|wer kann|kann|ist|sind|bekomme
            2 wie|wo|wann|was|welche*|warum|wer lange|viel|komme|finde|kostet
            2 kann|können|könnt|könnten|gibt|habt|liefert|versendet|haben ich|sie|ihr|es|man
            1.5 frage|fragen|wüsste gerne
            1.5 möchte|würde ... wissen
        """,
        Intent.PRAISE: """
            2 vielen|herzlichen|besten|tausend dank
            2 danke für|schön|euch
            2 toller|super|klasse|guter|bester|großartiger ... service|shop|team|laden|support
            2 sehr zufrieden
            2 gerne wieder
            2 großes lob
            1.5 begeistert|weiterempfehlen|lob
        """,
        Intent.NOISE: """
            2.5 gewinnspiel|verlosung|folgt|abonniert|jetzt bewerben
            2.5 guten morgen|abend
            2.5 schönes wochenende
            2 link in der bio
            2 haha|lol
        """,
    },
)
