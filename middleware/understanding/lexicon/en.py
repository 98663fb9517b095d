"""English."""

from middleware.contract.actions import Reason
from middleware.domain.understanding import Intent, Remedy, Severity
from middleware.understanding.lexicon.words import lexicon

_THINGS = "item|items|product|article|order|one|size|colour|color|model|version|part|parts|plug"

LEXICON = lexicon(
    "en",
    negators=(
        "not no never none nobody nothing nowhere neither nor without hardly barely cannot can't "
        "don't doesn't didn't isn't aren't wasn't weren't hasn't haven't hadn't won't wouldn't "
        "couldn't shouldn't ain't lack lacks"
    ),
    spellings={
        "dont": "don't",
        "doesnt": "doesn't",
        "didnt": "didn't",
        "isnt": "isn't",
        "arent": "aren't",
        "wasnt": "wasn't",
        "werent": "weren't",
        "hasnt": "hasn't",
        "havent": "haven't",
        "hadnt": "hadn't",
        "wont": "won't",
        "wouldnt": "wouldn't",
        "couldnt": "couldn't",
        "shouldnt": "shouldn't",
        "cant": "can't",
        "recieve": "receive",
        "recieved": "received",
        "recived": "received",
        "arived": "arrived",
        "wheres": "where's",
        "thx": "thanks",
        "u": "you",
        "ur": "your",
        "pls": "please",
        "plz": "please",
        "refunf": "refund",
        "no-one": "nobody",
        "noone": "nobody",
    },
    boosters=(
        "very really so extremely absolutely totally completely highly too super quite incredibly "
        "truly such utterly definitely pretty"
    ),
    contrasts="but however although though yet except unfortunately",
    openers=(
        "do does did is are can could will would may should what when where which who how why any "
        "has have"
    ),
    positive="""
        1 good|great|nice|fine|well|best|awesome|amazing|excellent|fantastic|wonderful
        1 perfect|perfectly|brilliant|superb|outstanding|incredible|terrific|fabulous|delightful
        1 love|loved|loves|loving|enjoy|enjoyed|enjoyable|enjoying|adore|favorite|favourite
        1 happy|pleased|glad|satisfied|delighted|impressed|thrilled|impressive|satisfying
        1 delicious|tasty|yummy|fresh|tender|flavorful|juicy|authentic|scrumptious|phenomenal
        1 friendly|helpful|attentive|polite|courteous|professional|welcoming|kind|caring
        1 beautiful|beautifully|gorgeous|lovely|cute|stylish|elegant|sturdy|durable|sleek|attractive
        1 comfortable|comfy|convenient|easy|easily|simple|handy|useful|reliable|solid|clear|crisp
        1 fast|quick|quickly|prompt|promptly|speedy|efficient
        1 recommend|recommended|recommending|recommendation|worth|bargain|affordable|reasonable
        1 works|worked ... great|well|fine|perfectly|flawlessly|like a charm
        1 thank|thanks|kudos|shoutout|cheers|bravo|congrats|appreciate|appreciated
        1 rock|rocks|win|winner|gem|treat|treasure|joy|pleasure|pleasant|pleasantly|fun|cool|neat
        1 classic|masterpiece|touching|moving|hilarious|funny|charming|compelling|gripping|clever
        1 interesting|exciting|memorable|powerful|subtle|sincere|genuine|believable|realistic
        1 warm|cozy|clean|spacious|generous|creative|unique|special|solidly|superbly|splendid
        1 glued|riveted|captivating|mesmerizing|masterful|brilliance|greatest|finest|talented
        1.2 blown away|blew me away
        1.2 five|5 stars
        1.2 will|would|i'll|we'll|definitely ... back|again
        1 can't|can not wait
        1.2 thumbs up
        1.2 out of this world
        1.2 to die for
        1 couldn't|could not be happier
        1 couldn't|could not ask for more
        1 wow|omg|yum|hooked|delight|adorable|exquisite|superior|seamlessly|flawless|flawlessly
        1 nicest|sweetest|yummiest|freshest|cleanest|magical|timely|functional|easier|prettier
        1 on time
        1 above and beyond
        1 well made|done|written|acted|built|worth|designed
        1.2 exactly what i|we wanted|needed|expected
        1 sorted|fixed|resolved|solved
        1 as described|advertised|expected|promised
        1 no|any problems|issues|complaints|trouble
        1 can't beat|complain
        1 customer for life
        1 a must
        1 day early
        0.8 high|top|great|good quality
        0.8 ten|10 out of ten|10
        0.6 i|we|really|definitely like|liked
    """,
    negative="""
        1 bad|badly|poor|poorly|worse|terrible|terribly|horrible|horribly|awful|dreadful|atrocious
        1.3 worst|disgusting|disgusted|disgusted|pathetic|appalling|disgrace|disgraceful|shambles
        1.3 unacceptable|ridiculous|outrageous|shocking|nightmare|abysmal|lousy|shoddy|crap|crappy
        1.2 useless|worthless|garbage|rubbish|trash|junk|waste|wasted|wasting|scam|rip-off|ripoff
        1.2 disappointed|disappointing|disappointment|disappoints|unhappy|dissatisfied|unsatisfied
        1.2 frustrated|frustrating|annoyed|annoying|annoyance|angry|furious|fuming|upset|livid
        1.2 hate|hated|hates|fail|fails|failed|failure|sucks|sucked|suck|joke|mess|mistake
        1 rude|unhelpful|unprofessional|arrogant|incompetent|ignored|ignoring|careless|clueless
        1 broken|broke|breaks|damaged|defective|faulty|cracked|smashed|ruined|crushed|leaking
        1 wrong|missing|lost|late|delayed|slow|slowly|stuck|dirty|gross|nasty|stale|cold
        1 problem|problems|issue|issues|trouble|complaint|complain|error|errors|crash*
        1 boring|bored|bland|tasteless|overcooked|undercooked|dry|burnt|soggy|greasy|rancid|mediocre
        1 overpriced|expensive|overcharged|cheap|cheaply|flimsy|uncomfortable|difficult|impossible
        1 unreliable|unusable|inconvenient|misleading|deceived|cheated|lied|lie|lies|stole|stolen
        1 regret|avoid|beware|unfortunately|sadly|sorry|embarrassing|insulting|insulted|offensive
        1 predictable|cliche|clichéd|pointless|lame|dull|stupid|dumb|silly|ugly|weak|wooden|plotless
        1 awkward|unfunny|unconvincing|unbelievable|ludicrous|amateurish|pretentious|mindless
        1 killed|died|dies|dead|dying|drops|dropped|drains|overheats|static|muffled|garbled
        1 fell|falls|falling ... apart|off
        1.2 never|not|won't|wouldn't|don't ... again|back|return|buy|order|going|go|come|recommend
        1.2 stay|stayed|steer|keep away|clear
        1.2 thumbs down
        1.2 zero|0|one|1 star|stars
        1.2 waste ... money|time
        1.4 don't|not|never waste ... money|time|your
        1.3 don't|not|never waste
        1 elsewhere|letdown|displeased|dissatisfying|flaw|flaws|flawed|unwelcome|negligent|insults
        1 weird|strange|sad|sick|sucky|freezes|blah|ew|eew|fooled|counterfeit|cumbersome|confusing
        1 drain|discomfort|downside|horrid|hideous|vile|inedible|chewy|flavorless|lukewarm
        1 disappoint*|overwhelmed|unacceptible
        1.2 below average|par|expectations
        1.2 leaves a lot
        1 go|went wrong
        1 gave|give up
        1.2 quit|stop|stopped|stops working
        1.2 do|would|can|could|will|did not|n't recommend|work|bother|fit|last|help|like|care
        1.2 don't|doesn't|didn't|won't|can't|couldn't|wouldn't work|recommend|bother|fit|last|hear
        1.2 stopped|quit|stops working|charging
        1.2 money back
        1 waste of ... money|time
        1 poor|low|bad|terrible quality|service|reception|sound|acting
        1 not worth
        1 no stars|flavor|taste|sense|response|reply|answer|help|way|signal
        1 too loud|small|big|expensive|slow|salty|sweet|tight|short|long|thin|much
        1 under|over cooked|priced|rated|whelmed
        1 underwhelm*|underwhelming|lacking|lacked|lacks|lackluster|insufficient|inferior
        1 still|been waiting
        1 hour|hours|minutes late|wait
        1 let down
        1 ripped|rip off
        1 what a joke|waste|mess|shame|shambles|disappointment|nightmare
        0.7 unfortunately|barely|hardly|meh|wtf|smh|ugh|seriously|unless
        0.8 return|returned|returning ... it|them|this|product|phone
        0.8 sick|tired of
        0.8 hung|kept|keep|keeps ... on|me|hold|crashing|falling|dropping
        0.6 third|fourth|fifth time
    """,
    reasons={
        Reason.DAMAGED: f"""
            3 damaged|smashed|crushed|shattered|cracked|dented|squashed|mangled|bashed|torn
            2.5 dent|dents|chipped|ripped|destroyed|ruined|leaking|leaked|soaked|spilled|shards
            2 scratched|scratches|bent|wet|stained
            1.5 dirty|broken|broke
            2 arriv*|came|turned|received|opened|delivered|got ... broken|bent|dirty|ripped|open
            2.5 broken on|upon arrival
            3 in|into pieces|bits
            2.5 broken|broke|snapped|damaged ... transit|shipping|post|mail|delivery
            2 box|packaging|package|parcel|carton ... open|torn|wet|falling
            3.5 water damage*
            2 badly|poorly|terribly|carelessly packed|packaged|wrapped
            2 no padding|packaging|protection|bubble
            2 stamped|thrown|stepped ... on|around
            3 <n> of the ... broken|cracked|damaged
            2 broken {_THINGS}|leg|glass|screen|bottle|bottles
        """,
        Reason.WRONG_ITEM: f"""
            3 wrong|incorrect {_THINGS}|thing|voltage|article|goods|stuff|book|shoes|dress
            2.5 wrong|incorrect colour|color|size|sizes|model|pack|address|label
            2.5 sent|send|received|shipped|delivered|gave|got|picked ... wrong|incorrect|different
            3.5 not|isn't|wasn't ... what|item|product ... ordered|bought|paid|wanted
            3.5 not|isn't|wasn't ... order|thing|one ... ordered|bought|paid|wanted
            3 isn't|not my order
            3 not the ... i|we ordered|bought|paid|wanted
            2.5 ordered|asked|wanted .... and|but|then .... sent|got|shipped|received|get
            2.5 bought|bought .... and|but|then .... sent|got|shipped|received|get
            2 ordered|wanted .... received|sent|got ... a|an|the
            3 why did i|we get|receive
            3 someone|somebody|another|other ... else's|person's|customer's order|parcel|package|box
            2.5 someone|somebody|another ... else's order|parcel|package
            3 belongs to|for another|someone|somebody
            2.5 mix-up|mixup|mix up|mixed
            2 instead of
            2.5 doesn't|don't|not|didn't match
            2.5 something else
            2.5 completely|totally different
            2 different {_THINGS}
            2 old|older model|version ... instead
            2 label says .... something|inside
            2 wanted the .... got
        """,
        Reason.MISSING_ITEM: """
            3.5 missing from|in
            2 missing
            3 missing ... part|parts|piece|pieces|item|items|screws|charger|cable|accessories
            3 item|items|part|parts|piece|pieces|one|something ... missing
            3.5 box|parcel|package|envelope|bag|carton ... empty
            3.5 empty box|parcel|package|envelope|bag
            3 but|with nothing inside|in
            3 only|just ... received|got|sent|delivered|arrived .... of|instead|out
            3 only|just <n> ... was|were|arrived|came|inside|in|received|delivered
            3 only half|part ... arrived|came|received
            3 forgot ... pack|include|send|put|add
            3.5 short delivery|shipment|delivered|shipped
            3 <n> units|pieces|items|cartons|short
            3 incomplete|partial|partially
            3.5 isn't|wasn't|weren't|not|aren't ... in the box|parcel|package|bag|delivery|carton
            2.5 half|part|rest|remainder ... my|the|of ... order
            3 where is the rest
            3.5 without the accessories|charger|cable|screws|manual|parts
            2.5 there is|are|were|was no ... in|inside|for
            3 no manual|cable|charger|adapter|screws|instructions
            2.5 never|not came|come|included|packed ... with
            3 lacking|lacks
            2.5 gone from
            2 counted ... short
            2.5 but|not|without ... the free gift
        """,
        Reason.LATE: """
            3 <neg> ... arrived|arrive|come|came|delivered|shipped|dispatched|here|received|shown
            3 <neg> ... showed|turned up
            3 still|yet <neg> ... arrived|received|here|delivered|shipped|got|come
            2.5 late|delayed|overdue
            2 delay|delays
            3 late delivery
            2 where|where's ... my order|parcel|package|delivery|shipment|stuff|item|items|goods
            2 when|any ... will|is|does ... arrive|delivered|come|ship|get|shipped|here
            2.5 still|been waiting|waited ... for|on ... order|parcel|package|delivery|shipment|item
            3 waiting .... ordered
            2 waited|waiting ... all|days|weeks
            1.2 still waiting
            2 was|were due|promised|supposed|meant
            3 due <n>|two|yesterday|last|on
            3 out for delivery
            3 tracking .... moved|updated|update|changed|stuck
            3 no update|updates
            2.5 stuck in|at
            2.5 delivery|date|arrival ... changed|moved|postponed|pushed|again
            3 next|two|same|one day delivery|shipping
            2.5 guaranteed|promised ... day|delivery|shipping|date
            2 express ... slow
            2 slow|slowest
            2 taking|takes|took ... ages|forever|long|weeks
            2.5 over|more than|it's been ... week|weeks|month
            2.5 not been shipped|sent|delivered
            2 dispatched|shipped|ordered .... nothing
            1.5 not here
            2 driver|courier ... not|never|marked
            2.5 nothing arrives|arrived|came|received
            1.5 needed .... today|tomorrow|yesterday
            1 <n> days|weeks|months ... ago|later|late|now
            2 out in the rain
            2 no sign
            2 ups|dhl|dpd|fedex|hermes|courier|driver ... never|didn't|hasn't
        """,
        Reason.LOST: """
            4 lost ... parcel|package|order|shipment|consignment|delivery|item|it
            4 parcel|package|order|shipment|pallet|consignment|delivery ... lost
            3.5 lost in|by ... transit|post|mail|shipping|courier|carrier
            3 lost track
            4 gone missing|astray
            4 parcel|package|shipment|consignment|delivery|pallet ... missing|disappeared|vanished
            4 order|parcel|package|it ... vanished|disappeared
            3 vanished|disappeared|stolen|nowhere|stole
            4.5 says|said|marked|shows|showing|claims|shown|status|tracking ... delivered
            4 delivered .... never|not|nothing ... got|received|arrived|here|at
            4 delivered .... didn't|nobody|haven't ... got|received|arrived|here|at
            4 delivered|left|dropped ... to|at|with ... wrong|different|another|neighbour|neighbor
            3 with|to a|the|my neighbour|neighbor
            3 signed for|by
            4 proof of delivery
            4 handed over
            3 can't|cannot|nobody|couldn't ... find|locate|trace
            3.5 nobody|no one|can't ... tell ... where
            3.5 parcel|package|order|it ... is|has|been gone
            3 open|start|begin an investigation
            3 haulier|carrier|courier ... can't|lost
            3.5 off|from ... porch|doorstep
            4 never arrived .... locate|find
        """,
        Reason.BILLING: """
            1.5 refund|refunded|refunds|reimburse*|reimbursement|money
            3 waiting|no|never|without|where|where's|not|isn't|only|missing .... refund|refunded
            2.5 want|need|give|get|demand|return ... my|our|the money
            3 money back|gone
            3.5 charged|billed|charging|charge|overcharged|overcharge|overcharging
            3.5 charged|billed|paid|debited ... twice|double|again
            3.5 double payment|charge|charged|charging
            3 invoice|bill|statement ... wrong|incorrect|amount|missing|error|not
            3 wrong|incorrect invoice|bill|amount|price|total|vat|tax
            2.5 vat|tax ... wrong|missing|incorrect
            4 discount|voucher|coupon|promo|gift ... code|card|wasn't|not|doesn't|isn't|work
            1.2 discount|voucher|coupon|promo
            3 credit note
            3 cashback
            3.5 refused|won't|didn't ... price match*
            1.2 price match*
            3.5 price .... different|wrong|higher|paid|changed
            3 full price
            3 took|taken|deducted|withdrew .... from my|our|account|card
            3 subscription
            2 invoice|billing|payment
            2 without my|our permission|consent
            2.5 pay|paid|paying|fee|fees for shipping|delivery|postage
        """,
        Reason.SERVICE: """
            1.2 customer service|support|care|services
            3 service|support|care is|was awful|terrible|bad|poor|useless|horrible|slow|appalling
            3 service|support|care is|was so|very|really awful|terrible|bad|poor
            3 service|support|care is|was so|very|really useless|horrible|slow
            3 rude|unhelpful|arrogant|impolite|patronising|patronizing|disrespectful
            3 attitude
            3 hung up
            3 on hold
            3 no|without|zero|never|any ... reply|response|answer|answers|contact
            3 nobody|no|none|never|not ... answers|answered|replies|replied|responds|responded|cares
            3 nobody rang|called|cares|helps|helped|answers|takes
            3 not|don't|won't|never|doesn't answer|reply|respond|answering|replying|responding
            3 ignored|ignores|ignoring|ignore
            3.5 someone|somebody|anyone|anybody ... get|getting|come back
            3 promised .... call|callback|ring|rang
            3 called|rang|phoned|emailed|written|contacted ... times
            3 call|calls back
            2 worst|terrible|awful|poor|bad|horrible|useless ... service|support|helpdesk
            1 staff|agent|agents|assistant|operator|rep|representative|lady|guy|manager|person
            2.5 staff|agent|agents|assistant ... treated|ignores|laughed|left
            2.5 rep|representative|manager ... treated|ignores|laughed|left
            2.5 passed|sent|pushed .... department|department|departments|around
            3 treated ... like|me|us
            3 heard nothing|back
            3 chat ... closed|ended|disconnected|agent
            2.5 your bot|chatbot
            3 takes|take|no responsibility
            3 raised|filed|made a complaint
            3 tells|told me|us something|different
            3 are you there
            2 on the phone
            3 useless form
        """,
        Reason.DEFECTIVE: """
            3.5 stopped|stops|quit working|charging|functioning
            3.5 don't|doesn't|didn't|won't|isn't|not|never|wouldn't|can't ... work|working|works
            3.5 don't|doesn't|didn't|won't|can't|wouldn't ... turn|switch|power|charge|start|open
            3 defective|faulty|malfunction*|defect|defects
            3 fell|falls|falling|coming|came|come ... apart|undone|loose
            2 fell|falls|coming|came off
            3 poor|cheap|bad|low|terrible|awful|inferior quality|material|materials|build
            2.5 cheap|flimsy|cheaply ... made|material|plastic
            3.5 battery|batteries .... dies|die|drain*|dead|last|lasts|hold|charge
            3 overheat*
            3 burning smell
            3 caught fire
            3 exploded|sparked|melted|short-circuited
            2.5 electric shock
            3 smells|smell|smelt ... of|like ... burning|burnt|smoke
            2.5 broke|breaks|broken|snapped|ripped|tore .... after|second|first|within|already|time
            2 zip|zipper|switch|button|handle|screen|lid|hinge|stitching ... broke|broken|off|stuck
            3 hole|holes in
            3 peels|peeling|peeled|fades|faded
            3.5 expired|best before|mouldy|moldy|rotten|spoiled
            3 doesn't|don't|didn't|not fit
            3 sizing ... off
            3 looks|look nothing|different ... like|from
            3 clearly|obviously|already|been used
            3 sold as new
            2 loud|strange|weird noise
            3 shuts|shut|turns|turned|switches ... down|off|itself
            3 failed|fails again|inspection|after|incoming
            3 not worth the price|money
            2 replacement ... failed|broke|stopped
            3 flicker*|leaks|rattles|squeaks
        """,
        Reason.OTHER: """
            1.2 website|webshop|webpage|site|app|portal|login|checkout|basket|cart
            4 app|site|website|webshop|portal|page|form|checkout|search .... crashes|crashing|crash
            4 app|site|website|webshop|portal|page|form|checkout|search .... down|error|errors|load
            4 app|site|website|webshop|portal .... loads|freezes|spins|stuck
            4 page|form|checkout|search .... loads|freezes|spins|stuck
            4 app|site|website|webshop|portal .... broken|rejects|wrong|out
            4 page|form|checkout|search .... broken|rejects|wrong|out
            4 app|site|website|webshop|portal|page|form|checkout|search .... accept|work|working
            3 can't|cannot|couldn't ... add|change|pay|checkout|order ... basket|cart|online|address
            3 history is empty
            3.5 <neg> ... log|sign|login in|into|on|to
            3 logs|logged|logging|locked ... out|me
            3 password|username|two-factor|factor|verification ... <neg>
            2.5 password reset|email
            3 payment page|form
            3.5 link ... broken|dead|working
            3.5 account ... blocked|locked|hacked|suspended|disabled
            3 hacked|phishing
            2.5 page|form|screen|button|link ... spins|loads|load|freezes|accept|nothing|broken
            3.5 button does nothing
            3.5 placed|place|placing an order ... fails|error|times
            3.5 tried to ... order|pay
            3.5 error every|message|when
            3.5 out of|in|back stock
            2.5 stock|restock|restocked|shelves|shelf
            3 none left
            3 out of stock
            3.5 sold out
            3 restock
            3.5 cancelled|canceled my|our|the order
            3.5 order|pre-order|preorder ... cancelled|canceled
            3 cancelled|canceled ... because|for|without|ran
            3 backorder|back-order|pre-order|preorder|discontinued|discontinue
            3 no longer available
            3 never|not|isn't available
            2.5 unavailable
            2 stopped carrying
            2.5 too many emails|mails
            3 mailing list
            3 unsubscribe
            2.5 plastic|huge|much packaging|box
            2.5 advert|advertising|ad|ads
            1.2 parking|toilets|trolleys|music|opening hours
            2.5 something you don't have
        """,
    },
    remedies={
        Remedy.REPLACEMENT: """
            3 replacement|replacements|replace|replaced
            3 exchange|exchanged|swap
            3 send|ship|get|want|need|give ... new|another|correct|right|other one|item|part|ones
            2.5 send|resend|reship ... again|it again
            3 resend|reship|re-send
            3 new one
            3 send|ship ... missing
        """,
        Remedy.REFUND: """
            3 refund|refunded|refunds|refunding|reimburse*|reimbursing|rebate|rebates|rebating
            3 restitution|restitutions
            3 money back
            2.5 want|need|give|return|get ... my|our|the money
            3 compensation|compensations|compensate
            2 chargeback|charge back
        """,
        Remedy.RETURN: """
            3 return|returning|returns|send ... it|them|this|item|product|order|back
            3 return label|form|address
            2.5 sending|send ... back
            2.5 take|pick|collect ... back|up
        """,
        Remedy.REPAIR: """
            3 repair|repaired|repairs
            2.5 fix|mend ... it|this|my|the
            2.5 under warranty
            3 technician|engineer ... come|visit|send
        """,
        Remedy.CANCELLATION: """
            3 cancel|cancelling|canceling|cancellation ... order|purchase|it|subscription|this|my
            2.5 want|like|need|please ... cancel
        """,
        Remedy.CALL_BACK: """
            3 call|ring|phone me|us
            3 call back|callback
            3 give|want ... call|ring
            2.5 speak|talk|chat ... to|with ... someone|somebody|human|person|agent|manager|operator
            2.5 contact|reach|call|ring ... human|agent|person|operator
            2.5 contact|reach|call|ring ... someone|representative|advisor
            2.5 contact me|us
            2 get back to me|us
        """,
        Remedy.INFORMATION: """
            2.5 where|where's ... my|our|the order|parcel|package|delivery|shipment
            2.5 when will|is|does|can
            2.5 when|how ... arrive|arrives|expect|delivered|delivery|take|takes
            2 delivery period|periods|time|times
            2.5 order|purchase|delivery|parcel|package ... status|eta
            2.5 status|eta|update|updates ... of|on|order|delivery
            2.5 track|tracking|locate|locating ... order|purchase|parcel|package|my
            2 any|an update|news
            2 tell|inform|let ... me|us know|where|when|what
        """,
    },
    severities={
        Severity.CRITICAL: """
            3 fire|flames|exploded|explode|explosion|smoke|smoking|sparks|sparking
            3 burned|burnt|electrocuted|electric shock
            3 electric|electrical shock
            3 injured|injury|hospital|ambulance|bleeding|stitches
            3 allergic|anaphyla*|poison*|choked|choking
            3 burning smell
            3 smells|smell|smelt ... of|like ... burning|smoke|gas
            3 glass in ... food|it|bottle|my
            3 child|baby|son|daughter|kid|kids ... hurt|injured|burned|cut|choked|hospital|shock
            3 cut|burned my|her|his hand|finger|fingers|arm|face
            3 dangerous|unsafe|hazard|lethal
        """,
        Severity.HIGH: """
            2 lawyer|solicitor|attorney|court|sue|suing|legal action
            2 legal
            2 trading|consumer standards|protection|ombudsman|watchdog
            2 police|fraud|fraudulent|scam|scammed|stolen
            2 chargeback|dispute
            2 journalist|newspaper|press|media
            2 wedding|birthday|funeral|christmas|anniversary|graduation
            2 urgent|urgently|asap|immediately|emergency
            1.5 need|needed|needs ... today|tomorrow|tonight|now
            1.5 by|before|until ... today|tomorrow|monday|tuesday|wednesday|thursday|friday
            2 never ... again
            2 taking|take ... business elsewhere
            2 losing customers|money|business
            2 production|line|shop|store ... down|stopped|stopped
            2 cancel|cancelling ... account|contract|subscription
            1.5 third|fourth|fifth|sixth|<n> time|times
            1.5 yet|once again
            1.5 unacceptable|disgraceful|outrageous|appalling|furious|livid|disgusted
            2 deposit|rent|medication|medicine|insulin|wheelchair
        """,
        Severity.LOW: """
            1.5 no rush|hurry|worries
            1.5 minor|small|slight|slightly|tiny issue|problem|scratch|dent
            1.5 just|only ... letting|fyi|feedback|suggestion
            1 would be nice
            1 by the way
        """,
    },
    intents={
        Intent.QUESTION: """
            2 do|does|can|could|is|are|will ... you|i|it|there|we|this|someone
            2 how|where|what|which|when|who do|can|does|is|are|will|could|should|long|much|many
            2 what are|is|payment|the
            2 is|are there
            1.5 any idea
            1.5 could|can someone|you|anyone|i
            1.5 i'd|would like to know
            2 how to
            1.5 tell me how|what|where|when|more
            1.5 question|questions|wondering|information about
            1.5 help me choose|find|with|to
        """,
        Intent.PRAISE: """
            2 thank you|u ... so|very|much
            1.5 thanks for|to
            2 great|good|amazing|excellent|best|fantastic|brilliant|super ... service|job|work|team
            2 love|loved ... it|this|my|your|the|them
            2 well done
            2 shoutout|kudos|bravo|hats off
            2 five|5 stars
            2 you guys rock|rule
            1.5 highly|definitely|would recommend
            2 customer for life
            2 keep ... up ... good|great work
            1.5 impressed|delighted|thrilled
            1.5 happy with
        """,
        Intent.NOISE: """
            2.5 rt to
            3 follow me|us|back
            3 link in bio
            3 giveaway|retweet|crypto|bitcoin|followers
            2.5 like and subscribe
            3 check|click ... out|link|my
            2.5 join our|us
            2.5 we are|we're hiring
            2.5 apply now
            2.5 happy friday|monday|weekend|birthday|new
            2.5 good|great morning|night|evening|weather
            2.5 just posted
            2 watching|listening ... match|game|show|album|tonight
            2 coffee|lunch time
            2 throwback|tbt|lol|haha|hahaha
            2 new video|collection|blog|post|episode
            2 rainy|sunny day
            2 see you there|soon
            2 who else
            2 what a goal|game|match|day
            2 monday again
            1.5 my cat|dog
        """,
    },
)
