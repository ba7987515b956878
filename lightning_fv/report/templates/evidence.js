// -- evidence: how far each picture can be trusted

const NOT_EVALUATED = "not evaluated";
const ORDERED = ["photo_multiple", "photo_percentile", "two_choice", "path_similarity"]; // by which one may sort

const titles = {
  score: "value", transformed_score: "value under transforms", rank: "rank of the class", photo_multiple: "times the best photo",
  photo_percentile: "photos with a lower value", activation_frequency: "photos that excite the unit", photos_not_finite: "photos with a non-finite value", two_choice: "two-choice accuracy",
  mono_score: "monosemanticity score", seed_agreement: "similarity across seeds", saturated: "saturated pixels", high_frequency: "high frequencies",
  high_frequency_ratio: "high frequencies / photos", spectrum_distance: "spectral distance", facet_agreement: "similarity of the unit's pictures", diversity: "diversity of the unit's pictures",
  path_similarity: "mean path similarity", facets: "pictures of the unit", seeds: "pictures by other seeds, and this",
};
const hints = {
  activation_frequency: "to more than 1 % of its value here",
  two_choice: "how often the picture predicts which of two photos excites the unit; 50 % by chance",
  mono_score: "how alike the photos are that excite the unit, weighted by how much: 0 as any photos, 1 the same",
};
const shares = { two_choice: 100, activation_frequency: 100, saturated: 100, photo_percentile: 1 }; // what makes them percent
const ofJudges = {
  p: (value) => `p ${value.toFixed(2)}`, rank: (value) => `rank ${value}`, match: (unit) => `its unit most like this one is ${unit}`,
  correlation: (value) => `with a correlation of ${value.toFixed(2)} over photos`,
  percentile: (value) => `and responds to the picture more than to ${digits(value, 3)} % of photos`,
};

function valueOf(name, value) {
  if (typeof value !== "number") return value;
  return name in shares ? `${digits(shares[name] * value, 3)} %` : digits(value, 3);
}

/** Names and values as rows of a list; what a judge says, NAME(judge), stands together below its name. */
function columnOf(values) {
  const [rows, judges] = [[], new Map()];
  for (const [name, value] of Object.entries(values)) {
    const [, kind, judge] = name.match(/^(\w+)\((.*)\)$/s) ?? [];
    if (kind in ofJudges) judges.set(judge, [...(judges.get(judge) ?? []), typeof value === "number" || kind === "match" ? ofJudges[kind](value) : `${kind} ${value}`]);
    else {
      rows.push(make("dt", {}, titles[name] ?? plain(name)), make("dd", {}, valueOf(name, value)));
      if (name in hints) rows.push(make("dd", { className: "whole hint" }, hints[name]));
    }
  }
  for (const [judge, told] of judges) rows.push(make("dt", { className: "whole" }, judge), make("dd", { className: "whole" }, told.join(", ")));
  return rows;
}

