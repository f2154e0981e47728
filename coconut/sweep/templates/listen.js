"use strict";
// One sentence at a time, spoken by the target, the nearest stock voice, a trial's start or its voice.
const sound = JSON.parse(document.getElementById("sound").textContent);
const byId = (id) => document.getElementById(id);
const voices = new Map(sound.voices.map((voice) => [voice.trial, voice]));
const now = { trial: sound.voices.length ? sound.voices[0].trial : "", sentence: 0, who: "voice" };
const players = new Map(); // number of a clip -> its Audio, made when it is first heard
let current = null; // what was heard last
let secret = false; // whether it belongs to a blind comparison

function clipOf(who, trial, sentence) {
  const clips = who === "target" || who === "nearest" ? sound[who] : voices.get(trial)?.[who];
  return clips?.[sentence] ?? null;
}

function player(number) {
  if (!players.has(number)) {
    const made = new Audio(sound.clips[number].src);
    made.volume = sound.clips[number].volume;
    made.addEventListener("ended", show);
    made.addEventListener("error", () => {
      byId("text").textContent = `${sound.clips[number].src} is not there; keep this page beside the trials' folders.`;
    });
    players.set(number, made);
  }
  return players.get(number);
}

// Play a clip from `place`, a share of its length: voices differ in how long they take for a sentence.
function play(number, place, blindly = false) {
  if (current) current.pause();
  const chosen = (current = player(number));
  secret = blindly;
  const start = () => {
    if (chosen !== current) return; // something else was chosen while this one loaded
    chosen.currentTime = place * chosen.duration;
    chosen.play().then(show, show);
  };
  if (chosen.readyState >= HTMLMediaElement.HAVE_METADATA) start();
  else chosen.addEventListener("loadedmetadata", start, { once: true });
}

const placeOf = (audio) => (audio && audio.duration && !audio.ended ? audio.currentTime / audio.duration : 0);

// Listen to something else; within a sentence the other one goes on at the same place.
function change(what, from = null) {
  const place = from ?? ("sentence" in what && what.sentence !== now.sentence ? 0 : placeOf(current));
  Object.assign(now, what);
  const number = clipOf(now.who, now.trial, now.sentence);
  if (number !== null) play(number, place);
  else if (current) current.pause();
  show();
}

function toggle() {
  if (current && !current.paused) current.pause();
  else change({});
  show();
}

function step(sentences) {
  const count = sound.sentences.length;
  change({ sentence: (now.sentence + sentences + count) % count });
}

function stepVoice(rows) {
  const shown = [...document.querySelectorAll("#ranking tr:not([hidden])")].map((row) => row.dataset.trial);
  const able = shown.filter((trial) => voices.has(trial));
  const at = able.indexOf(now.trial);
  const next = able[Math.min(able.length - 1, Math.max(0, at + rows))];
  change({ trial: next, who: "voice" });
  document.querySelector(`#ranking tr[data-trial="${next}"]`).scrollIntoView({ block: "nearest" });
}

function name(who) {
  if (who === "target") return "target";
  if (who === "nearest") return sound.nearest_name;
  const words = voices.get(now.trial)?.words ?? "";
  return who === "start" ? `start of ${words}` : words;
}

function show() {
  const running = Boolean(current && !current.paused && !current.ended);
  byId("now").textContent = secret ? "blind comparison" : `${now.sentence + 1}. ${name(now.who)}`;
  byId("text").textContent = (!secret && sound.sentences[now.sentence]) || "\u00a0";
  byId("toggle").textContent = running ? "❚❚" : "▶";
  for (const button of byId("who").children) {
    button.setAttribute("aria-pressed", String(button.dataset.who === now.who));
    button.disabled = clipOf(button.dataset.who, now.trial, now.sentence) === null;
  }
  for (const row of document.querySelectorAll("#ranking tr")) row.classList.toggle("chosen", row.dataset.trial === now.trial);
  for (const button of document.querySelectorAll(".play")) {
    const { row, who, sentence } = button.dataset;
    const on = running && !secret && who === now.who && Number(sentence) === now.sentence && (!row || row === now.trial);
    button.classList.toggle("on", on);
  }
}

const KEYS = {
  " ": toggle,
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  ArrowUp: () => stepVoice(-1),
  ArrowDown: () => stepVoice(1),
};
sound.who.forEach((who, place) => (KEYS[String(place + 1)] = () => change({ who })));

function listen() {
  for (const who of sound.who) {
    const button = document.createElement("button");
    Object.assign(button, { textContent: who, onclick: () => change({ who }) });
    button.dataset.who = who;
    byId("who").append(button);
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".play");
    if (!button) return;
    const { row, who, sentence } = button.dataset;
    if (button.classList.contains("on")) toggle();
    else change({ trial: row || now.trial, who, sentence: Number(sentence) });
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && event.target.closest("button, summary") && !event.target.closest(".play, #bar")) return;
    const act = KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  byId("toggle").onclick = toggle;
  byId("before").onclick = () => step(-1);
  byId("after").onclick = () => step(1);
  byId("place").oninput = (event) => change({}, event.target.value / 1000);
  setInterval(() => (byId("place").value = 1000 * placeOf(current)), 100);
  show();
}

if (sound.voices.length) listen();
