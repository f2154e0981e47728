"use strict";
// Sorting, and the first rows of a long ranking.
const FIRST = 20;
const ranking = byId("ranking");
let whole = ranking.rows.length <= FIRST;

function fold() {
  [...ranking.rows].forEach((row, place) => (row.hidden = !whole && place >= FIRST));
  byId("all").hidden = whole;
  byId("all").textContent = `Show all ${ranking.rows.length} trials`;
}

// Numbers by size, words by the alphabet; what has no value comes last either way.
function sort(key, down) {
  const value = (row) => row.dataset[key];
  const sign = down ? -1 : 1;
  const words = key === "words" || key === "end";
  const order = (a, b) => {
    if (!value(a) || !value(b)) return Number(!value(a)) - Number(!value(b));
    return sign * (words ? value(a).localeCompare(value(b)) : value(a) - value(b));
  };
  ranking.append(...[...ranking.rows].sort(order));
  for (const head of document.querySelectorAll("#voices th")) head.removeAttribute("aria-sort");
  document.querySelector(`#voices [data-sort="${key}"]`).parentElement.setAttribute("aria-sort", down ? "descending" : "ascending");
  byId("sort").value = key;
  fold();
}

const falling = (key) => ["held", "gain", "test"].includes(key); // the best first
for (const button of document.querySelectorAll("[data-sort]")) {
  button.onclick = () => {
    const before = button.parentElement.getAttribute("aria-sort");
    sort(button.dataset.sort, before ? before === "ascending" : falling(button.dataset.sort));
  };
}
byId("sort").onchange = (event) => sort(event.target.value, falling(event.target.value));
byId("all").onclick = () => {
  whole = true;
  fold();
};
sort("rank", false);