function mean(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

/** The evidence of a row of the data; null where there is none. */
function evidenceOf(number, url) {
  const row = data.evidence?.rows[number];
  if (!row) return null;
  const [verdict, brief, reasons, faithful, plausible, path, similarities, best, least] = row;
  const [key, words] = data.evidence.verdicts[verdict];
  const named = (names, values) => Object.fromEntries(names.map((name, column) => [name, values[column]]).filter(([, value]) => value !== null));
  const photo = ([index, value, ...crop]) => {
    const [file, name] = data.evidence.photos[index];
    return { file: url + file, name, value, crop };
  };
  const found = { verdict: key, words, brief, reasons, best: best.map(photo), least: least.map(photo) };
  found.faithful = named(data.evidence.faithful, faithful);
  found.plausible = named(data.evidence.plausible, plausible);
  found.path = data.evidence.paths[path].map((layer, column) => [layer, similarities[column]]);
  const values = { ...found.faithful, path_similarity: mean(similarities) };
  found.scores = Object.fromEntries(ORDERED.filter((name) => typeof values[name] === "number").map((name) => [name, values[name]]));
  return found;
}

/** The verdict and what it rests on. */
const markOf = (found) => (found ? make("span", { className: `mark ${found.verdict}` }, ...(found.brief ? [`${found.words}: `, make("span", {}, found.brief)] : [found.words])) : "");

/** A photo, with a frame around what the unit saw of it. */
function photoOf({ file, crop }, alt) {
  const image = make("img", { alt, decoding: "async", loading: "lazy", src: file });
  const photo = make("span", { className: "photo" }, image);
  image.addEventListener("error", () => photo.remove());
  if (crop.length) {
    const [left, top, right, bottom] = crop;
    const frame = make("span", { className: "crop" });
    Object.assign(frame.style, { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` });
    photo.append(frame);
  }
  return photo;
}

/** Its strongest photo, in a corner of a thumbnail; the detail view tells what it is. */
const insetOf = (found) => (found?.best.length ? make("span", { className: "inset" }, photoOf(found.best[0], "")) : "");

function photosOf(photos, what) {
  return photos.map((photo, index) => {
    const value = digits(photo.value, 3);
    const seen = photo.crop.length ? "; what the unit saw is framed" : "";
    return make("li", { title: photo.name }, photoOf(photo, `${what} ${index + 1}: ${photo.name}, value ${value}${seen}`), value);
  });
}

function showEvidence(item) {
  const found = item.evidence;
  for (const name of ["trust", "numbers"]) byId(name).hidden = !found;
  if (!found) return;
  const words = found.words[0].toUpperCase() + found.words.slice(1);
  byId("judgement").replaceChildren(make("strong", { className: found.verdict }, words), found.reasons.length ? `: ${found.reasons.join("; ")}.` : ".");
  for (const name of ["best", "least"]) {
    byId(name).replaceChildren(...photosOf(found[name], name === "best" ? "Strongest photo" : "Weakest photo"));
    byId(name).parentNode.hidden = !found[name].length;
  }
  for (const name of ["faithful", "plausible"]) {
    byId(name).replaceChildren(...columnOf(found[name]));
    byId(name).parentNode.hidden = !Object.keys(found[name]).length;
  }
  const known = found.path.some(([, value]) => value !== null);
  byId("path").replaceChildren(...(known ? explained(found.path, "Path through the network", "") : []));
}

const explained = (path, title, what) => [
  make("h3", {}, title), plot(path),
  make("p", { className: "legend" }, `Path similarity by layer${what}. 1: like photos of its class, or those that excite the unit most; 0: like other photos.`),
];

// -- the path similarity by layer

const SIZE = { width: 420, height: 170, left: 34, right: 14, top: 10, bottom: 26 };

function draw(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** A plot of [layer, similarity, deviation] in the order of the layers; a similarity may be null, a deviation left out. */
function plot(path) {
  const { width, height, left, right, top, bottom } = SIZE;
  const known = path.map(([layer, value, deviation = 0], column) => ({ layer, value, deviation, column })).filter(({ value }) => value !== null);
  const low = Math.max(-2, Math.min(0, ...known.map(({ value, deviation }) => value - deviation))) - 0.05;
  const high = Math.min(4, Math.max(1, ...known.map(({ value, deviation }) => value + deviation))) + 0.05;
  const inside = (value) => Math.min(high, Math.max(low, value));
  const x = (column) => left + 12 + (path.length > 1 ? (column * (width - left - right - 24)) / (path.length - 1) : 0);
  const y = (value) => top + ((high - inside(value)) * (height - top - bottom)) / (high - low);
  const point = (column, value) => `${x(column).toFixed(1)},${y(value).toFixed(1)}`;
  const told = known.map(({ layer, value, deviation }) => `${layer} ${digits(value, 2)}${deviation ? ` ± ${digits(deviation, 1)}` : ""}`);
  const label = `Path similarity by layer; 1 is as photos that excite the unit, 0 as other photos: ${told.join(", ")}`;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "plot", role: "img", "aria-label": label });
  for (const value of [0, 1]) {
    svg.append(draw("line", { class: "reference", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    svg.append(draw("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, String(value)));
  }
  if (known.some(({ deviation }) => deviation)) {
    const band = [...known.map(({ column, value, deviation }) => point(column, value + deviation)),
      ...[...known].reverse().map(({ column, value, deviation }) => point(column, value - deviation))];
    svg.append(draw("polygon", { class: "band", points: band.join(" ") }));
  }
  svg.append(draw("polyline", { class: "line", points: known.map(({ column, value }) => point(column, value)).join(" ") }));
  for (const { layer, value, column } of known) {
    svg.append(draw("circle", { class: "point", cx: x(column), cy: y(value), r: 3.5 }, draw("title", {}, `${layer}: ${digits(value, 3)}`)));
  }
  // As many names as have room, and always the last.
  const longest = Math.max(...path.map(([layer]) => layer.length)) * 6.5 + 8;
  const every = Math.max(1, Math.ceil((longest * Math.max(1, path.length - 1)) / (width - left - right)));
  path.forEach(([layer], column) => {
    const last = path.length - 1 - column;
    if (last % every) return;
    const anchor = last === 0 && layer.length > 6 ? "end" : column === 0 && layer.length > 6 ? "start" : "middle";
    svg.append(draw("text", { x: x(column) + (anchor === "end" ? 12 : anchor === "start" ? -12 : 0), y: height - 8, "text-anchor": anchor }, layer));
  });
  return svg;
}

/** How many pictures have which verdict. */
function countsOf(found) {
  const counts = data.evidence.verdicts.map(([key, words]) => [key, found.filter(({ verdict }) => verdict === key).length, words]);
  return make("span", { className: "counts" }, ...counts.filter(([, count]) => count).map(([key, count, words]) => make("span", { className: key }, make("b", {}, String(count)), ` ${words}`)));
}

/** The mean path similarity by layer, and its standard deviation over pictures. */
function meanPath(found) {
  const longest = [...found].sort((a, b) => b.path.length - a.path.length)[0].path;
  const layers = new Set([...longest, ...found.flatMap(({ path }) => path)].map(([layer]) => layer));
  return [...layers].map((layer) => {
    const values = found.flatMap(({ path }) => path.filter(([name, value]) => name === layer && value !== null).map(([, value]) => value));
    const middle = mean(values);
    return [layer, middle, values.length ? Math.sqrt(mean(values.map((value) => (value - middle) ** 2))) : 0];
  });
}

function showSummary() {
  const runs = new Map();
  for (const { run, evidence } of items) {
    if (evidence) runs.set(run, [...(runs.get(run) ?? []), evidence]);
  }
  byId("evidence").hidden = runs.size === 0;
  if (!runs.size) return;
  byId("evidence").open = window.innerWidth > 600;
  byId("counts").replaceChildren(countsOf([...runs.values()].flat()));
  for (const [run, found] of runs) {
    const path = meanPath(found);
    const known = path.some(([, value]) => value !== null);
    byId("runs").append(
      make("div", {}, ...(several.run ? [make("h2", {}, run), countsOf(found)] : []), ...(known ? explained(path, "Path through the network", ", mean and standard deviation over pictures") : [])),
    );
  }
}
