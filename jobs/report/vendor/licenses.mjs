// Writes LICENSES.txt: the licence, in full, of every package of which plot.min.js holds code.
import {readFileSync, writeFileSync} from "node:fs";

const {outputs} = JSON.parse(readFileSync("meta.json", "utf8"));
const names = new Set();
for (const [file, {bytesInOutput}] of Object.entries(outputs["plot.min.js"].inputs)) {
  const name = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1];
  if (name && bytesInOutput) names.add(name);
}
const licences = [...names].sort().map((name) => {
  const {version, license} = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
  const text = readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim();
  return `${name} ${version} (${license})\n\n${text}\n`;
});
writeFileSync("LICENSES.txt", licences.join(`\n${"-".repeat(80)}\n\n`));
