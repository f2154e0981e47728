"use strict";
const LOOK = { responsive: true, displayModeBar: false };
Plotly.newPlot("curves", figure.data, figure.layout, LOOK);
for (const place of document.querySelectorAll(".slice")) {
  const { data, layout } = JSON.parse(place.dataset.figure);
  Plotly.newPlot(place, data, layout, LOOK);
}
if (parallel) {
  const draw = () => Plotly.newPlot("parallel", parallel.data, parallel.layout, LOOK);
  byId("parallel").closest("details").addEventListener("toggle", draw, { once: true }); // it has a width only when open
}
