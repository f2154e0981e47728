"""What the speakers of mini's training data say, and what they never say (kept for the evaluation)."""

# ruff: noqa: SIM905 - word lists read better so
from __future__ import annotations

from collections.abc import Callable

import numpy as np

Rng = np.random.Generator

SENTENCES = """
The kettle was still warm when she came back from the garden.
Nobody told us that the bridge would be closed until Thursday.
I would rather walk home in the rain than wait another hour.
Their youngest daughter plays the violin and hates it.
A yellow bicycle leaned against the wall of the bakery.
He measured the shelf twice and still cut it too short.
We have eleven minutes to catch the last ferry.
The judge listened quietly and then closed the folder.
Every autumn the geese fly over our roof in the early morning.
My uncle keeps his money in a jar behind the flour.
There is a hole in the fence just wide enough for a fox.
She whispered something in his ear, and he began to laugh.
After the storm, the beach was covered with smooth white stones.
If the engine makes that noise again, pull over and call me.
The museum has a whole room of broken clocks.
Put the chairs in a circle and turn off the radio.
They argued about the price of a used piano.
The thunder was far away, but the dog hid under the bed.
Most of the letters were never answered.
You can see the lighthouse from the kitchen window.
The doctor asked him to breathe in slowly and hold it.
It takes patience to teach a parrot to be silent.
Our train arrived exactly on time, which surprised everyone.
The soup needs salt, pepper, and a little more courage.
A thin layer of ice had formed on the bucket.
The children built a castle out of empty boxes.
He speaks five languages and is quiet in all of them.
The path winds through the woods and ends at a small chapel.
She drew a huge map of the world and pinned it above her desk.
Please leave your boots outside the door.
The crowd cheered as the balloon rose above the stadium.
I dreamed about an elevator that only went sideways.
The judge of the contest could not choose a winner.
Someone had painted the mailbox bright orange overnight.
The river is shallow here, so we can cross on foot.
With a bit of luck, the bread will be ready by noon.
The old theatre smells of dust, velvet and oranges.
Nine of the ten keys on the ring did not fit.
He thanked the pilot and stepped out into the heat.
The garage was full of toys, tools and spider webs.
My sister measures time in cups of coffee.
The moon was so bright that we could read by it.
A good shoemaker looks at your feet before your face.
They usually have lunch together on the first Friday of the month.
The noise behind the wall turned out to be a family of mice.
Whoever wrote this recipe has never boiled an egg.
Choose a number between one and a thousand.
The azure vase on the mantel was a treasure of the royal house.
Joyful voices echoed through the marble hall.
He could not decide whether to sell the boat or fix it.
""".strip().splitlines()

QUESTIONS = """
Where did you put the scissors?
Would you like milk or lemon in your tea?
Why is the ocean salty and the lake not?
Is anybody coming with us to the harbour?
How many oranges fit into that basket?
Have you ever been to the northern islands?
Who left the gate open last night?
What time does the pharmacy close on Sundays?
Did she really say that to the mayor?
Which of these roads leads to the village?
Are you sure about that?
Could you hold this rope for a moment?
Shall we begin?
When will the roof finally be repaired?
Do penguins have knees?
Can you hear me now?
What a marvellous surprise!
Stop that at once!
Look out, the branch is falling!
Hurry up, we are late again!
Happy birthday, dear grandmother!
I cannot believe it!
""".strip().splitlines()

