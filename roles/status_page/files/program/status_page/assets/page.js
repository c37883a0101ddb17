"use strict";
// Charts of the numbers that stand on the page anyway, and how long ago a moment was.
const drawn = [];

function colour(name) {
  const names = { good: "--good", bad: "--bad", cut: "--cut", quiet: "--quiet", accent: "--accent" };
  return getComputedStyle(document.documentElement).getPropertyValue(names[name] || "--accent").trim();
}

function axis(more) {
  return { stroke: colour("quiet"), grid: { stroke: colour("quiet"), width: 0.25 }, ticks: { show: false }, ...more };
}

// A mark above each day on which something else happened.
function marks(chart) {
  return (plot) => {
    const size = 8 * devicePixelRatio;
    plot.ctx.fillStyle = colour("accent");
    for (const at of chart.marks) plot.ctx.fillRect(plot.valToPos(at, "x", true) - size / 2, plot.bbox.top, size, size);
  };
}

function options(chart, place) {
  const bars = chart.kind === "bars";
  const most = Math.max(1, ...chart.series.flatMap((one) => one.values).filter((value) => value !== null));
  const series = chart.series.map((one) => ({
    label: one.label, stroke: colour(one.colour), width: 2, dash: one.dash ? [6, 4] : undefined, spanGaps: true,
    fill: bars ? colour(one.colour) : undefined, paths: bars ? uPlot.paths.bars({ size: [0.7, 40] }) : undefined, points: { show: !bars, size: 5 },
  }));
  return {
    width: Math.max(200, place.clientWidth), height: bars ? 220 : 150,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    cursor: { show: false }, legend: { show: chart.series.length > 1, live: false },
    scales: { x: { time: !chart.seconds, range: (_plot, low, high) => (bars ? [low - 43200, high + 43200] : [low, high]) }, y: { range: (_plot, _low, high) => [0, Math.max(high || 0, bars ? 1 : most > 1 ? 1 : most) * 1.08] } },
    axes: [axis(chart.seconds ? { values: (_plot, at) => at.map((value) => value + " s") } : {}),
      axis({ size: 60, incrs: chart.whole ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] : undefined, values: (_plot, at) => at.map((value) => (value + " " + chart.unit).trim()) })],
    hooks: chart.marks ? { draw: [marks(chart)] } : {},
    series: [{}, ...(bars ? series.reverse() : series)],
  };
}

function numbers(chart) {
  if (chart.kind !== "bars") return [chart.x, ...chart.series.map((one) => one.values)];
  // Bars stand on each other: each is drawn as the sum of those below it, the highest first.
  const sums = chart.x.map(() => 0);
  return [chart.x, ...chart.series.map((one) => one.values.map((value, at) => (sums[at] += value))).reverse()];
}

function draw() {
  while (drawn.length) drawn.pop().destroy();
  for (const place of document.querySelectorAll("[data-chart]")) {
    const chart = JSON.parse(place.dataset.chart);
    drawn.push(new uPlot(options(chart, place), numbers(chart), place));
  }
}

function ago(seconds) {
  for (const [size, name] of [[86400, "day"], [3600, "hour"], [60, "minute"]]) {
    const count = Math.floor(seconds / size);
    if (count >= 1) return count + " " + name + (count === 1 ? "" : "s") + " ago";
  }
  return "just now";
}

for (const time of document.querySelectorAll("time.ago")) time.append(" (" + ago((Date.now() - Date.parse(time.dateTime)) / 1000) + ")");
draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
