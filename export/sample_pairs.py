"""The pairs that every export is measured on: written for this project, no licence attached.

Every query meets every passage, so that each has a few right answers among many wrong ones, and
texts of other kinds: empty, one word, other scripts, code, and longer than most models read.
"""

from __future__ import annotations

from .parity import PairSet

QUERIES = [
    "What animals can I find near Peru?",
    "how to lower blood pressure without medication",
    "capital of the United States",
    "why is the sky blue",
    "python sort list of dictionaries by key",
    "when did the first world war end",
    "how does a heat pump work",
    "best way to remove red wine from a carpet",
    "symptoms of vitamin d deficiency",
    "who invented the telephone",
    "what is the difference between a virus and a bacterium",
    "Wie hoch ist der Mont Blanc?",
]

PASSAGES = [
    "The llama is a domesticated South American camelid, widely used as a meat and pack animal by"
    " Andean cultures since the pre-Columbian era.",
    "The giant panda, also known as the panda bear or simply panda, is a bear species endemic to"
    " China. It lives in a few mountain ranges, mainly in Sichuan.",
    "Guanacos are one of two wild South American camelids; the other is the vicuña, which lives at"
    " higher elevations in the Andes of Peru, Bolivia and Chile.",
    "Regular walking, less salt, fewer drinks and a diet rich in vegetables lower systolic pressure"
    " by about 4 to 11 mm Hg, as much as a first drug often does.",
    "Beta blockers reduce the heart's output and are prescribed for high blood pressure, often"
    " together with a diuretic.",
    "Washington, D.C., officially the District of Columbia, is the capital of the United States. It"
    " is a federal district on the Potomac.",
    "Capital punishment has existed in the United States since before the United States was a"
    " country. As of 2017 it is legal in 30 of the 50 states.",
    "Sunlight is scattered by the molecules of the air. Short waves are scattered far more than long"
    " ones, so light that reaches us from all over the sky is mostly blue.",
    "At sunset the light has passed through so much air that most of the blue has been scattered"
    " away, and the sky near the horizon turns red.",
    "rows.sort(key=lambda row: row['name'])  # in place; sorted(rows, key=itemgetter('name')) gives"
    " a new list",
    "A dictionary in Python keeps the order in which its keys were inserted since version 3.7.",
    "The armistice of 11 November 1918 ended the fighting on the Western Front; the Treaty of"
    " Versailles was signed on 28 June 1919.",
    "The war began in July 1914 after the assassination of Archduke Franz Ferdinand in Sarajevo.",
    "A heat pump moves heat from outside to inside: a refrigerant evaporates at low pressure and"
    " takes up heat, a compressor raises its pressure and temperature, and it condenses indoors,"
    " giving the heat to the house. For one unit of electricity it delivers three to four of heat.",
    "Gas boilers burn methane and reach an efficiency of about 90 percent.",
    "Blot the wine at once with a dry cloth, do not rub. Then cover the stain with salt or baking"
    " soda, leave it overnight, and vacuum. White vinegar in warm water removes the rest.",
    "Merlot and Cabernet Sauvignon are the most planted red grapes of Bordeaux.",
    "Too little vitamin D shows as tiredness, bone pain, weak muscles and, in children, rickets.",
    "Alexander Graham Bell was awarded the patent for the telephone in 1876; Elisha Gray filed a"
    " caveat the same day, and Antonio Meucci had shown a device years before.",
    "Bacteria are living cells that divide by themselves, and antibiotics can kill them. Viruses are"
    " packets of genes in a shell that multiply only inside a host's cells.",
    "Der Mont Blanc ist mit 4806 Metern der höchste Berg der Alpen.",
    "モンブランはアルプス山脈の最高峰です。 Монблан, самая высокая гора Альп 🏔️.",
    "ok",
    "",
]


def sample_pairs() -> PairSet:
    """Return every query with every passage, and with two documents of over 400 words."""
    long = " ".join(text for text in PASSAGES if text.isascii())
    documents = [*PASSAGES, long, " ".join(reversed(PASSAGES)) + " " + long]
    return PairSet(queries=[(query, documents) for query in QUERIES])


def golden_pairs() -> list[tuple[str, str]]:
    """Return the pairs whose logits a manifest keeps: right, wrong, empty and cut documents."""
    by_query = dict(sample_pairs().queries)
    chosen = [(0, 0), (0, 2), (1, 3), (4, 9), (6, 13), (9, 1), (10, 23), (11, 21), (7, -1), (3, -2)]
    return [(QUERIES[q], by_query[QUERIES[q]][d]) for q, d in chosen]
