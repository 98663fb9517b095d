"""French, first set."""

from middleware.contract.actions import Reason
from middleware.domain.understanding import Intent, Remedy, Severity
from middleware.understanding.lexicon.words import lexicon

LEXICON = lexicon(
    "fr",
    negators="pas ne n'est n'ai n'a n'avez n'ont jamais rien aucun aucune sans personne ni non",
    spellings={
        "recu": "reçu",
        "casse": "cassé",
        "cassee": "cassée",
        "livre": "livré",
        "arrive": "arrivé",
        "abime": "abîmé",
        "abimé": "abîmé",
        "abimée": "abîmée",
        "decu": "déçu",
        "deçu": "déçu",
        "probleme": "problème",
        "ca": "ça",
        "tjrs": "toujours",
        "tjs": "toujours",
        "svp": "svp",
    },
    boosters="très trop vraiment si tellement super complètement totalement extrêmement",
    contrasts="mais cependant pourtant malheureusement toutefois",
    openers=(
        "qui que quoi où quand comment pourquoi combien quel quelle est-ce puis-je peut avez-vous"
    ),
    positive="""
        1 bon|bonne|bons|bonnes|bien|super|génial|géniale|excellent*|parfait*|formidable|magnifique
        1 adore|adoré|aime|ravi|ravie|content|contente|satisfait*|heureux|heureuse|enchanté*
        1 merci|bravo|félicitations|recommande
        1 rapide|rapides|ponctuel*|aimable*|gentil*|efficace*|agréable*|sympa*
        1 meilleur*|impeccable*|top|nickel
    """,
    negative="""
        1 mauvais*|nul|nulle|nuls|pire|horrible*
        1 affreux|affreuse|lamentable*|médiocre*|catastrophique*
        1.3 honte|honteux|honteuse|inadmissible*|inacceptable*
        1.3 scandaleux|scandaleuse|arnaque|arnaqu*
        1.2 déçu*|déception|décevant*|énervé*|furieux|furieuse|mécontent*|agacé*|marre
        1 cassé*|abîmé*|défectueu*|perdu*|retard|erreur|endommagé*
        1 problème|problèmes|réclamation|plainte|plaindre
        1 impoli*|désagréable*|incompétent*|inutile*|bidon
        1 ne ... fonctionne|marche|répond|recommande pas|plus
        1 plus jamais
        1 jamais plus
        1 j'attends|attends|attente
        1 dommage|triste|lent|lente|cher
    """,
    reasons={
        Reason.DAMAGED: """
            3 abîmé*|endommagé*|écrasé*|fissuré*|rayé*|cabossé*|déchiré*|brisé*|enfoncé*
            2.5 arrivé*|reçu*|livré* ... cassé*|ouvert*|mouillé*|sale
            2 cassé|cassée|cassés|cassées
            3 en morceaux|miettes
            2 mal emballé*
            2.5 fuit|coulé|fuite
        """,
        Reason.WRONG_ITEM: """
            3 mauvais|mauvaise article|produit|taille|couleur|modèle|commande|référence|pointure
            3 pas ce que ... commandé|voulu|acheté|demandé
            3 pas le|la bon|bonne
            2.5 au lieu
            2.5 commandé .... reçu|envoyé|livré
            2.5 autre chose
            3 erreur de ... commande|produit|article|livraison|taille|couleur
            3 commande|colis ... quelqu'un d'autre
        """,
        Reason.MISSING_ITEM: """
            3 manque|manquent|manquait|manquant*
            3 incomplet|incomplète
            3.5 colis|carton|boîte|paquet ... vide
            3 oublié ... mettre|d'inclure|joindre|envoyer|pièces
            3 seulement|que <n>|une|un ... sur|reçu|articles
            2.5 n'était pas ... dans|dedans
            2.5 moitié de
        """,
        Reason.LATE: """
            3 pas|jamais|rien|toujours ... arrivé*|reçu*|livré*|expédié*|venu
            3 toujours pas|rien|aucune
            3 où|quand est|sera|arrive|vais-je|en ... commande|colis|livraison|mon|ma
            3 retard|retardé*|délai|délais
            2.5 j'attends|attends|attendons ... commande|colis|livraison|depuis|toujours
            2 depuis <n> jours|semaines|mois
            2 depuis ... jours|semaines|longtemps
            2.5 devait|devrait|prévu* ... arriver|livré*|hier|être
            2 ça traîne
            2 trop long
            2 bloqué*
        """,
        Reason.LOST: """
            4 perdu*|égaré*|disparu*|volé*|introuvable
            4.5 indiqué|marqué|noté|déclaré|affiché|soi-disant ... livré*
            4 comme livré*
            4 livré* .... jamais|rien|pas ... reçu|eu
            3.5 mauvaise adresse
            3 voisin|voisins|voisine
        """,
        Reason.BILLING: """
            2 remboursement|rembourser|remboursé*|remboursez|facture
            3 pas|toujours|attends|aucun|où .... remboursement|remboursé*
            3 remboursé* ... pas|toujours|jamais
            3 mon argent
            3.5 débité*|prélevé*|prélèvement|facturé* ... deux|double|fois|compte|sans|trop
            3.5 deux|double fois|prélèvement|débit|paiement
            3 facture ... fausse|erreur|incorrect*|erronée|pas
            3 code promo
            3 réduction|bon d'achat|remise
            2.5 prix ... différent|faux|pas
        """,
        Reason.SERVICE: """
            3 service client|clients|clientèle|après-vente
            3 sav
            3 impoli*|désagréable*|malpoli*|irrespectueu*|méprisant*
            3 personne ne ... répond|rappelle|aide|sait
            3 aucune|sans|pas ... réponse|nouvelles|retour
            3 ne ... répond|répondez|répondent|rappelle ... pas|jamais
            3 raccroché|ignoré*
            2.5 vendeur*|vendeuse|conseiller*|conseillère|employé*
        """,
        Reason.DEFECTIVE: """
            3 ne ... marche|fonctionne|s'allume|charge|démarre ... pas|plus
            3 marche|fonctionne pas|plus
            3 défectueu*|en panne|défaut|panne
            3 mauvaise|piètre qualité
            2.5 cassé* ... après|au bout|déjà
            3 tombé en panne
            3 périmé*|moisi*
            3 batterie .... tient|charge|vide
            3 trop petit|grand|petite|grande|serré
        """,
        Reason.OTHER: """
            3 site|application|appli|mot de passe
            3 connecter|connexion|compte bloqué
            3 rupture de stock
            3 stock
            3 annulé* ... commande|sans
            3 commande ... annulée
            2 publicité|mails|spam
        """,
    },
    remedies={
        Remedy.REPLACEMENT: """
            3 échange|échanger|remplacement|remplacer|remplacez
            3 renvoyer|renvoyez|envoyer|envoyez ... nouveau|nouvelle|autre|bon|bonne|manquant*
        """,
        Remedy.REFUND: """
            3 remboursement|rembourser|remboursé*|remboursez
            3 mon argent
            2.5 dédommagement|avoir un avoir
        """,
        Remedy.RETURN: """
            3 retour|retourner|renvoyer ... article|produit|colis|commande|le|la|étiquette
            2.5 étiquette de retour
        """,
        Remedy.REPAIR: "3 réparer|réparation|réparez|garantie|technicien",
        Remedy.CANCELLATION: "3 annuler|annulation|annulez|résilier|résiliation",
        Remedy.CALL_BACK: """
            3 rappelez|rappeler|appelez-moi|rappelez-moi
            2.5 contactez|contacter|joindre
            2.5 parler à
        """,
        Remedy.INFORMATION: """
            2.5 où est|en
            2.5 quand arrive|sera|vais-je|est-ce
            2.5 suivi|statut|nouvelles|informations|renseignement*
        """,
    },
    severities={
        Severity.CRITICAL: """
            3 feu|incendie|explosé|explosion|fumée|étincelles|électrocut*
            3 blessé*|blessure|hôpital|urgences|saigne|brûlé*|brûlure
            3 allergie|allergique|intoxiqu*|étouff*
            3 dangereux|dangereuse
            3 verre dans
            3 odeur|sent ... brûlé|gaz
        """,
        Severity.HIGH: """
            2 avocat|tribunal|justice|plainte|police|dgccrf|ufc
            2 urgent|urgence|immédiatement
            2 au plus vite
            2 mariage|anniversaire|enterrement|noël
            1.5 besoin ... aujourd'hui|demain
            2 plus jamais
            2 arnaque|fraude|escroquerie|vol
            1.5 troisième|quatrième|cinquième fois
            2 inadmissible*|inacceptable*|honteux|scandaleux
        """,
        Severity.LOW: """
            1.5 pas pressé
            1.5 petit|petite|léger|légère rayure|défaut|problème
        """,
    },
    intents={
        Intent.QUESTION: """
            2 comment|où|quand|quel|quelle|quels|combien puis-je|faire|est|sont|peut-on|coûte|vos
            2 est-ce que
            2 puis-je|pouvez-vous|avez-vous|livrez-vous|peut-on|pourriez-vous|faites-vous
            1.5 question|savoir|renseignement
        """,
        Intent.PRAISE: """
            2 merci beaucoup|infiniment|pour
            2 excellent|super|bon|très bon|bonne ... service|équipe|accueil|travail
            2 très satisfait*|content*|contente
            2 je recommande|recommande
            2 bravo
            2 j'adore
        """,
        Intent.NOISE: """
            2.5 concours|abonnez-vous|suivez-moi|jeu
            2.5 bon|bonne week-end|soirée|nuit
            2 mdr|lol|haha
        """,
    },
)