NAMES = "Anna Oliver Judith Marcus Zoe Theodore Hugh Beatrice George Yusuf Chloe Vincent Ruth Ivy Raymond".split()
NOUNS = (
    "apple anchor blanket bottle button candle carpet cheese chimney cousin curtain dentist diamond donkey engine "
    "farmer feather finger flower forest fountain friend giant glove guitar hammer helmet hill honey horse island "
    "jacket journey judge kitten knife ladder leather lion lemon library market measure mirror monkey mountain "
    "mouth necklace needle nurse ocean office onion orchard oven owl painter paper pepper pillow planet pocket "
    "pond potato poison queen question rabbit ribbon river rocket sailor sandwich school shadow shepherd shoulder "
    "sister spoon square station stranger summer sugar table teacher thief thunder thumb ticket toad tower tree "
    "trouble tunnel uncle valley vision village voice wagon water whistle window winter wolf woman yard zebra"
).split()
ADJECTIVES = (
    "angry bitter blue brave broad careful cheap clever cold crooked curious dark deep dusty early empty fair faint "
    "fresh gentle golden great green happy heavy hollow huge humble jolly juicy large lazy little lonely loud lucky "
    "modern narrow noisy odd pale polite proud purple quick quiet rare rough round sharp shy silver simple smooth "
    "strange sweet tall thick tiny vague warm weary wide wild wooden wise young"
).split()
VERBS = (
    "admires borrows breaks brings carries catches chooses collects counts covers draws drops enjoys finds follows "
    "forgets gathers hides holds imagines judges keeps knows leaves lifts loses loves measures mends moves notices "
    "offers opens paints pushes reaches reads remembers sells shakes shows steals studies teaches throws touches "
    "trusts uses visits wants washes watches wraps"
).split()
ADVERBS = "again today slowly quickly often together outside yesterday quietly almost forever twice alone".split()
NUMBERS = "one two three four five six seven eight nine ten eleven twelve twenty thirty fifty sixty ninety".split()
SMALL = "the a this that some every no our your their his her from with under over into for and but or if".split()

_ONSETS = (
    "b bl br ch d dr f fl fr g gl gr h j k kl kr l m n p pl pr r s sh sk sl sm sn sp st str t th tr v w y z".split()
)
_NUCLEI = "a e i o u ee oo ai ay oa ou ow oy ar er or ir aw ea ie".split()
_CODAS = ["", *"b ck d f ft g l ld lt m mp n nd ng nk nt p pt r rd rk s sh sk st t th v x z ge tch".split()]

# Never spoken in training: sentences and the words of the closed grammar.
HELDOUT_SENTENCES = """
The gardener planted seven rows of cabbage before breakfast.
Under the frozen bridge a barge was waiting for spring.
Could somebody explain the rules of this absurd game?
My neighbour repairs radios, typewriters, and accordions.
In the evening the village square fills with music and smoke.
The expedition lost its compass on the second day.
Do not touch the copper wire unless the lamp is off!
A committee of nine experts rejected the proposal.
She poured the batter into a shallow dish and waited.
Whales can hold their breath for more than an hour.
The upper shelf holds jam, vinegar, pickles and mustard.
Has the postman already brought the parcel from Vienna?
""".strip().splitlines()

GRAMMAR = [
    "captain lawyer soldier baker singer doctor widow pirate".split(),
    "bought burned dropped found hated needed sold wanted".split(),
    "sixteen fourteen forty eighteen hundred several fewer many".split(),
    "copper rotten frozen shiny crimson polished foreign ancient".split(),
    "cabbages trumpets elephants lanterns helicopters mattresses pumpkins umbrellas".split(),
    "tomorrow indoors somewhere tonight instead cheaply upstairs nearby".split(),
]

# What the demo target says.
DEMO_SENTENCES = """
Good evening, and welcome to the observatory.
The comet will be visible until a quarter past ten.
Please watch your step on the spiral staircase.
Is this your first visit, or have we met before?
Our largest mirror weighs almost two tons.
On a clear night you can count the rings of Saturn.
Nobody is allowed to use a flashlight up here.
Would you care to look through the eyepiece?
It takes a while for your eyes to get used to the dark.
Blue stars are hot, red stars are cool, and ours is average.
The dome turns slowly so that the telescope can follow the sky.
Light from that galaxy left before there were people.
What do you think we will discover next?
There is tea, coffee and gingerbread in the lobby.
She named the asteroid after her favourite teacher.
Clouds are the only enemy we cannot argue with.
Every picture on this wall was taken by a volunteer.
Can anyone spot the bright planet near the horizon?
Thank you for your patience, the show begins now.
Come back in August, when the meteors fall like rain!
""".strip().splitlines()


