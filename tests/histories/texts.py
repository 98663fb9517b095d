"""What customers write: whole messages put together of parts, and the same message again."""

from __future__ import annotations

import random

REASONS = (
    *("damaged", "defective", "wrong_item", "missing_item", "late", "lost", "billing"),
    *("service", "website"),
)
ABOUT_A_LINE = frozenset({"damaged", "defective", "wrong_item", "missing_item"})
"""Reasons that are about one article of an order; the rest are about the order or about nothing."""

_CORES: dict[str, tuple[str, ...]] = {
    "damaged": (
        "my {item} arrived broken",
        "the {item} came with a big crack in it",
        "unpacked the {item} today and it is smashed to pieces",
        "the box was crushed and the {item} inside is dented",
        "{item} delivered with a scratch all over the front",
        "one corner of the {item} is chipped, straight out of the box",
        "got the {item} and it is bent, clearly dropped on the way",
        "the {item} is torn and dirty, did somebody use it before me?",
    ),
    "defective": (
        "the {item} stopped working after two days",
        "my {item} won't turn on at all",
        "the {item} is faulty, it makes a grinding noise",
        "after one week the {item} fell apart",
        "the {item} keeps switching itself off",
        "the seam of the {item} came undone on first use",
        "my new {item} leaks everywhere",
        "the {item} does not do what it should, out of the box dead",
    ),
    "wrong_item": (
        "I ordered the {item} and got something else entirely",
        "you sent me the wrong {item}",
        "this is not the {item} I paid for, wrong model",
        "wrong colour {item} in the parcel",
        "expected a {item}, found somebody else's order in the box",
        "the {item} is the wrong size, not what I ordered",
    ),
    "missing_item": (
        "the {item} was missing from my parcel",
        "half of my order is not there, no {item}",
        "only one box came and the {item} was not in it",
        "the {item} came without its screws and the manual",
        "parts are missing from the {item}, can't put it together",
        "where is the {item}? everything else was in the box",
    ),
    "late": (
        "still waiting for my parcel, it should have been here days ago",
        "my order is a week late and nobody tells me anything",
        "{carrier} says delivery tomorrow, every single day",
        "when will my {item} finally arrive?",
        "the delivery date has moved three times now",
        "no movement in the {carrier} tracking since Monday",
        "promised in two days, day nine and no {item}",
    ),
    "lost": (
        "{carrier} says delivered but nothing is here",
        "my parcel is lost, {carrier} can't find it",
        "tracking shows my order delivered to a neighbour who does not exist",
        "the {item} never arrived although it is marked as delivered",
        "parcel gone, {carrier} shrugs",
    ),
    "billing": (
        "you charged me twice for one order",
        "the refund for the {item} still has not reached my account",
        "my invoice is wrong, the discount is missing",
        "why was my card charged a second time?",
        "I returned the {item} three weeks ago, no money back",
    ),
    "service": (
        "an hour in your hotline and then you hang up on me",
        "nobody answers my mails, this is the worst service",
        "your chat agent was rude and no help at all",
        "four tickets, four different answers, nothing solved",
        "I was promised a call back that never came",
    ),
    "website": (
        "your website throws an error at the checkout",
        "can't log in to my account since this morning",
        "the shop app crashes whenever I open the basket",
        "my voucher code is refused although it is valid",
        "the payment page never loads, tried three browsers",
    ),
}
_GERMAN: dict[str, tuple[str, ...]] = {
    "damaged": ("mein {item} kam kaputt an", "der Karton zerdrückt, {item} zerbrochen"),
    "defective": ("mein {item} ist defekt", "{item} funktioniert nach zwei Tagen nicht mehr"),
    "wrong_item": ("ihr habt mir den falschen Artikel statt {item} geschickt",),
    "missing_item": ("in meinem Paket fehlt {item}", "{item} war nicht in der Lieferung"),
    "late": (
        "ich warte immer noch auf mein Paket, seit Tagen zu spät",
        "{carrier} verschiebt die Lieferung jeden Tag, wo bleibt {item}?",
    ),
    "lost": ("{carrier} sagt zugestellt, aber hier ist nichts angekommen",),
    "billing": ("mir wurde zweimal Geld abgebucht", "wo bleibt die Erstattung für {item}?"),
    "service": ("seit einer Stunde in der Warteschleife, schlechter Service",),
    "website": ("eure Website zeigt beim Bezahlen nur einen Fehler",),
}
_PARAPHRASED = {
    # Of these every wording may be about one and the same thing.
    "damaged": _CORES["damaged"][:5],
    "wrong_item": _CORES["wrong_item"][:3],
    "late": _CORES["late"],
    "lost": _CORES["lost"],
}
_OPENERS = (
    *("Hey @{account}, ", "@{account} ", "Seriously @{account}?? ", "So disappointed. ", "Hello, "),
    *("Wow, ", "Ok so ", "Hi team, ", "Not happy: ", "Dear @{account}, ", "Ugh, ", "Again: "),
    *("Great start to the week: ", "Thanks for nothing, ", "Quick question, ", "Please help, "),
    "My kids were looking forward to this and ",
    "Bought this as a present and ",
    "Third time this year: ",
    "Long-time customer here, ",
)
_DEMANDS = (
    *("I want my money back.", "Please send a new one.", "I need a replacement by Friday."),
    *("Can somebody call me?", "What now?", "How do I send it back?", "Fix this please."),
    *("I expect an answer today.", "Please advise.", "Refund, please.", "Who can help?"),
    "The party is on Saturday, so hurry.",
    "If this is not sorted I will go to your competitor.",
    "I have pictures if you need them.",
    "My lawyer will be in touch otherwise.",
)
_CLOSERS = (
    *("Never again.", "Not what I expected from you.", "So annoying!", "Thanks.", "Cheers."),
    *("Unbelievable.", "Sad, I used to like you.", "Waste of money.", "😡", "🙄", "#fail"),
    *("First and last order.", "I waited all day for this.", "Really poor."),
    "I took the day off for this delivery.",
    "My neighbour had the same trouble with you.",
    "It was for my mother's birthday.",
)
_ORDERS = (
    *("Order {order}.", "Order number {order}.", "My order is {order}.", "(order {order})"),
    "Order no. {order}, paid in full.",
)
_PRAISE = (
    *("love the new {item}, thank you!", "super fast delivery, great job @{account}"),
    *("the {item} is beautiful, very happy", "your hotline was so helpful today, thanks"),
    "best {item} I ever had, five stars",
)
_QUESTIONS = (
    *("do you have the {item} in green?", "is the {item} back in stock soon?"),
    *("what are your opening hours?", "do you ship to Norway?", "how long is the warranty?"),
    "does the {item} come with batteries?",
)
_NOISE = (
    *(
        "good morning everybody",
        "follow back please",
        "win a phone, click here http://spam.example",
    ),
    *("lol", "who else is watching the match tonight?", "happy friday @{account}"),
)
_FOLLOW_UPS = (
    *("Hello? Anybody there?", "Any news?", "Still nothing.", "I am waiting for an answer."),
    *("It has been hours now.", "Did you get my message?", "?", "Adding a photo."),
)
_ANSWERS = (
    "Sorry to hear that! Could you send us your order number in a direct message?",
    "Thank you for telling us, we are looking into it.",
    "That should not have happened. We will get back to you today.",
    "We have passed this on to our warehouse.",
)
_TOPICS = {
    "website": (
        "checkout is down, error 502 when I pay",
        "can't pay, the payment page shows a gateway error",
        "your shop is broken, basket empties itself at checkout",
        "tried to order for an hour, always an error at the last step",
        "payment fails every time, bad gateway it says",
        "is your webshop down? the checkout does not load",
    )
}
THEMES = {
    # What no key says and no reason names; each wording by somebody else.
    "phishing": (
        "I got a mail in your name asking for my bank details, did somebody steal your data?",
        "are these messages with the payment link really from you? looks like fraud",
        "somebody pretends to be you and wants my card number",
        "received a fake mail with your logo, it knew my full name and address",
        "your customer data must have leaked, scammers write to me as your company",
        "got a suspicious text message from you about confirming my password",
        "is it you who asks me to verify my bank account by mail? smells like a scam",
        "phishing mails with your branding all day long, please warn people",
        "a scammer has my email from your database, that can be no accident",
        "why do criminals know that I shop with you? I only ever gave you this address",
        "three friends and me got the same fraudulent mail from your address",
        "do you know that there are fake mails going around under your name?",
    ),
    "membership": (
        "since when does your club cost five euros a month? nobody asked me",
        "your membership fee doubled without any notice",
        "I never agreed to pay for the bonus club, cancel it",
        "free club membership suddenly has a price, nice trick",
        "why did you raise the price of the membership overnight?",
        "I want to leave your club, the new fee is ridiculous",
        "paying members now? the club was always free until this week",
        "you turned my free membership into a paid one behind my back",
        "just learned about your new monthly club fee, no thank you",
        "loyal members have to pay from now on, that is how you treat us",
        "where can I quit the club? I won't pay a monthly fee",
        "changing the terms of the club so that it costs money is not ok",
    ),
    "calls": (
        "a survey company calls me five times a day on your behalf",
        "please stop phoning me for your customer survey",
        "your market research people ring at dinner time, every evening",
        "another call about how satisfied I am with you, leave me alone",
        "how do I get off the list for these survey calls?",
        "the lady on the phone wanted to know my income for your study, really?",
        "blocked the fourth number that calls for your questionnaire",
        "I don't want to be interviewed by telephone about my last purchase",
        "telephone terror by your opinion institute since yesterday",
        "stop giving my phone number to survey callers",
        "calls from an institute for you at eight in the morning, seriously",
        "was called again for ten minutes of questions about your shop",
    ),
    "charity": (
        "you said a share of every sale goes to the children's hospital, they got nothing",
        "the hospital says that they never saw a cent of your donation campaign",
        "where did the donation money from your christmas campaign go?",
        "read in the paper that your charity promise was a lie",
        "you collected for a good cause and kept the money, shame on you",
        "I rounded up at every purchase for the hospital, who has that money now?",
        "please show proof that the donations were passed on",
        "advertising with charity and then not paying it out is disgusting",
        "your fundraiser for sick kids seems to be a fake",
        "so the hospital has to ask you in public for the promised donation?",
        "I bought from you because of the donation, I feel cheated",
        "how much did you really donate to the children's hospital?",
    ),
    "parking": (
        "got a parking ticket on your customer car park while I was shopping inside",
        "your car park charges 40 euros after an hour now, there was no sign",
        "fined for parking in front of your store although I am a customer",
        "a private company sent me a penalty for your parking lot",
        "towed away from your car park while I stood at your till",
        "why do your own customers get fined on the parking lot?",
        "the cameras at your car park cost me a fine, I was there for 20 minutes",
        "never coming to your store again, the parking fine was more than the shopping",
        "please cancel the parking penalty, I have the receipt from your shop",
        "since monday everybody gets tickets on your parking lot",
        "no visible sign at the car park, but a fine in the mail",
        "parked at your shop, bought something, got a fine. great",
    ),
}
_HASHTAG = (
    "{tag} says it all, @{account}",
    "so it is true what they say {tag}",
    "you really put single-use plastic around a {item}? {tag}",
    "read about your working conditions, shame {tag}",
    "{tag} I will buy my {item} somewhere else",
    "joining in: {tag} @{account} explain yourselves",
)


