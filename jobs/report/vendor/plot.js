// What the pages draw with. Everything else of Observable Plot stays out of plot.min.js.
export {
  axisX, axisY, barX, barY, cell, dot, gridX, gridY, lineY, link, plot, rect, ruleX, ruleY, text,
} from "@observablehq/plot";