def grammar_sentence(rng: Rng) -> list[str]:
    """One word of each slot of the closed grammar."""
    return [str(rng.choice(slot)) for slot in GRAMMAR]


def _pick(rng: Rng, words: list[str]) -> str:
    return str(words[int(rng.integers(len(words)))])


def _natural(rng: Rng) -> str:
    return _pick(rng, SENTENCES)


def _question(rng: Rng) -> str:
    return _pick(rng, QUESTIONS)


def _template(rng: Rng) -> str:
    adjective, noun, verb = _pick(rng, ADJECTIVES), _pick(rng, NOUNS), _pick(rng, VERBS)
    forms = (
        f"The {adjective} {noun} {verb} a {_pick(rng, NOUNS)} {_pick(rng, ADVERBS)}.",
        f"{_pick(rng, NAMES)} {verb} the {noun}, but not the {_pick(rng, ADJECTIVES)} {_pick(rng, NOUNS)}.",
        f"Does {_pick(rng, NAMES)} know that the {noun} is {adjective}?",
        f"{_pick(rng, NAMES)} has {_pick(rng, NUMBERS)} {noun}s and {_pick(rng, NUMBERS)} {_pick(rng, NOUNS)}s.",
        f"How {adjective} is your {noun}?",
        f"What a {adjective} {noun}!",
        f"When the {noun} is {adjective}, everyone {verb.rstrip('s')}s {_pick(rng, ADVERBS)}.",
    )
    return forms[int(rng.integers(len(forms)))]


def _list(rng: Rng) -> str:
    items = [f"{_pick(rng, ADJECTIVES)} {_pick(rng, NOUNS)}s" for _ in range(int(rng.integers(2, 5)))]
    return f"{_pick(rng, NAMES)} wants {', '.join(items)}, and {_pick(rng, NOUNS)}s."


def _any_word(rng: Rng) -> str:
    return _pick(rng, [NOUNS, ADJECTIVES, VERBS, ADVERBS, NUMBERS, NAMES, SMALL][int(rng.integers(7))])


def _pseudo(rng: Rng) -> str:
    syllables = int(rng.choice([1, 1, 2, 2, 3]))
    return "".join(_pick(rng, _ONSETS) + _pick(rng, _NUCLEI) + _pick(rng, _CODAS) for _ in range(syllables))


def _sequence(rng: Rng, word: Callable[[Rng], str], low: int, high: int) -> str:
    words = [word(rng) for _ in range(int(rng.integers(low, high)))]
    if len(words) > 3 and rng.random() < 0.5:
        words[int(rng.integers(1, len(words) - 1))] += ","
    return " ".join(words) + _pick(rng, [".", ".", ".", "?", "!", ""])


def _short(rng: Rng) -> str:
    return _sequence(rng, _any_word if rng.random() < 0.6 else _pseudo, 1, 3)


def _long(rng: Rng) -> str:
    """Sentences up to a random length of 120 to 400 letters: about as many phonemes."""
    target, parts = int(rng.integers(120, 400)), [_natural(rng)]
    while sum(map(len, parts)) < target - 30:
        parts.append([_natural, _template, _list, _question][int(rng.integers(4))](rng))
    return " ".join(parts)


_KINDS: list[tuple[int, Callable[[Rng], str]]] = [
    (12, _natural),
    (8, _question),
    (12, _template),
    (5, _list),
    (12, lambda rng: _sequence(rng, _any_word, 3, 8)),
    (12, lambda rng: _sequence(rng, _pseudo, 2, 6)),
    (11, _short),
    (3, _long),
]


def texts(rng: Rng) -> list[str]:
    """The 75 texts of one speaker; no word of the closed grammar's content slots is among them."""
    banned = {word for slot in GRAMMAR for word in slot}
    found: list[str] = []
    for count, make in _KINDS:
        found += [make(rng) for _ in range(count)]
    clean = [" ".join(w for w in text.split() if w.strip(",.?!").lower() not in banned) for text in found]
    return [text for text in clean if text.strip(",.?! ")]
