"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 600px)");
  const touch = matchMedia("(pointer: coarse)");

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function themed(layout) {
    const ink = colour("--ink"), grid = colour("--grid"), line = colour("--line"), panel = colour("--panel");
    const shown = structuredClone(layout);
    shown.font = { color: ink, size: narrow.matches ? 11 : 12, family: "system-ui, sans-serif" };
    shown.hoverlabel = { bgcolor: panel, bordercolor: line, font: { color: ink }, align: "left" };
    for (const key of Object.keys(shown).filter((name) => /^[xy]axis/.test(name))) {
      Object.assign(shown[key], { gridcolor: grid, linecolor: line, tickcolor: line, zerolinecolor: line });
      shown[key].showline = true;
    }
    shown.modebar = { bgcolor: "rgba(0,0,0,0)", color: line, activecolor: ink };
    // A finger on a figure scrolls the page.
    shown.dragmode = touch.matches ? false : "zoom";
    return shown;
  }

  // On a narrow screen there is no room for names beside the points; a touch tells them.
  const fitted = (data) => data.map((trace) =>
    narrow.matches && trace.mode === "markers+text" ? { ...trace, mode: "markers" } : trace);

  function draw() {
    for (const { id, data, layout } of figures) {
      const options = { responsive: true, displaylogo: false, displayModeBar: touch.matches ? false : "hover" };
      Plotly.react(id, fitted(data), themed(layout), options);
    }
  }

  draw();
  for (const query of [dark, narrow, touch]) query.addEventListener("change", draw);
  document.documentElement.dataset.drawn = String(figures.length);
})();
