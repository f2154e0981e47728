"use strict";
// Which of two voices is nearer to the target, heard without knowing which is which.
const SHELF = `coconut/blind/${sound.sweep}`;
const blind = { answers: kept(), round: null };

function kept() {
  try {
    return JSON.parse(localStorage.getItem(SHELF)) ?? [];
  } catch {
    return [];
  }
}

function keep() {
  try {
    localStorage.setItem(SHELF, JSON.stringify(blind.answers));
  } catch {
    byId("blind-text").textContent = "This browser keeps nothing; download the answers before you leave.";
  }
}

// Everything that can be compared: clips of the file itself, which all are of one kind.
function contestants() {
  const inside = (clips) => clips?.some((number) => number !== null && sound.clips[number].src.startsWith("data:"));
  const found = sound.voices.map((voice) => [voice.words, voice.voice]);
  found.splice(1, 0, [`nearest, ${sound.nearest_name}`, sound.nearest]);
  if (sound.voices.length) found.push([`start of ${sound.voices[0].words}`, sound.voices[0].start]);
  return new Map(found.filter(([, clips]) => inside(clips)));
}

const field = contestants();
const draw = (items) => items[Math.floor(Math.random() * items.length)];

function next() {
  const pair = [byId("blind-a").value, byId("blind-b").value];
  const heard = sound.sentences.map((_, n) => n).filter((n) => pair.every((who) => field.get(who)[n] !== null));
  if (pair[0] === pair[1] || !heard.length) {
    byId("blind-tally").textContent = "Choose two different voices.";
    return;
  }
  if (Math.random() < 0.5) pair.reverse();
  blind.round = { sentence: draw(heard), one: pair[0], two: pair[1] };
  byId("blind-text").textContent = sound.sentences[blind.round.sentence] || `Sentence ${blind.round.sentence + 1}`;
  byId("blind-round").hidden = false;
}

function hear(which) {
  const { sentence } = blind.round;
  const clips = which === "target" ? sound.target : field.get(blind.round[which]);
  play(clips[sentence], blind.heard === sentence ? placeOf(current) : 0, true);
  blind.heard = sentence;
}

function answer(which) {
  blind.answers.push({ when: new Date().toISOString(), sweep: sound.sweep, ...blind.round, nearer: blind.round[which] ?? "" });
  keep();
  if (current) current.pause();
  secret = false;
  show();
  blind.heard = null;
  next();
  tally();
}

// How often chance alone leads by as much or more: the two-sided sign test.
function chance(wins, losses) {
  const count = wins + losses;
  let sum = 0;
  let ways = 1;
  for (let k = 0; k <= Math.min(wins, losses); k++) {
    sum += ways;
    ways = (ways * (count - k)) / (k + 1);
  }
  return Math.min(1, (2 * sum) / 2 ** count);
}

function tally() {
  const pairs = new Map();
  for (const { one, two, nearer } of blind.answers) {
    const [a, b] = [one, two].sort();
    const score = pairs.get(`${a}\n${b}`) ?? { [a]: 0, [b]: 0, "": 0 };
    score[nearer] += 1;
    pairs.set(`${a}\n${b}`, score);
  }
  const lines = [...pairs].map(([key, score]) => {
    const [a, b] = key.split("\n");
    const odds = (100 * chance(score[a], score[b])).toFixed(0);
    return `${a} was nearer ${score[a]} times, ${b} ${score[b]} times, no difference ${score[""]}; chance alone does as much in ${odds} of 100 tries.`;
  });
  byId("blind-tally").replaceChildren(...lines.map((line) => Object.assign(document.createElement("p"), { textContent: line })));
  for (const id of ["blind-save", "blind-forget"]) byId(id).disabled = !blind.answers.length;
}

function save() {
  const file = new Blob([JSON.stringify(blind.answers, null, 2)], { type: "application/json" });
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: `blind-${sound.sweep}.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

if (sound.voices.length) {
  for (const [place, id] of ["blind-a", "blind-b"].entries()) {
    byId(id).append(...[...field.keys()].map((words) => new Option(words)));
    byId(id).selectedIndex = Math.min(place, field.size - 1);
    byId(id).onchange = () => (byId("blind-round").hidden = true);
  }
  byId("blind-begin").onclick = next;
  byId("blind-save").onclick = save;
  byId("blind-forget").onclick = () => {
    blind.answers = [];
    keep();
    tally();
  };
  for (const button of document.querySelectorAll("[data-hear]")) button.onclick = () => hear(button.dataset.hear);
  for (const button of document.querySelectorAll("[data-nearer]")) button.onclick = () => answer(button.dataset.nearer);
  tally();
}
