"""Spanish, first set."""

from middleware.contract.actions import Reason
from middleware.domain.understanding import Intent, Remedy, Severity
from middleware.understanding.lexicon.words import lexicon

LEXICON = lexicon(
    "es",
    negators="no nunca jamás nada nadie ningún ninguno ninguna sin ni tampoco",
    spellings={
        "tambien": "también",
        "aun": "aún",
        "todavia": "todavía",
        "llego": "llegó",
        "recibi": "recibí",
        "pesimo": "pésimo",
        "pesima": "pésima",
        "telefono": "teléfono",
        "envio": "envío",
        "devolucion": "devolución",
        "q": "que",
        "xq": "porque",
        "dias": "días",
        "dañado": "dañado",
        "atencion": "atención",
    },
    boosters="muy tan super súper realmente totalmente completamente bastante demasiado",
    contrasts="pero aunque sin embargo lamentablemente desgraciadamente",
    openers=(
        "qué cuándo cuando dónde donde cómo como quién cuál cuánto puedo puede pueden hay tienen"
    ),
    positive="""
        1 bueno|buena|buen|buenos|buenas|genial|excelente|excelentes|perfecto|perfecta|fantástic*
        1 encanta|encantó|encantado|encantada|gusta|gustó|feliz|contento|contenta|satisfech*
        1 gracias|felicidades|enhorabuena|recomiendo|recomendable
        1 rápido|rápida|puntual|amable|amables|atent*|maravillos*|increíble
        1 mejor|mejores|estupend*|buenísim*
    """,
    negative="""
        1 malo|mala|mal|malos|malas|peor|terrible|horrible|fatal|pésimo|pésima|nefasto|nefasta
        1.3 vergüenza|vergonzos*|inaceptable|indignante|asco|desastre|estafa|estafador*|ladrones
        1.2 decepcion*|enfadad*|enojad*|molest*|harto|harta|indignad*|cabread*|furios*
        1 roto|rota|rotos|rotas|dañad*|defectuos*|equivocad*|perdido|retraso|tarde|estropead*
        1 problema|problemas|queja|reclamación|reclamar|error
        1 maleducad*|grosero|grosera|inútil|basura|porquería
        1 no funciona|sirve|recomiendo|llega|llegó|contestan|responden
        1 nunca|jamás más|compro|compraré
        1 esperando
        1 lamentable|triste|lento|lenta|caro|cara
    """,
    reasons={
        Reason.DAMAGED: """
            3 dañad*|golpead*|aplastad*|destrozad*|rayad* añicos
            3 abollad*|rajad*|agrietad*|mojad*|hecho añicos
            2.5 llegó|llegado|vino|recibí|entregad* ... rot*|dañad*|abiert*|golpead*
            2 roto|rota|rotos|rotas
            2 mal embalad*|empaquetad*
            3 en pedazos|trozos|añicos
        """,
        Reason.WRONG_ITEM: """
            3 equivocad*|incorrect*|erróne*
            3 no es lo que ... pedí|compré|pedido|encargué
            3 otro|otra producto|artículo|talla|color|modelo|cosa
            2.5 pedí|compré|encargué .... y|pero .... enviaron|mandaron|llegó|recibí|enviado
            2.5 en lugar|vez de
            3 pedido|paquete de otra|otro persona|cliente
        """,
        Reason.MISSING_ITEM: """
            3 falta|faltan|faltaba|faltaban|faltó
            3 incomplet*
            3.5 caja|paquete|sobre ... vací*
            3 solo|sólo ... <n>|uno|una|la ... de|recibí|llegó|llegaron
            3 olvidaron|olvidado ... incluir|enviar|meter|poner
            2.5 no ... venía|incluía|estaba ... caja|paquete|dentro
        """,
        Reason.LATE: """
            3 no ha|han|he|me|nos ... llegado|recibido|llega|entregado|enviado
            3 no llegó|llega|recibí|aparece
            3 todavía|aún|sigue|sigo ... no|sin|esperando
            3 dónde|cuándo está|esta|llega|llegará|estará ... pedido|paquete|envío|entrega|mi
            3 retraso|retrasad*|demora|tardan|tarda|tardando
            2.5 esperando ... pedido|paquete|envío|entrega|desde|hace
            2 hace <n> días|semanas|meses
            2 desde hace
            2.5 más de ... semana|semanas|mes
            2 tenía que|debía|debería ... llegar|estar|entregar*
            2 tarde
        """,
        Reason.LOST: """
            4 perdid*|extraviad*|desaparecid*|robad*
            3.5 perdieron|perdió|robaron|desapareció
            4.5 como entregad*
            4 dice|figura|aparece|consta ... entregad*
            4 entregad* .... no|nunca|nadie ... recib*|llegó|tengo
            3.5 dirección equivocada|incorrecta
            3 vecino|vecina|vecinos
        """,
        Reason.BILLING: """
            2 reembolso|reembolsen|reembolsar|devolución|factura
            3 no|sin|esperando|dónde|cuándo .... reembolso|devolución
            3 dinero|devuelvan|devolver ... de vuelta|dinero
            2.5 devuelvan|devolver|devuelvanme ... dinero
            3.5 cobrado|cobraron|cobrar|cobro|cargo|cargado ... dos|doble|veces|tarjeta|más|sin
            3.5 doble|dos|duplicado cobro|cargo|veces
            3 factura ... incorrect*|equivocad*|mal|error|falta
            3 descuento|cupón|código
            2.5 precio ... distinto|diferente|mal
        """,
        Reason.SERVICE: """
            3 atención ... cliente|clientes
            2.5 servicio al cliente
            3 maleducad*|grosero|grosera|antipátic*|borde
            3 nadie ... contesta|responde|ayuda|atiende|llama|hace|sabe
            3 no contestan|responden|atienden|contesta|responde|ayudan|cogen
            3 sin|ninguna respuesta
            3 colgaron|colgado|ignoran|ignorado
            2.5 empleado|empleada|dependient*|operador*|agente
        """,
        Reason.DEFECTIVE: """
            3 no funciona|funcionan|enciende|carga|va|sirve|arranca
            3 dejó|ha dejado de funcionar
            3 defectuos*|averiad*|estropead*|defecto|fallo|falla
            3 mala|pésima|baja calidad
            2.5 se ... rompió|roto|estropeó|desmont* ... a|en|después|al
            3 caducad*|vencid*
            3 no ... queda|vale|sirve|encaja
            3 batería .... dura|carga|agota
        """,
        Reason.OTHER: """
            3 web|página|aplicación|app|contraseña|sesión|cuenta bloqueada
            3 agotad*|existencias|stock
            3 cancelad*|cancelaron|anulad* ... pedido|sin
            3 pedido ... cancelado|anulado
            2 publicidad|correos|spam
        """,
    },
    remedies={
        Remedy.REPLACEMENT: """
            3 cambio|cambiar|cambien|reemplazo|reemplazar|sustituir|sustitución|reponer
            3 envíen|enviar|manden|mandar|envíenme ... otro|otra|nuevo|nueva|correcto|correcta
            2.5 uno|una nuevo|nueva
        """,
        Remedy.REFUND: """
            3 reembolso|reembolsen|reembolsar
            3 devuelvan|devolver|devolución|devuélvanme ... dinero|importe
            3 mi dinero
        """,
        Remedy.RETURN: """
            3 devolverlo|devolverla|devolver ... producto|artículo|pedido|paquete
            2.5 recogida|recoger|recojan
        """,
        Remedy.REPAIR: "3 reparar|reparación|arreglar|arreglen|garantía|técnico",
        Remedy.CANCELLATION: "3 cancelar|anular|cancelen|anulen|cancelación|baja",
        Remedy.CALL_BACK: """
            3 llámenme|llamen|llamar|llamada
            2.5 contacten|contactar
            2.5 hablar con
        """,
        Remedy.INFORMATION: """
            2.5 dónde está|esta
            2.5 cuándo llega|llegará|va
            2.5 estado|seguimiento|información
        """,
    },
    severities={
        Severity.CRITICAL: """
            3 fuego|incendio|explotó|explosión|humo|chispas|descarga
            3 herid*|herida|hospital|urgencias|sangre|quemad*|quemó
            3 alergia|alérgic*|intoxic*|asfixi*|atragant*
            3 peligros*
            3 cristales|vidrio en
            3 huele a ... quemado|gas
        """,
        Severity.HIGH: """
            2 abogado|demanda|denuncia|denunciar|tribunal|juzgado|policía|consumo|consumidor|ocu
            2 urgente|urgencia|inmediatamente|cuanto antes
            2 boda|cumpleaños|funeral|navidad
            1.5 necesito|necesitaba ... hoy|mañana|ya
            2 nunca|jamás más
            2 estafa|fraude|robo
            1.5 tercera|cuarta|quinta vez
            2 inaceptable|vergüenza|vergonzos*|indignante
        """,
        Severity.LOW: """
            1.5 sin prisa
            1.5 pequeñ* rasguño|detalle|problema
        """,
    },
    intents={
        Intent.QUESTION: """
            2 cómo|dónde|cuándo|qué|cuál|cuánto puedo|puede|hago|es|está|son|cuesta|tarda|horario
            2 puedo|pueden|podría|podrían|tienen|hay|hacen
            1.5 pregunta|consulta|saber|duda
        """,
        Intent.PRAISE: """
            2 muchas|mil gracias
            2 gracias por
            2 excelente|buen|gran|genial ... servicio|atención|trabajo|equipo
            2 muy|super content*|satisfech*
            2 me encanta|encantó
            1.5 recomiendo|recomendable
        """,
        Intent.NOISE: """
            2.5 sorteo|síguenos|sígueme|suscríbete
            2.5 buenos|buenas días|noches|tardes
            2 feliz viernes|lunes|finde
            2 jaja|jajaja|lol
        """,
    },
)