class Writer:
    """Writes messages with one dice; the same draws give the same texts."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def fact(self, reason: str, *, german: bool) -> str:
        """What happened, in somebody's words."""
        return self._dice.choice((_GERMAN if german else _CORES)[reason])

    def reworded(self, fact: str, reason: str) -> str:
        """The same in other words, where there are any; most people repeat themselves."""
        same = _PARAPHRASED.get(reason, ())
        if fact in same and self._dice.random() < 0.35:
            return self._dice.choice(same)
        return fact

    def complaint(
        self, fact: str, slots: dict[str, str], *, order: bool, long: bool, german: bool
    ) -> str:
        """A complaint; `order` names the order's number, `long` is a ticket rather than a post."""
        dice = self._dice
        if german and not long:
            parts = [fact]
            if order:
                parts.append("Bestellung {order}.")
            return self._filled(parts, slots)
        core = fact
        opener = dice.choice(_OPENERS) if long or dice.random() < 0.6 else ""
        parts = [(opener + core) + ("." if dice.random() < 0.6 else "!")]
        if order:
            parts.insert(dice.randrange(2), dice.choice(_ORDERS))
        if long:
            parts += dice.sample(_CLOSERS, 1 + dice.randrange(2))
            parts += dice.sample(_DEMANDS, 1 + dice.randrange(2))
        else:
            parts += [dice.choice(_DEMANDS)] if dice.random() < 0.45 else []
            parts += [dice.choice(_CLOSERS)] if dice.random() < 0.45 else []
        return self._filled(parts, slots)

    def of_burst(self, kind: str, reason: str, slots: dict[str, str], *, order: bool) -> str:
        """A message of a burst by `kind`; several are worded alike, few the same."""
        dice = self._dice
        if kind == "hashtag":
            core = dice.choice(_HASHTAG)
        elif kind == "topic":
            core = dice.choice(_TOPICS[reason])
        elif kind == "words":
            core = dice.choice(THEMES[slots["theme"]])
        else:
            core = dice.choice(_CORES[reason])
        parts = [(dice.choice(_OPENERS) if dice.random() < 0.5 else "") + core]
        if order:
            parts.append(dice.choice(_ORDERS))
        if dice.random() < 0.4:
            parts.append(dice.choice(_DEMANDS + _CLOSERS))
        return self._filled(parts, slots)

    def other(self, kind: str, slots: dict[str, str]) -> str:
        """Praise, a question or noise."""
        choices = {"praise": _PRAISE, "question": _QUESTIONS, "noise": _NOISE}[kind]
        return self._filled([self._dice.choice(choices)], slots)

    def follow_up(self) -> str:
        return self._dice.choice(_FOLLOW_UPS)

    def answer(self) -> str:
        return self._dice.choice(_ANSWERS)

    def again(self, text: str) -> str:
        """The same message typed again: a typo or two, a word more or less, other punctuation."""
        dice = self._dice
        words = text.split(" ")
        for _ in range(1 + dice.randrange(2)):
            n = dice.randrange(len(words))
            if len(words[n]) > 4 and not any(c.isdigit() or c in "@#" for c in words[n]):
                k = 1 + dice.randrange(len(words[n]) - 3)
                one = words[n]
                words[n] = dice.choice(
                    (one[:k] + one[k + 1 :], one[:k] + one[k + 1] + one[k] + one[k + 2 :])
                )
        roll = dice.random()
        if roll < 0.3:
            words.append(dice.choice(("!!", "please", "😡", "anyone?", "help")))
        elif roll < 0.5 and len(words) > 8:
            words.pop()
        elif roll < 0.6:
            words.insert(0, dice.choice(("Again:", "Hello?", "Still:")))
        return " ".join(words)

    def _filled(self, parts: list[str], slots: dict[str, str]) -> str:
        text = " ".join(parts).format(**slots)
        return text[:1].upper() + text[1:]
